import zipfile
from pathlib import Path

import pytest

DATA = Path(__file__).parents[1] / "fixtures"


@pytest.fixture(scope="session")
def seg_labels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Annotations, and the label maps and existence flags that the official tool made of them."""
    folder = tmp_path_factory.mktemp("seg_labels")
    zipfile.ZipFile(DATA / "seg_labels.zip").extractall(folder)
    return folder
