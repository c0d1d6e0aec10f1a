"""How a network is found by name."""

import importlib
from collections.abc import Callable

from torch import nn

from lgad_pipeline.config.network import NetworkSpec, allow_networks
from lgad_pipeline.errors import LgadError
from lgad_pipeline.networks.enet import ENet
from lgad_pipeline.networks.erfnet import ERFNet
from lgad_pipeline.networks.resnet import ResNet18, ResNet34

NETWORKS: dict[str, Callable[..., nn.Module]] = {
    "enet": ENet,
    "erfnet": ERFNet,
    "resnet18": ResNet18,
    "resnet34": ResNet34,
}


def build_network(spec: NetworkSpec) -> nn.Module:
    """Build the network that `spec` names, with random weights from torch's global generator.

    A network of one's own is a `torch.nn.Module` class named by its import path, `package.module:Class`. It
    is called with the keywords `in_channels`, `slots`, `image_size` and `width`; its forward takes images
    (B, in_channels, H, W) and returns a `LaneOutput`.

    The class is imported because the caller names it. A specification that was read from a folder of a
    trained network goes through `store.load_network`, which asks if the caller allows it.

    Raises:
        LgadError: no network has that name, or the class cannot be imported.
    """
    network_class = NETWORKS.get(spec.name) or _imported(spec.name)
    network = network_class(
        in_channels=spec.in_channels, slots=spec.slots, image_size=spec.image_size, width=spec.width
    )
    if not spec.zero_init_residual:
        for layer in network.modules():
            if isinstance(layer, nn.BatchNorm2d):
                nn.init.ones_(layer.weight)
    return network


def attention_layers(spec: NetworkSpec) -> tuple[str, ...]:
    """Names of the layers whose attention a student of this network mimics unless told otherwise.

    Raises:
        LgadError: the network does not say; the paths then have to be named in the distillation settings.
    """
    layers = getattr(NETWORKS.get(spec.name) or _imported(spec.name), "attention_layers", None)
    if not layers:
        raise LgadError(
            f"Network {spec.name} has no default attention layers; name them under distillation.paths, "
            "or give its class an attribute attention_layers with names of its modules."
        )
    return tuple(layers)


def _imported(path: str) -> Callable[..., nn.Module]:
    module, _, name = path.partition(":")
    if not name or not module:
        raise LgadError(
            f"Network {path} is not known; choose one of {', '.join(sorted(NETWORKS))}, "
            "or give an import path such as mypackage.nets:MyNet."
        )
    try:
        found = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError, TypeError) as error:
        raise LgadError(f"Network {path} cannot be imported ({error}); correct the import path.") from error
    if not (isinstance(found, type) and issubclass(found, nn.Module)):
        raise LgadError(f"Network {path} is no torch.nn.Module class; correct the import path.")
    allow_networks(path)
    return found
