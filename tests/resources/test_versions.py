"""Owners, lost files and rollback of registered models: a real MLflow store and server."""

import shutil
from pathlib import Path

import pytest

from lgad_pipeline.errors import LgadError
from resources.mlflow.logged_model import files_digest
from resources.mlflow.registry import decide
from resources.mlflow.resource import MlflowTracking, default_tracking
from resources.mlflow.versions import (
    DIGEST_TAG,
    FINGERPRINT_TAG,
    OWNER_TAG,
    VersionLostError,
    champion_of,
    claim,
    is_intact,
    network_of,
    rollback,
    standing,
    version_rows,
)

NAME = "roads-enet"
ORIGIN = {"dataset": "roads", "recipe": "enet"}


@pytest.fixture(scope="module")
def tracking(tmp_path_factory):
    return default_tracking(tmp_path_factory.mktemp("store"))


@pytest.fixture
def model(tracking, tmp_path):
    """A registered model with three versions whose files are in `tmp_path/1` and so on."""
    client = tracking.client
    claim(tracking, NAME, owner="me", tags=ORIGIN)
    run = client.create_run(tracking.experiment("roads")).info.run_id
    for number in ("1", "2", "3"):
        network = tmp_path / number / "artifacts" / "network"
        network.mkdir(parents=True)
        (network / "weights.safetensors").write_text(number)
        tags = {DIGEST_TAG: files_digest(network), FINGERPRINT_TAG: number}
        client.create_model_version(NAME, (tmp_path / number).as_uri(), run, tags=tags)
    yield tmp_path
    client.delete_registered_model(NAME)


def judged(tracking: MlflowTracking, version: str, folder: Path, **options):
    def compare(champion: Path, challenger: Path):
        raise LgadError("it must not be compared.")

    return decide(tracking, NAME, version=version, compare=compare, lock=folder / "lock", **options)


def test_first_version_that_is_no_better_than_chance_stays_challenger(tracking, model):
    found = judged(tracking, "1", model, objection="its F1, 0.000, is not above the 0.012 of a blind guess")
    assert not found.promoted and found.champion is None and champion_of(tracking, NAME) is None
    assert found.reason == (
        "Version 1 stays challenger: its F1, 0.000, is not above the 0.012 of a blind guess."
    )
    found = judged(tracking, "2", model)  # the next one that scores above chance
    assert found.promoted and found.reason == "Version 2 has no champion to beat: it becomes champion."


@pytest.mark.parametrize("damage", ["gone", "cut"])
def test_champion_whose_files_are_lost_is_no_champion(tracking, model, damage):
    tracking.client.set_registered_model_alias(NAME, "champion", "1")
    weights = model / "1/artifacts/network/weights.safetensors"
    shutil.rmtree(model / "1") if damage == "gone" else weights.write_text("")
    with pytest.raises(VersionLostError), network_of(tracking, NAME, version="1"):
        pass
    assert not is_intact(tracking, NAME, version="1") and is_intact(tracking, NAME, version="2")
    assert standing(tracking, NAME, version="1")[0] == "cannot be loaded"
    poor = judged(tracking, "2", model, objection="it is no better than chance")
    assert poor.champion is None and "The files of version 1 of roads-enet" in poor.reason
    better = judged(tracking, "3", model)
    assert better.promoted and champion_of(tracking, NAME) == "3" and "could not be compared" in better.reason


def test_champion_that_this_code_cannot_load_is_not_called_champion(tracking, model):
    def cannot_load(folder: Path) -> None:
        raise LgadError("network.json is of a later version.")

    tracking.client.set_registered_model_alias(NAME, "champion", "1")
    for version in ("1", "2"):
        found = judged(tracking, version, model, load=cannot_load)
        assert found.champion is None and not found.promoted
        assert "network.json is of a later version" in found.reason and "lgad rollback" in found.reason
    assert champion_of(tracking, NAME) == "1"  # serving may load it with the code that it brings


def test_rollback_to_any_version_also_after_an_alias_set_by_hand(tracking, model):
    lock = model / "lock"
    with pytest.raises(LgadError, match=r"No version of .* is champion; choose one: .*, of 3, 2, 1\."):
        rollback(tracking, NAME, lock=lock)
    assert rollback(tracking, NAME, lock=lock, to="1") == (None, "1")
    tracking.client.set_registered_model_alias(NAME, "champion", "3")
    with pytest.raises(LgadError, match=r"no predecessor on record; .*--to VERSION, of 3 \(champion\), 2, 1"):
        rollback(tracking, NAME, lock=lock)
    assert rollback(tracking, NAME, lock=lock, to="2") == ("3", "2")
    rows = {row.version: row for row in version_rows(tracking, NAME)}
    assert list(rows) == ["3", "2", "1"] and rows["2"].aliases == ("champion",)
    assert rows["3"].decision.startswith("Rolled back on") and not judged(tracking, "3", model).promoted
    assert rollback(tracking, NAME, lock=lock, to="3") == ("2", "3")  # by hand it may come back
    assert rollback(tracking, NAME, lock=lock) == ("3", "2")  # and the next one leads back
    with pytest.raises(LgadError, match=r"has no version 7; it has 3, 2 \(champion\), 1"):
        rollback(tracking, NAME, lock=lock, to="7")
    shutil.rmtree(model / "1")
    with pytest.raises(LgadError, match=r"The files of version 1 .* no longer"):
        rollback(tracking, NAME, lock=lock, to="1")
    assert champion_of(tracking, NAME) == "2"


def test_joined_names_that_clash_are_refused(tracking, model):
    with pytest.raises(LgadError, match="holds versions of the data set roads, not roads-night"):
        claim(tracking, NAME, owner="me", tags={"dataset": "roads-night", "recipe": "enet"})


def test_model_of_another_project_on_one_server_is_refused(mlflow_server):
    server = mlflow_server()
    server.start()
    mine, theirs = (MlflowTracking(uri=server.uri) for _ in range(2))
    claim(mine, NAME, owner="night-team", tags=ORIGIN)
    claim(mine, NAME, owner="night-team", tags=ORIGIN)
    with pytest.raises(LgadError, match=r"belongs to another project \(night-team\); rename .* `owner:`"):
        claim(theirs, NAME, owner="day-team", tags=ORIGIN)
    client = mine.client
    client.create_registered_model("strangers")
    client.create_model_version("strangers", "s3://bucket/model")
    with pytest.raises(LgadError, match="was not registered by this pipeline"):
        claim(mine, "strangers", owner="night-team", tags=ORIGIN)
    client.create_registered_model("earlier")  # by this pipeline, before models had owners
    client.create_model_version("earlier", "s3://bucket/model", tags={FINGERPRINT_TAG: "one"})
    claim(mine, "earlier", owner="night-team", tags=ORIGIN)
    assert client.get_registered_model("earlier").tags[OWNER_TAG] == "night-team"
