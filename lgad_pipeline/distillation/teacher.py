"""Teachers: networks that read label maps, the encoding of their input, and their attention maps."""

from collections import Counter
from collections.abc import Sequence
from typing import Any, Self

import torch
from torch import nn
from torch.nn import functional

from lgad_pipeline.config.distillation import AttentionConfig, LabelEncoding, TeacherInputConfig
from lgad_pipeline.config.network import NetworkSpec
from lgad_pipeline.distillation.attention import attention_maps
from lgad_pipeline.distillation.taps import FeatureTaps
from lgad_pipeline.errors import LgadError

_ENCODINGS: tuple[LabelEncoding, ...] = ("one_hot", "gray", "binary")
_BAND = 8  # rows that are shifted together when a teacher's input is corrupted


def label_planes(
    label_map: torch.Tensor,
    classes: int,
    encoding: LabelEncoding = "one_hot",
    *,
    stride: int = 1,
    dtype: torch.dtype = torch.float32,
) -> torch.Tensor:
    """Encode label maps as input planes of a teacher.

    One-hot planes are the default: gray levels would give the slots an order that they do not have.

    A pixel of a value outside 0..classes - 1, such as an ignore index of 255 or -1, is 0 in every one-hot
    plane. The other encodings do not support such pixels.

    Args:
        label_map: label map (B, H, W), integers 0..classes - 1, 0 is the background.
        classes: number of classes, background included.
        encoding: see `TeacherInputConfig`.
        stride: step of the rows and columns that are read.
        dtype: dtype of one-hot and binary planes, which hold 0 and 1 alone; gray planes are float32.

    Returns:
        Planes in 0..1: one_hot (B, classes, h, w); gray (B, 1, h, w); binary (B, 2, h, w),
        background and lanes; h and w are H and W divided by the stride. One-hot and binary planes are in
        channels-last memory format.
    """
    label_map = read_pixels(label_map, stride)
    if encoding == "gray":
        return label_map[:, None].float() / (classes - 1)
    if encoding == "binary":
        label_map, classes = (label_map > 0).to(label_map.dtype), 2
    # Rows of a table give channels-last planes, three times faster than comparisons; its outer rows are of
    # values that are no class.
    table = functional.pad(torch.eye(classes, dtype=dtype, device=label_map.device), (0, 0, 1, 1))
    signed = label_map if label_map.dtype.is_signed else label_map.to(torch.int32)
    row = signed.clamp(-1, classes).to(torch.int32) + 1
    return functional.embedding(row, table).permute(0, 3, 1, 2)


def read_pixels(label_map: torch.Tensor, stride: int) -> torch.Tensor:
    """Return the pixels of label maps (B, H, W) that a teacher with that stride reads, (B, h, w)."""
    return label_map[:, ::stride, ::stride]


def teacher_spec(spec: NetworkSpec, encoding: LabelEncoding = "one_hot", *, stride: int = 1) -> NetworkSpec:
    """Return the same network with a label map of that encoding as input, read with that stride.

    A teacher predicts no types of lanes, because the label map does not show them.

    Raises:
        LgadError: the stride does not divide the image size.
    """
    height, width = spec.image_size
    if height % stride or width % stride:
        raise LgadError(
            f"teacher_input.stride {stride} does not divide the image size {height} x {width}; "
            "choose one that does."
        )
    size = (height // stride, width // stride)
    changes = {"in_channels": _channels(spec, encoding), "image_size": size, "lane_types": ()}
    return spec.model_copy(update=changes)


def _channels(spec: NetworkSpec, encoding: LabelEncoding) -> int:
    return {"one_hot": spec.slots + 1, "gray": 1, "binary": 2}[encoding]


def label_encoding(spec: NetworkSpec) -> LabelEncoding:
    """Return the label encoding that a teacher reads, derived from its number of input planes.

    Raises:
        LgadError: the network has another number of input planes, so that it does not read label maps.
    """
    for encoding in _ENCODINGS:
        if spec.in_channels == _channels(spec, encoding):
            return encoding
    raise LgadError(
        f"A network with {spec.in_channels} input planes does not read label maps of {spec.slots} slots; "
        "name the folder of a teacher."
    )


def label_stride(spec: NetworkSpec, image_size: Sequence[int]) -> int:
    """Return the stride with which a teacher reads label maps of `image_size` (H, W), pixels.

    Raises:
        LgadError: the label maps are not a multiple of the teacher's input size.
    """
    stride = max(1, image_size[0] // spec.image_size[0])
    if tuple(image_size) != (stride * spec.image_size[0], stride * spec.image_size[1]):
        raise LgadError(
            f"The teacher reads label maps of {list(spec.image_size)} px, but the frames have "
            f"{list(image_size)} px, which is not a multiple of it; name a teacher that was trained "
            "on frames of this size."
        )
    return stride


def teacher_planes(label_map: torch.Tensor, spec: NetworkSpec) -> torch.Tensor:
    """Return label maps (B, H, W) as the input of a trained teacher, in its encoding and size."""
    stride = label_stride(spec, label_map.shape[1:])
    return label_planes(label_map, spec.slots + 1, label_encoding(spec), stride=stride)


def corrupt_label_planes(planes: torch.Tensor, config: TeacherInputConfig) -> torch.Tensor:
    """Corrupt a teacher's input; random numbers come from torch's global generator.

    Args:
        planes: planes (B, C, H, W) from `label_planes`; not changed.
        config: kinds and degrees of the corruption.

    Returns:
        Corrupted planes (B, C, H, W); `planes` itself if the settings ask for no corruption.
    """
    size, channels, height, width = planes.shape
    device = planes.device
    if config.shift:
        bands = (torch.rand(size, -(-height // _BAND), device=device) * 2 - 1) * config.shift * width
        moved = bands.round().long().repeat_interleave(_BAND, dim=1)[:, :height, None]  # (B, H, 1)
        columns = (torch.arange(width, device=device) - moved).clamp(0, width - 1)  # (B, H, W)
        planes = planes.gather(3, columns[:, None].expand(-1, channels, -1, -1))
    if config.erasing:
        corner, extent = torch.rand(2, size, 1, 1, device=device), torch.rand(2, size, 1, 1, device=device)
        y = torch.arange(height, device=device).view(1, -1, 1) / height
        x = torch.arange(width, device=device).view(1, 1, -1) / width
        rows = (y >= corner[0]) & (y < corner[0] + 0.1 + 0.4 * extent[0])
        columns = (x >= corner[1] - 0.25) & (x < corner[1] + 0.5 * extent[1])
        inside = rows & columns & (torch.rand(size, 1, 1, device=device) < config.erasing)
        background = torch.zeros(channels, device=device)
        background[:1].fill_(channels > 1)  # a gray level of 0 is background
        planes = torch.where(inside[:, None], background.view(1, -1, 1, 1), planes)
    if config.noise:
        planes = planes + config.noise * torch.randn_like(planes)
    return planes


class FrozenTeacher(nn.Module):
    """Trained network that does not train any more: evaluation mode, no gradients, no batch-norm drift.

    `train()`, also that of a parent module of it or of its network, has no effect on it.

    Args:
        network: trained network; it is switched to evaluation mode and its parameters are frozen.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network.eval().requires_grad_(False)

    def train(self, mode: bool = True) -> Self:
        """Stay in evaluation mode."""
        return self

    @torch.no_grad()
    def forward(self, planes: torch.Tensor) -> Any:
        """Run the network without gradients and return its output."""
        if any(module.training for module in self.network.modules()):  # a parent may hold the network itself
            self.network.eval()
        return self.network(planes)


class _LayersDone(Exception):
    """All layers that are needed have run."""


class TeacherAttention:
    """Attention maps of a trained teacher, computed for given label maps.

    From the second forward on, it ends after the last tapped layer: the decoder is not computed for the maps
    of an encoder.

    Args:
        teacher: trained network of label maps, on the device of the label maps; it is frozen here.
        layers: dotted names of the teacher's layers.
        config: settings of the attention maps.
        classes: number of classes, background included; None to read it from the first convolution of the
            teacher, for one-hot planes.
        encoding: encoding of the label maps that the teacher was trained on.
        stride: step of the rows and columns of the label maps that the teacher reads.

    Raises:
        LgadError: a layer does not exist, or the number of classes is unknown.
    """

    def __init__(
        self,
        teacher: nn.Module,
        layers: Sequence[str],
        config: AttentionConfig,
        *,
        classes: int | None = None,
        encoding: LabelEncoding = "one_hot",
        stride: int = 1,
    ) -> None:
        self.network = FrozenTeacher(teacher)
        self.stride = stride
        self.config = config
        self.encoding: LabelEncoding = encoding
        if classes is None and encoding != "one_hot":
            raise LgadError(
                f"The classes of a teacher of {encoding} planes are unknown; give the argument classes."
            )
        self.classes = input_planes(teacher) if classes is None else classes
        self.taps = FeatureTaps(teacher, layers)
        self._runs: Counter[str] | None = None  # runs of each tapped layer in a forward, after the first
        self._counted: Counter[str] | None = None  # runs so far in the present forward
        modules = dict(teacher.named_modules())
        for layer in self.taps.layers:  # after the taps, so that the layer's output is kept first
            modules[layer].register_forward_hook(lambda *_, layer=layer: self._layer_has_run(layer))

    def _layer_has_run(self, layer: str) -> None:
        if self._counted is None:  # a forward that is not of this object
            return
        self._counted[layer] += 1
        if self._counted == self._runs:
            raise _LayersDone

    def __call__(self, label_map: torch.Tensor) -> dict[str, torch.Tensor]:
        """Return the attention maps (B, h, w) by layer name, for label maps (B, H, W) of integers."""
        check_label_map(label_map)
        kind = label_map.device.type
        autocast = torch.amp.is_autocast_available(kind) and torch.is_autocast_enabled(kind)
        dtype = torch.get_autocast_dtype(kind) if autocast else torch.float32
        planes = label_planes(label_map, self.classes, self.encoding, stride=self.stride, dtype=dtype)
        self._counted = Counter()
        # On a CPU, inference mode saves memory traffic: activations overwrite their input.
        with torch.inference_mode() if kind == "cpu" else torch.no_grad():
            try:
                self.network(planes.contiguous(memory_format=torch.channels_last))
                self._runs = self._counted
            except _LayersDone:
                pass
            finally:
                self._counted = None
        return attention_maps(self.taps, self.config)


def input_planes(network: nn.Module) -> int:
    """Return the number of input channels of a network's first convolution.

    Raises:
        LgadError: the network has no 2-d convolution.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            return module.in_channels
    raise LgadError(
        f"The number of classes of {type(network).__name__} is unknown, because it has no Conv2d; "
        "give the argument classes."
    )


def check_label_map(label_map: torch.Tensor) -> None:
    """Check that a tensor is a batch of label maps.

    Raises:
        LgadError: it does not have three dimensions, or its values are not integers.
    """
    if label_map.dim() != 3 or label_map.is_floating_point():
        raise LgadError(
            f"A label map is an integer tensor (B, H, W), not {label_map.dtype} {tuple(label_map.shape)}; "
            "give class numbers, not one-hot planes or images."
        )
