"""Initial weights of a student from a trained network, for fine-tuning."""

import logging
from pathlib import Path

import torch
from torch import nn

from lgad_pipeline.config.network import NetworkSpec
from lgad_pipeline.errors import LgadError
from lgad_pipeline.networks.checkpoint import load_network

_LOG = logging.getLogger(__name__)
_EXISTENCE = "existence."  # start of the names of the existence head's weights
_TYPES = "types."  # of the head for the types of lanes


def load_initial(network: nn.Module, folder: Path, *, spec: NetworkSpec) -> str:
    """Load the weights of a trained network into another one of the same name and width.

    The existence head, the submodule `existence`, keeps its random weights: it has learned which frames of
    its data set have a lane in a slot, and a few frames of another data set do not change that. On frames
    that resemble neither data set it then denies lanes that the label map shows (docs/own_data.md, step 5).
    Another layer whose weights have another shape, because the trained network has another image size or
    another number of slots, keeps its random weights, too, and so does a head for other types of lanes.
    torch's random numbers do not change.

    Args:
        network: the network with random weights; changed in place.
        folder: directory of the trained network (weights.safetensors, network.json).
        spec: specification of `network`.

    Returns:
        A sentence that names the layers of another shape; empty if there are none. It is logged, too.

    Raises:
        DamagedNetwork: the directory holds no usable network, see `load_network`.
        LgadError: the trained network has another name, another width or another input.
    """
    with torch.random.fork_rng([]):
        trained, trained_spec = load_network(folder)
    _check_kind(folder, trained_spec, spec)
    # A head for other types of lanes has learned something else, also where its shape is the same.
    other_types = (_TYPES,) if trained_spec.lane_types != spec.lane_types else ()
    weights, wanted = _without(trained, _EXISTENCE, *other_types), _without(network, _EXISTENCE)
    unfit = {
        name.rpartition(".")[0]
        for name in wanted.keys() | weights.keys()
        if name not in wanted or name not in weights or wanted[name].shape != weights[name].shape
    }
    # A layer is loaded as a whole: the bias of a random weight would be that of another function.
    fitting = {name: value for name, value in weights.items() if name.rpartition(".")[0] not in unfit}
    network.load_state_dict(fitting, strict=False)
    layers = sorted({name.rpartition(".")[0] for name in wanted} & unfit)
    if not layers:
        return ""
    sentence = (
        f"{folder} was trained {_shape(trained_spec)}, and this network is for {_shape(spec, of='')}: "
        f"{', '.join(layers)} {'starts' if len(layers) == 1 else 'start'} from random weights, as the "
        "existence head does, and all other layers from those of the trained network."
    )
    _LOG.warning(sentence)
    return sentence


def _without(network: nn.Module, *heads: str) -> dict[str, torch.Tensor]:
    """Return the weights of a network without those whose names start as those of the heads."""
    return {name: value for name, value in network.state_dict().items() if not name.startswith(heads)}


def _check_kind(folder: Path, trained: NetworkSpec, wanted: NetworkSpec) -> None:
    if trained.in_channels != wanted.in_channels:
        raise LgadError(
            f"{folder} holds a network that reads {trained.in_channels} planes, not frames, as a teacher "
            "does; name the directory of a student under init."
        )
    if (trained.name, trained.width) != (wanted.name, wanted.width):
        raise LgadError(
            f"{folder} holds {trained.name} of width {trained.width:g}, but the recipe trains {wanted.name} "
            f"of width {wanted.width:g}; write network: {{name: {trained.name}, width: {trained.width:g}}}, "
            "or name another network under init."
        )


def _shape(spec: NetworkSpec, of: str = "on ") -> str:
    height, width = spec.image_size
    types = f" and the types {', '.join(spec.lane_types)}" if spec.lane_types else ""
    return f"{of}images of {height} x {width} px with {spec.slots} slots{types}"
