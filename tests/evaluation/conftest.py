import zipfile
from pathlib import Path

import pytest

DATA = Path(__file__).parents[1] / "fixtures"


@pytest.fixture(scope="session")
def official(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Inputs and answers of the official tools, a folder each."""
    folder = tmp_path_factory.mktemp("official")
    for name in ("culane_eval", "culane_eval_odd", "tusimple_eval"):
        zipfile.ZipFile(DATA / f"{name}.zip").extractall(folder / name)
    return folder
