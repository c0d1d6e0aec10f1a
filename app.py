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
from ui import HOST, ROOT, check_free

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


def main(port: Annotated[int, typer.Option(help="Port of the page.")] = 8501) -> None:
    """Start the server, print its address, and stop it with Ctrl-C."""
    try:
        if importlib.util.find_spec("streamlit") is None:
            raise LgadError("The page needs Streamlit; install it: pip install 'lgad-pipeline[app]'.")
        Settings.from_environment()
        check_free(port, f"make app APP_PORT={port + 1}")
    except LgadError as error:
        fail(error)
        raise SystemExit(1) from None
    options = [part for name, value in OPTIONS.items() for part in (f"--{name}", value)]
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    command = [sys.executable, "-m", "streamlit", "run", str(PAGE), *options, "--server.port", str(port)]
    server = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
    signal.signal(signal.SIGTERM, lambda *_: server.terminate())
    say(f"http://localhost:{port}  (Ctrl-C stops it)")
    try:
        raise SystemExit(max(server.wait(), 0))
    except KeyboardInterrupt:
        server.terminate()
        server.wait()


if __name__ == "__main__":
    typer.run(main)
