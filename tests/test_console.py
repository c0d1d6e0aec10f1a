"""What comes from outside reaches the terminal as plain text; what a user can correct is one sentence."""

import errno
import subprocess
import sys
from pathlib import Path

import pytest

from lgad_pipeline.console import marked, plain
from lgad_pipeline.errors import os_fault


def lgad(*arguments: object, **more) -> subprocess.CompletedProcess[str]:
    code = "from lgad_pipeline.cli.main import main; main()"
    call = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(call, capture_output=True, text=True, check=False, **more)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Straße 東京.jpg", "Straße 東京.jpg"),
        ("[bold]a[/bold].jpg", "[bold]a[/bold].jpg"),
        ("\x1b[2J\x1b]0;title\x07", "\\x1b[2J\\x1b]0;title\\x07"),
        ("a\nerror: b\r\t", "a\\nerror: b\\r\\t"),
        ("\u202egpj.exe\u2066", "\\u202egpj.exe\\u2066"),
        ("\x9b31m", "\\x9b31m"),
        ("\udcff.jpg", "\\udcff.jpg"),
    ],
)
def test_text_from_outside_holds_no_command_for_the_terminal(text: str, expected: str) -> None:
    assert plain(text) == expected


def test_markup_is_text_inside_markup() -> None:
    from rich.text import Text

    assert Text.from_markup(marked("[red]a[/].jpg\x1b")).plain == "[red]a[/].jpg\\x1b"


def test_a_fault_of_the_system_names_the_final_file_and_the_remedy() -> None:
    full = OSError(errno.ENOSPC, "x", "/data/.a.json.0a1b2c-4711.part")
    assert str(os_fault(full, action="written")) == (
        "/data/a.json cannot be written (No space left on device); free space or choose another folder."
    )


def test_a_file_in_place_of_a_folder_is_one_sentence_and_exit_code_1(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    done = lgad("unpack", tmp_path / "file" / "below")
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert done.stderr.strip().startswith("error: ") and "\n" not in done.stderr.strip()


def test_the_escape_sequence_of_a_name_is_not_printed(tmp_path: Path) -> None:
    done = lgad("evaluate-tusimple", "--annotations", tmp_path / "\x1b[31m[bold]", "--predictions", tmp_path)
    assert (
        done.returncode == 1 and "\x1b" not in done.stderr and "\\x1b[31m[bold] cannot be read" in done.stderr
    )


def test_version() -> None:
    done = lgad("--version")
    assert done.returncode == 0 and done.stdout.startswith("lgad ")
