import pytest

from assets.manifests import changed_file_reasons, write_manifest
from resources.paths import ProjectPaths

NETWORK = ("weights.safetensors", "network.json", "predictor.json", "history.parquet", "training.json")


@pytest.fixture
def paths(tmp_path):
    paths = ProjectPaths(tmp_path / ".lgad", tmp_path / "drives", "mine", "enet")
    for path, text in {
        paths.frames: "table",
        paths.rejected: "rejected",
        paths.shards / "index.json": "{}",
        paths.shards / "train-00000.arrow": "part",
        paths.predictions / "student_lgad" / "test" / "a.lines.txt": "1 2",
        **{
            paths.student_lgad / name: name
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
        write_manifest(paths, asset)
    return paths


@pytest.mark.parametrize(
    ("asset", "path"),
    [
        ("frames", "data/mine/frames.parquet"),
        ("shards", "data/mine/shards/train-00000.arrow"),
        ("predictions", "predictions/mine/enet/student_lgad/test/a.lines.txt"),
        ("student_lgad", "models/mine/enet/student_lgad/weights.safetensors"),
    ],
)
def test_deleted_or_emptied_file_makes_its_asset_stale(paths, asset, path):
    assert changed_file_reasons(paths, asset) == []
    (paths.state / path).write_text("")
    (fault,) = changed_file_reasons(paths, asset)
    assert f"{path} has 0 bytes where" in fault
    (paths.state / path).unlink()
    (fault,) = changed_file_reasons(paths, asset)
    assert f"{path} is missing" in fault


def test_moved_project_is_not_stale(paths, tmp_path):
    paths.state.rename(tmp_path / "elsewhere")
    moved = ProjectPaths(tmp_path / "elsewhere", paths.data_root, "mine", "enet")
    assert changed_file_reasons(moved, "student_lgad") == [] and changed_file_reasons(moved, "frames") == []


def test_shards_that_a_store_has_may_be_missing_here(paths):
    stored = ProjectPaths(paths.state, paths.data_root, "mine", "enet", store="s3://bucket/mine")
    (paths.shards / "train-00000.arrow").unlink()
    assert changed_file_reasons(stored, "shards") == [] and changed_file_reasons(paths, "shards")


def test_lost_manifest_is_stale_and_an_asset_without_files_is_not(paths):
    assert "missing or damaged" in changed_file_reasons(paths, "lane_scores")[0]
    (paths.state / "manifests" / "mine" / "enet" / "predictions.json").write_text("[")
    assert "missing or damaged" in changed_file_reasons(paths, "predictions")[0]
    assert (
        changed_file_reasons(paths, "registered_model") == []
        and changed_file_reasons(paths, "recordings") == []
    )


def test_mlflow_journal_of_a_network_is_none_of_its_contents(paths):
    (paths.student_lgad / "mlflow").mkdir()
    (paths.student_lgad / "mlflow" / "run.json").write_text("{}")
    assert changed_file_reasons(paths, "student_lgad") == []
