from pathlib import Path

import pytest

from tests.support.trainings import pack_road


@pytest.fixture(scope="session")
def packed_road(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight frames with two lanes each, packed."""
    return pack_road(tmp_path_factory.mktemp("packed_road"))
