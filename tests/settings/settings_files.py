"""Settings files written for the tests."""

from pathlib import Path

import pytest

from lgad_pipeline.errors import LgadError
from lgad_pipeline.settings import Settings

RECIPES = """
recipes:
  enet:
    teacher: {steps: 200}
    student: {steps: 600}
"""


def written(folder: Path, text: str) -> Path:
    path = folder / "lgad.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def message(folder: Path, text: str) -> str:
    """Return the error of a settings file: of a data set when it is used, else of the whole file."""
    with pytest.raises(LgadError) as error:
        settings = Settings.load(written(folder, text))
        for name in settings.broken:
            settings.dataset(name)
    return str(error.value)
