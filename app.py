"""Server of the page on which frames and clips are tried with any model of the project, until Ctrl-C.

`make app [APP_PORT=8501]` and `lgad app` call it.
"""

import importlib.util
import os
import signal
import subprocess
import sys
from typing import Annotated

import typer

from lgad_pipeline.console import fail, say
from lgad_pipeline.errors import LgadError
from lgad_pipeline.settings import Settings
from resources.playground.uploads import LARGEST_UPLOAD
from ui import HOST, ROOT, check_free, start, stop, stop_reason, wait_for

PAGE = ROOT / "resources" / "playground" / "page.py"
OPTIONS = {
    "server.address": HOST,
    "server.headless": "true",
    "server.fileWatcherType": "none",
    "server.maxUploadSize": str(LARGEST_UPLOAD),
    "browser.gatherUsageStats": "false",
    "client.toolbarMode": "viewer",
    "client.showErrorDetails": "none",
}


def main(port: Annotated[int, typer.Option(min=1, max=65_535, help="Port of the page.")] = 8501) -> None:
    """Start the server, print its address when it answers, and stop it with Ctrl-C."""
    servers: list[subprocess.Popen] = []
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # stops the server, too
    try:
        if importlib.util.find_spec("streamlit") is None:
            raise LgadError("The page needs Streamlit; install it: pip install 'lgad-pipeline[app]'.")
        Settings.from_environment()
        check_free(port, f"make app APP_PORT={port % 65_535 + 1}")
        options = [part for name, value in OPTIONS.items() for part in (f"--{name}", value)]
        paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
        command = ["streamlit", "run", str(PAGE), *options, "--server.port", str(port)]
        servers.append(start("app", command, {"PYTHONPATH": os.pathsep.join(paths)}))
        wait_for("app", servers[0], port)
        say(f"http://localhost:{port}  (Ctrl-C stops it)")
        servers[0].wait()
        raise LgadError(stop_reason("app"))
    except LgadError as error:
        fail(error)
        sys.exit(1)
    except KeyboardInterrupt:
        say("Stopping.")
    finally:
        stop(servers)


if __name__ == "__main__":
    typer.run(main)
