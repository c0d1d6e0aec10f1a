"""Source files that README and docs name exist."""

import re

import pytest

from tests.docs.blocks import PAGES, ROOT

PATH = re.compile(r"`((?:[\w.-]+/)*[\w-]+\.py)`")
# Files of the reader, not of the repository.
READERS = {"mynets.py", "mypackage/kinds.py"}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_source_files_exist(page):
    named = set(PATH.findall(page.read_text(encoding="utf-8"))) - READERS
    missing = [
        name for name in named if not any((root / name).is_file() for root in (ROOT, ROOT / "lgad_pipeline"))
    ]
    assert not missing
