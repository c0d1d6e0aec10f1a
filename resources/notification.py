"""Notifications: the command `notify.command` of lgad.yaml gets a message on its standard input."""

import json
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path

from lgad_pipeline.atomic_files import atomic_path
from lgad_pipeline.config.schedule import NotifyConfig
from lgad_pipeline.errors import LgadError
from resources.project import Project

OUTPUT = "notify.log"
_SECONDS = 30  # time limit of the command; a tick of a sensor must end within a minute


def champion_changed(
    project: Project, model: str, *, champion: str, before: str | None, reason: str, page: str
) -> str:
    """Run `notify.command` for a new champion of a registered model; without that key nothing is run.

    Args:
        project: settings and paths of the project.
        model: Name of the registered model.
        champion: Version that is champion now.
        before: Version that was champion before; None if there was none.
        reason: Sentence of the decision, with its numbers.
        page: Address of the version's page in MLflow.

    Returns:
        A sentence on the command if it failed, for a warning; empty if it did not. An exception would stop
        the run, whose model is registered already.
    """
    notify = project.settings.notify
    if notify is None:
        return ""
    message = {
        "event": "champion_changed",
        "model": model,
        "champion": champion,
        "before": before,
        "reason": reason,
        "page": page,
    }
    try:
        run_command(notify, message, output=project.state / "logs" / OUTPUT)
    except (LgadError, OSError) as error:  # such as a full disk
        return f"No message says that version {champion} of {model} is champion: {error}"
    return ""


def run_command(notify: NotifyConfig, message: Mapping[str, str | None], *, output: Path) -> None:
    """Run the user's command with a message on its standard input.

    The error has neither the arguments nor the output of the command: they may have an address with a token.

    Args:
        notify: settings with the command.
        message: message, written as one line of JSON to the standard input of the command.
        output: file for the output of the command; only its owner can read it.

    Raises:
        LgadError: the command does not exist, failed, or ran longer than half a minute.
    """
    text, ended = b"", ""
    try:
        finished = subprocess.run(
            notify.command,
            input=json.dumps(message).encode() + b"\n",
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=_SECONDS,
            check=False,
        )
        text = finished.stdout
        if finished.returncode:
            ended = f"ended with {finished.returncode}"
    except subprocess.TimeoutExpired as error:
        text, ended = error.output or b"", f"did not end within {_SECONDS} seconds"
    except OSError as error:
        ended = f"cannot be run ({error.strerror})"
    except ValueError:  # the command has a NUL
        ended = "cannot be run (it has a character that is not allowed in commands)"
    stamp = f"{time.strftime('%Y-%m-%d %H:%M:%S')} {ended or 'ended with 0'}\n".encode()
    with atomic_path(output, durable=False) as temporary:
        temporary.touch(mode=0o600)
        temporary.write_bytes(stamp + text[-100_000:])
    if ended:
        raise LgadError(f"notify.command of lgad.yaml {ended}; its output is in {output}.")
