"""Networks that students start from: registered versions of a real MLflow store, and directories."""

import pytest
import torch

from lgad_pipeline.config.network import NetworkSpec
from lgad_pipeline.errors import LgadError
from lgad_pipeline.networks.checkpoint import network_digest, save_network
from lgad_pipeline.networks.registry import build_network
from resources.mlflow.initial import initial_network
from resources.mlflow.logged_model import files_digest
from resources.mlflow.resource import default_tracking
from resources.mlflow.versions import DIGEST_TAG

NAME = "roads-enet"
SPEC = NetworkSpec(image_size=(16, 32), width=0.25)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """A registered model of two versions, the second one champion; their files are in 1/ and 2/."""
    folder = tmp_path_factory.mktemp("store")
    tracking = default_tracking(folder)
    tracking.client.create_registered_model(NAME)
    run = tracking.client.create_run(tracking.experiment("roads")).info.run_id
    for number in (1, 2):
        network = folder / str(number) / "artifacts" / "network"
        torch.manual_seed(number)
        save_network(network, build_network(SPEC), spec=SPEC)
        tags = {DIGEST_TAG: files_digest(network)}
        tracking.client.create_model_version(NAME, (folder / str(number)).as_uri(), run, tags=tags)
    tracking.client.set_registered_model_alias(NAME, "champion", "2")
    return tracking, folder


@pytest.mark.parametrize(("init", "number"), [(f"models:/{NAME}@champion", "2"), (f"models:/{NAME}/1", "1")])
def test_a_registered_version_is_kept_below_the_state_root(store, tmp_path, init, number):
    tracking, folder = store
    registered = folder / number / "artifacts" / "network"
    for _ in range(2):
        found = initial_network(init, tracking=tracking, state=tmp_path)
        assert found.source == f"models:/{NAME}/{number}"
        assert found.digest == network_digest(found.folder) == network_digest(registered)
        assert found.folder.is_relative_to(tmp_path)
        (found.folder / "weights.safetensors").write_bytes(b"damaged")  # the next call downloads it again
    found = initial_network(init, tracking=tracking, state=tmp_path)
    assert {path.name for path in found.folder.iterdir()} == {"network.json", "weights.safetensors"}


def test_a_directory_is_used_where_it_is(store, tmp_path):
    folder = store[1] / "1" / "artifacts" / "network"
    found = initial_network(str(folder), tracking=store[0], state=tmp_path)
    assert (found.folder, found.source, found.digest) == (folder, str(folder), network_digest(folder))


@pytest.mark.parametrize(
    ("init", "sentence"),
    [
        ("models:/no-model@champion", "no registered model no-model .* roads-enet; correct init, or train"),
        (
            f"models:/{NAME}@best",
            r"has the alias best; name one of 2 \(champion\), 1 \(without alias\) under",
        ),
        (f"models:/{NAME}/7", "has the number 7; name one of"),
        ("/nowhere", "/nowhere does not exist"),
    ],
)
def test_what_does_not_exist_is_one_sentence(store, tmp_path, init, sentence):
    with pytest.raises(LgadError, match=sentence):
        initial_network(init, tracking=store[0], state=tmp_path)


def test_changed_files_of_a_version_are_refused(store, tmp_path):
    path = store[1] / "1" / "artifacts" / "network" / "weights.safetensors"
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(LgadError, match="Name another version"):
        initial_network(f"models:/{NAME}/1", tracking=store[0], state=tmp_path)
    path.write_bytes(content)
