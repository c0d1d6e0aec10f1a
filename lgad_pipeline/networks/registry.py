"""Registry of networks: classes by short name, by a prefix such as `scnn:`, or by import path."""

import inspect
from collections.abc import Callable
from typing import TypeVar

from torch import nn

from lgad_pipeline.config.distillation import attention_layers_of
from lgad_pipeline.config.import_path import import_object
from lgad_pipeline.config.network import NetworkSpec, allow_networks
from lgad_pipeline.errors import LgadError
from lgad_pipeline.networks.enet import ENet
from lgad_pipeline.networks.erfnet import ERFNet
from lgad_pipeline.networks.layers import LaneNetwork
from lgad_pipeline.networks.resnet import ResNet18, ResNet34
from lgad_pipeline.networks.smp_net import smp_network
from lgad_pipeline.networks.source import register_source
from lgad_pipeline.networks.spatial import spatial_network
from lgad_pipeline.networks.timm_net import timm_network

BUILT_IN: dict[str, type[nn.Module]] = {
    "enet": ENet,
    "erfnet": ERFNet,
    "resnet18": ResNet18,
    "resnet34": ResNet34,
}
"""Networks of this package by name. A new one is a module with its class, and a line here."""

PREFIXES = {
    "scnn": "scnn:BACKBONE",
    "resa": "resa:BACKBONE",
    "timm": "timm:MODEL",
    "smp": "smp:ARCHITECTURE:ENCODER",
}
"""Networks that are put together from their name: a spatial module over a network of this package or of timm,
an encoder of timm, a network of segmentation_models_pytorch."""

_KEYWORDS = ("in_channels", "slots", "image_size", "width")
_registered: dict[str, type[nn.Module]] = {}
_Network = TypeVar("_Network", bound=type[nn.Module])


def register_network(name: str) -> Callable[[_Network], _Network]:
    """Register a network class of another package under a short name; used as a decorator.

    The name holds in processes that import the module of the class. lgad.yaml and the command line, whose
    processes do not, name a class by its import path, `package.module:Class`, without registration.

    Args:
        name: short name for `NetworkSpec.name`, a Python identifier.

    Raises:
        LgadError: the name is not an identifier, or another class has it.

    Example:
        >>> import torch
        >>> from lgad_pipeline.config.network import NetworkSpec
        >>> from lgad_pipeline.networks.layers import LaneOutput
        >>> @register_network("one_convolution")
        ... class OneConvolution(torch.nn.Module):
        ...     def __init__(self, in_channels, slots, image_size, width):
        ...         super().__init__()
        ...         self.body = torch.nn.Conv2d(in_channels, slots + 1, 3, padding=1)
        ...
        ...     def forward(self, image):
        ...         return LaneOutput(self.body(image))
        >>> network = build_network(NetworkSpec(name="one_convolution", image_size=(8, 16)))
        >>> network(torch.zeros(1, 3, 8, 16)).logits.shape
        torch.Size([1, 5, 8, 16])
    """
    if not name.isidentifier():
        raise LgadError(f"{name!r} is not a name for a network; give letters, digits and underscores.")

    def register(network_class: _Network) -> _Network:
        known = BUILT_IN.get(name) or _registered.get(name)
        if known is not None and _import_path(known) != _import_path(network_class):
            raise LgadError(
                f"The name {name} is that of {_import_path(known)}; register {_import_path(network_class)} "
                "under another name."
            )
        _registered[name] = network_class
        register_source(name, _import_path(network_class))
        return network_class

    return register


def is_registered(name: str) -> bool:
    """Return True if building a network runs no code but that of this package or of a registered class.

    Those are the short name of a network of this package, of a registered one, and names with a prefix.
    """
    return is_built_in(name) or name in _registered


def is_built_in(name: str) -> bool:
    """Return True for a network of this package, names with a prefix included."""
    return name in BUILT_IN or name.partition(":")[0] in PREFIXES


def build_network(spec: NetworkSpec) -> nn.Module:
    """Build the network that a specification names, with random weights from torch's global generator.

    The class is called with the keywords `in_channels`, `slots`, `image_size` and `width`. Its forward takes
    images (B, in_channels, H, W) and returns a `LaneOutput`. The head for the types of lanes is built last,
    so that the other weights are those of a network without it.

    A class named by its import path is imported, because the caller names it. `load_network` checks first if
    the caller allows the class that a folder names.

    Args:
        spec: name and size of the network.

    Raises:
        LgadError: no network has that name, the class cannot be imported or takes other arguments, or it
            predicts no types of lanes.

    Example:
        >>> from lgad_pipeline.config.network import NetworkSpec
        >>> network = build_network(NetworkSpec(name="enet", image_size=(64, 128), width=0.25))
    """
    kind, sizes = network_class(spec.name), spec.model_dump(include=set(_KEYWORDS))
    try:
        inspect.signature(kind).bind(**sizes)
    except TypeError as error:
        raise LgadError(
            f"Network {spec.name} cannot be built ({error}); let its class take the keywords "
            f"{', '.join(_KEYWORDS)}."
        ) from error
    network = kind(**sizes)
    if spec.lane_types:
        if not isinstance(network, LaneNetwork):
            raise LgadError(
                f"Network {spec.name} predicts no types of lanes; leave lane_types out of the data set, or "
                f"choose one of {', '.join(BUILT_IN)}, also with scnn: or resa:, or timm:MODEL."
            )
        network.add_type_head(len(spec.lane_types))
    if not spec.zero_init_residual:
        for layer in network.modules():
            if isinstance(layer, nn.BatchNorm2d) and layer.weight is not None:
                nn.init.ones_(layer.weight)
    return network


def attention_layers(spec: NetworkSpec) -> tuple[str, ...]:
    """Return the names of the layers whose attention is mimicked if the settings name no paths.

    Raises:
        LgadError: the class of the network has no attribute `attention_layers`.
    """
    return attention_layers_of(network_class(spec.name), spec.name)


def network_class(name: str) -> type[nn.Module]:
    """Return the class of a network.

    Args:
        name: short name, name with a prefix, or import path `package.module:Class`; the module of an import
            path is imported.

    Raises:
        LgadError: there is no such network, or a package that it needs is not installed.
    """
    prefix, separator, rest = name.partition(":")
    if separator and prefix in PREFIXES:
        return _prefixed(prefix, rest)
    return BUILT_IN.get(name) or _registered.get(name) or _imported(name)


def _prefixed(prefix: str, name: str) -> type[nn.Module]:
    if prefix == "timm":
        return timm_network(name)
    if prefix == "smp":
        return smp_network(name)
    if name not in BUILT_IN and not name.startswith("timm:"):
        raise LgadError(
            f"{prefix}:{name} does not exist; choose the backbone of {', '.join(BUILT_IN)} or timm:MODEL."
        )
    return spatial_network(prefix, network_class(name))


def _imported(path: str) -> type[nn.Module]:
    module, _, name = path.partition(":")
    if not name or not module:
        raise LgadError(
            f"Network {path} does not exist; choose one of "
            f"{', '.join([*BUILT_IN, *PREFIXES.values(), *_registered])}, or give an import path such as "
            "mypackage.nets:MyNet."
        )
    value = import_object("Network", path)
    if not (isinstance(value, type) and issubclass(value, nn.Module)):
        raise LgadError(f"Network {path} is not a torch.nn.Module class; correct the import path.")
    allow_networks(path)
    return value


def _import_path(network_class: type) -> str:
    return f"{network_class.__module__}:{network_class.__qualname__}"
