import pytest
import torch

from lgad_pipeline.config.network import NetworkSpec
from lgad_pipeline.networks.registry import build_network


@pytest.mark.parametrize("name", ["enet", "erfnet"])
def test_residual_sums_have_the_precision_of_autocast(name: str) -> None:
    network = build_network(NetworkSpec(name=name, image_size=(16, 32), width=0.25))
    stage = network.get_submodule("encoder.stage1")
    dtypes = []
    stage.register_forward_hook(lambda *arguments: dtypes.append(arguments[2].dtype))
    for training in (True, False):
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
            network.train(training)(torch.rand(2, 3, 16, 32))
    assert dtypes == [torch.bfloat16, torch.bfloat16]
