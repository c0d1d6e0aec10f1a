"""A data set that is added to lgad.local.yaml."""

from pathlib import Path

import pytest

from lgad_pipeline.errors import LgadError
from lgad_pipeline.settings import Settings
from lgad_pipeline.settings.new_dataset import add_dataset
from tests.settings.settings_files import RECIPES


@pytest.fixture
def settings(tmp_path: Path) -> Path:
    path = tmp_path / "lgad.yaml"
    path.write_text(f"datasets: {{}}\n{RECIPES}")
    return path


def test_a_data_set_is_added_next_to_others_in_utf_16(settings, write_tree):
    local = settings.with_name("lgad.local.yaml")
    local.write_text("datasets:\n  other: {kind: culane, root: /data} # mine\n", encoding="utf-16")
    root = write_tree()
    add_dataset(settings, "drives", root=root)
    loaded = {name: entry.model_dump() for name, entry in Settings.load(settings).datasets.items()}
    assert loaded["drives"]["root"] == root and loaded["other"]["root"] == Path("/data")
    assert "# mine" in local.read_text()


def test_an_entry_that_is_there_is_not_replaced(settings, write_tree):
    local = settings.with_name("lgad.local.yaml")
    content = "datasets:\n  drives: {kind: culane, root: /somewhere, shards: /store}\n".encode("utf-16")
    local.write_bytes(content)
    with pytest.raises(LgadError, match=r"lgad\.local\.yaml has the data set drives; choose another name"):
        add_dataset(settings, "drives", root=write_tree())
    assert local.read_bytes() == content
