"""Words that code and docs do not use, because readers whose first language is another do not know them.

Quotations do not count: in Markdown, text between double quotes or backticks.
"""

import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[2]
WORDS = [
    "anew",
    "as it is said",
    "beside",
    "goes on",
    "held still",
    "house",
    "lessons?",
    "lies",
    "makes of",
    "mend(s|ed|ing)?",
    "one's own",
    "orchestra",
    "roofs?",
    "rooms?",
    "set aside",
    "spoil(s|ed|ing|t)?",
    "stands",
    "taken",
    "thrown away",
    "told",
    "unspoiled",
    "upon",
]
# Parts of the drawn vehicles and of the scenery, in lgad_pipeline/synthetic.
DRAWN = re.compile(r"(?<![A-Za-z])(house|roof)(?![A-Za-z])", re.IGNORECASE)
PATTERN = re.compile(rf"(?<![A-Za-z])({'|'.join(WORDS).replace(' ', '[ _]')})(?![A-Za-z])", re.IGNORECASE)
SUFFIXES = {
    ".py",
    ".md",
    ".yaml",
    ".yml",
    ".toml",
    ".html",
    ".css",
    ".cff",
    ".service",
    ".example",
    ".sql",
    "",
}
NOT_CODE = {"LICENSE", "tests/docs/test_words.py"}


def hits(text: str, suffix: str) -> list[str]:
    """Return `line: word` of each word of the list."""
    if suffix == ".md":
        text = re.sub(r"`[^`\n]+`|\"[^\"\n]+\"", "", text)
    return [
        f"{number}: {match.group()}"
        for number, line in enumerate(text.splitlines(), 1)
        for match in PATTERN.finditer(line)
    ]


def find_words() -> dict[str, list[str]]:
    """Return the hits of each tracked file with at least one."""
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True)
    found = {}
    for name in listed.stdout.splitlines():
        path = ROOT / name
        if name in NOT_CODE or path.suffix not in SUFFIXES or not path.is_file():
            continue
        text = path.read_text(encoding="utf-8")
        text = text.replace("max_set_aside", "")  # the key of settings files of version 0.1
        if name.startswith("lgad_pipeline/synthetic/"):
            text = DRAWN.sub("", text)
        words = hits(text, path.suffix)
        if words:
            found[name] = words
    return found


def test_words_of_the_list_are_not_used():
    found = find_words()
    assert not found, "\n".join(f"{name}: {words}" for name, words in found.items())
