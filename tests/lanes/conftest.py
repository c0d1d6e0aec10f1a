import zipfile
from pathlib import Path

import pytest

DATA = Path(__file__).parents[1] / "fixtures"


@pytest.fixture(scope="session")
def seg_labels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Extract annotations with the label maps and existence flags of the official tool."""
    folder = tmp_path_factory.mktemp("seg_labels")
    zipfile.ZipFile(DATA / "seg_labels.zip").extractall(folder)
    return folder
