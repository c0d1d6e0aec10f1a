"""Output on a terminal; text from files and users is printed without control characters."""

import sys
import unicodedata
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn


def plain(text: object) -> str:
    r"""Make text from outside, such as a file name or a reason, safe for a terminal.

    Control characters, escape sequences, characters that change the direction of writing and bytes that are
    not UTF-8 are written as Python escapes: a line feed as `\n`, the start of an escape sequence as `\x1b`.

    Args:
        text: anything; its `str` is used.

    Returns:
        One line of printable characters.
    """
    return "".join(
        character
        if character.isprintable() or unicodedata.category(character) == "Zs"
        else character.encode("unicode_escape").decode()
        for character in str(text)
    )


def marked(text: object) -> str:
    """Make text from outside safe inside rich markup, such as the title of a table or a progress bar."""
    return escape(plain(text))


def say(text: object, *, error: bool = False) -> None:
    """Print one line of plain text, unwrapped, to the standard output or the standard error."""
    print(plain(text), file=sys.stderr if error else sys.stdout, flush=True)


def fail(text: object) -> None:
    """Print an error; further lines of its text are indented, so that they do not resemble a message."""
    first, *others = str(text).splitlines() or [""]
    say(f"error: {first}", error=True)
    for line in others:
        say(f"  {line}", error=True)


@contextmanager
def progress_bar(title: object) -> Iterator[Callable[[int, int], None]]:
    """Show a progress bar on a terminal's standard error; yield a function to call with (done, total)."""
    console = Console(stderr=True)
    columns = ("{task.description}", BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(marked(title), total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
