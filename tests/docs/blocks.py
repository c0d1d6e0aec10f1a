"""Code blocks and `lgad` commands of README, CONTRIBUTING and docs."""

import re
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")],
    key=lambda path: path.relative_to(ROOT).as_posix(),
)


class Block(NamedTuple):
    """A fenced code block.

    Attributes:
        page: path of the page below the root.
        line: line of its first fence, from 1.
        language: word after the fence, empty for none.
        text: content, without the indentation of the fence.
    """

    page: str
    line: int
    language: str
    text: str

    @property
    def name(self) -> str:
        """Page and first line of the content: it stays the same if the page grows."""
        return f"{self.page}: {self.text.splitlines()[0].strip()}"


def blocks(*languages: str) -> list[Block]:
    """Return the fenced blocks of all pages in these languages."""
    found = []
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for match in re.finditer(r"^( *)```(\w*)\n(.*?)^\1```$", text, re.M | re.S):
            indent, language, content = match.groups()
            lines = [line.removeprefix(indent) for line in content.splitlines()]
            name, number = page.relative_to(ROOT).as_posix(), text[: match.start()].count("\n") + 1
            if language in languages:
                found.append(Block(name, number, language, "\n".join(lines) + "\n"))
    return found


def commands_in_tables() -> list[str]:
    """Return the commands that README's table of `lgad` commands starts rows with."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    rows = [line for line in text.splitlines() if line.startswith("| `lgad ")]
    return [command for row in rows for command in re.findall(r"`(lgad [^`]+)`", row.split(" | ")[0])]


def commands() -> list[tuple[str, str]]:
    """Return (page, command) of each shell command in a block; continued lines are joined."""
    found = []
    for block in blocks("console", ""):
        for line in block.text.replace("\\\n", " ").splitlines():
            command = " ".join(line.split("  #")[0].split())
            if block.language == "console" or command.startswith(("lgad ", "python ", "make ")):
                found.append((block.page, command))
    return [(page, command) for page, command in found if command]
