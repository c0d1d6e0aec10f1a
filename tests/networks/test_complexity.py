import pytest
import torch
from torch import nn

from lgad_pipeline.config.network import NetworkSpec
from lgad_pipeline.networks.complexity import operations, parameters
from lgad_pipeline.networks.registry import build_network

# PytorchAutoDrive's benchmark page, 288 x 800: GFLOPs (by thop) and millions of parameters.
PUBLISHED = {
    "enet": (4.12, 0.96),
    "erfnet": (26.26, 2.68),
    "resnet18": (85.22, 11.82),
    "resnet34": (159.60, 21.93),
}


def counted_as_thop_does(spec: NetworkSpec) -> float:
    """Count two operations per multiplication by thop's rules, which differ in two points: every output cell
    of a transposed convolution uses the whole kernel, and a normalization costs four operations per cell."""
    total = 0

    def count(module: nn.Module, inputs: tuple, output: torch.Tensor) -> None:
        nonlocal total
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            kernel = module.kernel_size[0] * module.kernel_size[1]
            total += 2 * output.numel() * module.in_channels // module.groups * kernel
        elif isinstance(module, nn.BatchNorm2d):
            total += 4 * output.numel()
        elif isinstance(module, nn.Linear):
            total += 2 * module.in_features * module.out_features

    with torch.device("meta"), torch.no_grad():
        network = build_network(spec).eval()
        for module in network.modules():
            module.register_forward_hook(count)
        network(torch.empty(1, 3, 288, 800))
    return total


@pytest.mark.parametrize("name", PUBLISHED)
def test_network_costs_what_is_published(name: str) -> None:
    spec = NetworkSpec(name=name)
    gflops, millions = PUBLISHED[name]
    assert round(parameters(spec) / 1e6, 2) == millions
    assert counted_as_thop_does(spec) / 1e9 == pytest.approx(gflops, rel=0.02)
    # Real operations are fewer: thop's rule for transposed convolutions counts those of stride 2 four times.
    assert (0.85 if "resnet" not in name else 0.99) * gflops < operations(spec) / 1e9 < gflops


def test_operations_by_hand() -> None:
    spec = NetworkSpec(name=f"{__name__}:OneConvolution", image_size=(16, 32))
    assert operations(spec) == 2 * 16 * 32 * 9 * 3 * 5


class OneConvolution(nn.Conv2d):
    def __init__(self, in_channels: int, slots: int, image_size: tuple[int, int], width: float) -> None:
        super().__init__(in_channels, slots + 1, 3, padding=1)
