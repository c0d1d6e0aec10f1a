import pytest

from lgad_pipeline.errors import LgadError
from resources.registry import CHAMPION, decide
from resources.tracking import default_tracking


@pytest.fixture
def versions(tmp_path):
    """A registered model with three versions whose folders lie on disk."""
    tracking = default_tracking(tmp_path)
    tracking.client.create_registered_model("roads-enet")
    for number in (1, 2, 3):
        network = tmp_path / str(number) / "artifacts" / "network"
        network.mkdir(parents=True)
        (network / "weights.safetensors").write_text(str(number))
        tracking.client.create_model_version("roads-enet", (tmp_path / str(number)).as_uri())
    return tracking, tmp_path


def scorer(scores: dict[str, float]):
    return lambda folder: scores[(folder / "weights.safetensors").read_text()]


def champion(tracking) -> str:
    return str(tracking.client.get_model_version_by_alias("roads-enet", CHAMPION).version)


def test_first_becomes_champion_better_takes_over_worse_does_not(versions):
    tracking, folder = versions
    score = scorer({"1": 0.5, "2": 0.4, "3": 0.6})
    networks = {number: folder / number / "artifacts" / "network" for number in "123"}
    first = decide(tracking, "roads-enet", "1", networks["1"], score)
    assert first.promoted and first.champion_f1 is None
    worse = decide(tracking, "roads-enet", "2", networks["2"], score)
    assert not worse.promoted and worse.champion == champion(tracking) == "1"
    better = decide(tracking, "roads-enet", "3", networks["3"], score)
    assert better.promoted and better.champion_f1 == 0.5 and champion(tracking) == "3"
    tags = tracking.client.get_model_version("roads-enet", "2").tags
    assert tags["validation_f1"] == "0.4000" and "stays challenger" in tags["decision"]


def test_equal_is_not_better(versions):
    tracking, folder = versions
    for number in "12":
        network = folder / number / "artifacts" / "network"
        decide(tracking, "roads-enet", number, network, scorer({"1": 0.5, "2": 0.5}))
    assert champion(tracking) == "1"


def test_champion_of_older_code_counts_with_its_recorded_score(versions):
    tracking, folder = versions
    networks = {number: folder / number / "artifacts" / "network" for number in "12"}
    decide(tracking, "roads-enet", "1", networks["1"], scorer({"1": 0.5}))

    def score(network):
        if (network / "weights.safetensors").read_text() == "1":
            raise LgadError("the weights do not fit the network")
        return 0.6

    decision = decide(tracking, "roads-enet", "2", networks["2"], score)
    assert decision.promoted and decision.champion_f1 == 0.5 and "as recorded" in decision.reason
