import pytest

from assets.manifests import changed_file_reasons, write_manifest
from resources.project import Place

NETWORK = ("weights.safetensors", "network.json", "predictor.json", "history.parquet", "training.json")


@pytest.fixture
def place(tmp_path):
    place = Place(tmp_path / ".lgad", tmp_path / "drives", "mine", "enet")
    for path, text in {
        place.frames: "table",
        place.rejected: "rejected",
        place.packed / "index.json": "{}",
        place.packed / "train-00000.arrow": "part",
        place.predictions / "student_lgad" / "test" / "a.lines.txt": "1 2",
        **{
            place.student_lgad / name: name
            for name in (
                "weights.safetensors",
                "network.json",
                "predictor.json",
                "history.parquet",
                "training.json",
            )
        },
    }.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    for asset in ("frames", "shards", "predictions", "student_lgad"):
        write_manifest(place, asset)
    return place


@pytest.mark.parametrize(
    ("asset", "path"),
    [
        ("frames", "data/mine/frames.parquet"),
        ("shards", "data/mine/shards/train-00000.arrow"),
        ("predictions", "predictions/mine/enet/student_lgad/test/a.lines.txt"),
        ("student_lgad", "models/mine/enet/student_lgad/weights.safetensors"),
    ],
)
def test_deleted_or_emptied_file_makes_its_asset_stale(place, asset, path):
    assert changed_file_reasons(place, asset) == []
    (place.state / path).write_text("")
    (fault,) = changed_file_reasons(place, asset)
    assert f"{path} has 0 bytes where" in fault
    (place.state / path).unlink()
    (fault,) = changed_file_reasons(place, asset)
    assert f"{path} is missing" in fault


def test_moved_project_is_not_stale(place, tmp_path):
    place.state.rename(tmp_path / "elsewhere")
    moved = Place(tmp_path / "elsewhere", place.data_root, "mine", "enet")
    assert changed_file_reasons(moved, "student_lgad") == [] and changed_file_reasons(moved, "frames") == []


def test_shards_that_a_store_has_may_be_missing_here(place):
    stored = Place(place.state, place.data_root, "mine", "enet", store="s3://bucket/mine")
    (place.packed / "train-00000.arrow").unlink()
    assert changed_file_reasons(stored, "shards") == [] and changed_file_reasons(place, "shards")


def test_lost_manifest_is_stale_and_an_asset_without_files_is_not(place):
    assert "missing or damaged" in changed_file_reasons(place, "lane_scores")[0]
    (place.state / "manifests" / "mine" / "enet" / "predictions.json").write_text("[")
    assert "missing or damaged" in changed_file_reasons(place, "predictions")[0]
    assert (
        changed_file_reasons(place, "registered_model") == []
        and changed_file_reasons(place, "recordings") == []
    )


def test_mlflow_journal_of_a_network_is_none_of_its_contents(place):
    (place.student_lgad / "mlflow").mkdir()
    (place.student_lgad / "mlflow" / "run.json").write_text("{}")
    assert changed_file_reasons(place, "student_lgad") == []
