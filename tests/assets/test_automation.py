"""Conditions under which the sensor `retrain_stale_models` requests assets, on a real Dagster instance."""

import dagster as dg
import pytest

from resources.project import Project
from tests.assets.chain import ASSETS, SETTINGS
from tests.assets.stand_ins import StandIns

OLD, NEW = "1", "2"


@pytest.fixture
def small(tmp_path, monkeypatch):
    (tmp_path / "lgad.yaml").write_text(SETTINGS.replace("STEPS", "10"))
    monkeypatch.setenv("LGAD_SETTINGS", str(tmp_path / "lgad.yaml"))
    monkeypatch.delenv("LGAD_STATE", raising=False)
    with dg.DagsterInstance.ephemeral() as instance:
        small = StandIns(Project(file=str(tmp_path / "lgad.yaml")), instance)
        small.run(*ASSETS["data"])
        small.run(*ASSETS["retrain"])
        small.requested()  # The first evaluation sees no update.
        yield small


def test_nothing_is_requested_while_all_is_up_to_date(small):
    small.run("shards")
    assert small.requested() == []


@pytest.mark.parametrize("name", [name for name in ASSETS["retrain"] if name != "registered_model"])
def test_asset_is_requested_if_it_alone_is_stale(small, name):
    manifest = small.project.paths("synthetic", "enet").manifest(name)
    manifest.unlink()
    assert small.requested() == []
    small.run("shards")
    assert name in small.requested()
    assert small.requested() == []


def test_edited_recipe_waits_for_the_schedule(small):
    small.run("shards")
    assert small.requested() == []
    settings = small.project.folder / "lgad.yaml"
    settings.write_text(SETTINGS.replace("STEPS", "12"))
    assert small.requested() == []
    small.run("shards")
    assert small.requested() == ASSETS["retrain"]


@pytest.mark.parametrize("first_tick", ["before the update", "after the update"])
def test_update_of_the_shards_during_a_training_is_requested_after_it(small, first_tick):
    small.run("shards", version=OLD + "b")
    assert small.requested() == ASSETS["retrain"]
    ticks = []

    def repack(name: str) -> None:
        if name == "predictions":  # The networks have been trained on the earlier shards.
            small.run("shards", version=NEW)
        if ticks or name == "predictions" or first_tick == "before the update":
            ticks.append(small.requested())

    small.run(*ASSETS["retrain"], during=repack)
    assert ticks and not any(ticks)
    assert small.requested() == ASSETS["retrain"]
    small.run(*ASSETS["retrain"], version=NEW)
    assert small.requested() == [] == small.requested()


def test_update_before_the_training_has_read_the_shards_is_not_requested_again(small):
    small.run("shards", version=NEW)
    assert small.requested() == ASSETS["retrain"]
    small.run("shards", version=NEW + "b")
    small.run(*ASSETS["retrain"], version=NEW, during=lambda name: small.requested())
    assert small.requested() == [] == small.requested()


def test_failed_training_is_not_requested_again_without_an_update(small):
    small.run("shards", version=NEW)
    assert small.requested() == ASSETS["retrain"]

    def fail(name: str) -> None:
        raise dg.Failure("a network has diverged")

    with pytest.raises(dg.Failure, match="diverged"):
        small.run(*ASSETS["retrain"], during=fail)
    assert small.requested() == [] == small.requested()
    small.run("shards", version=NEW + "b")
    assert small.requested() == ASSETS["retrain"]
