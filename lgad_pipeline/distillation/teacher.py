"""The teacher: a lane network that reads label maps, what it reads of them, and how it is held still."""

from collections.abc import Mapping, Sequence
from typing import Self

import torch
from torch import nn

from lgad_pipeline.config.distillation import AttentionConfig, LabelForm, TeacherInputConfig
from lgad_pipeline.config.network import NetworkSpec
from lgad_pipeline.data.loader import Batch
from lgad_pipeline.distillation.attention import attention_map
from lgad_pipeline.distillation.taps import FeatureTaps
from lgad_pipeline.errors import LgadError
from lgad_pipeline.networks.layers import LaneOutput

_BAND = 8


def label_planes(label: torch.Tensor, slots: int, form: LabelForm = "planes") -> torch.Tensor:
    """Turn label maps into a teacher's input.

    Planes and not grey levels are the default: as grey levels the slots are ordered, and the middle ones get
    lost between. Of merged lanes the teacher has to tell the slots by where the lanes lie to each other.

    Args:
        label: (B, H, W), integers 0..slots.
        slots: lane slots.
        form: see `TeacherInputConfig`.

    Returns:
        float32 in 0..1: (B, slots + 1, H, W) for planes, plane 0 the background; (B, 1, H, W) for grey;
        (B, 2, H, W) for merged, background and lanes.
    """
    if form == "grey":
        return label[:, None].float() / slots
    if form == "merged":
        label, slots = (label > 0).to(label.dtype), 1
    classes = torch.arange(slots + 1, device=label.device).view(1, -1, 1, 1)
    return (label[:, None] == classes).float()


def teacher_spec(spec: NetworkSpec, form: LabelForm = "planes") -> NetworkSpec:
    """Return the same network with a label map of that form as input."""
    return spec.model_copy(update={"in_channels": {"planes": spec.slots + 1, "grey": 1, "merged": 2}[form]})


def label_form(spec: NetworkSpec) -> LabelForm:
    """Say which form of a label map a teacher reads: its number of input planes tells.

    Raises:
        LgadError: the network reads something else, such as images.
    """
    forms: tuple[LabelForm, ...] = ("planes", "grey", "merged")
    for form in forms:
        if teacher_spec(spec, form) == spec:
            return form
    raise LgadError(
        f"A network with {spec.in_channels} input planes reads no label maps of {spec.slots} slots; "
        "name the folder of a teacher."
    )


def spoiled(planes: torch.Tensor, config: TeacherInputConfig) -> torch.Tensor:
    """Spoil a teacher's input as `config` says; random numbers come from torch's global generator.

    Args:
        planes: (B, C, H, W), of `label_planes`; unchanged.
        config: what to spoil and how far.
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
        background[0] = float(channels > 1)  # a grey level of 0 is background, too
        planes = torch.where(inside[:, None], background.view(1, -1, 1, 1), planes)
    if config.noise:
        planes = planes + config.noise * torch.randn_like(planes)
    return planes


class FrozenTeacher(nn.Module):
    """A trained network that no longer learns: evaluation mode, no gradients; `train()` does not wake it."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network.eval().requires_grad_(False)

    def train(self, mode: bool = True) -> Self:
        """Stay in evaluation mode, whatever the parent does."""
        return self

    @torch.no_grad()
    def forward(self, planes: torch.Tensor) -> LaneOutput:
        """Run the network without gradients."""
        return self.network(planes)


class TeacherAttention:
    """The attention of a trained teacher, computed for each batch of label maps.

    Args:
        teacher: a trained network of label maps; it is frozen here and must be on the batches' device.
        spec: of the teacher.
        layers: dotted names of its layers.
        config: what a map is.
    """

    def __init__(
        self, teacher: nn.Module, spec: NetworkSpec, layers: Sequence[str], config: AttentionConfig
    ) -> None:
        self.teacher = FrozenTeacher(teacher)
        self.spec, self.config = spec, config
        self.form: LabelForm = label_form(spec)
        self.taps = FeatureTaps(teacher, layers)

    def __call__(self, batch: Batch) -> dict[str, torch.Tensor]:
        """Return the maps (B, h, w) by layer."""
        planes = label_planes(batch.label, self.spec.slots, self.form)
        self.teacher(planes.contiguous(memory_format=torch.channels_last))
        return taken(self.taps, self.config)


class JointTeacherAttention:
    """The attention of a teacher that is still learning, in the same loop as its student.

    The maps are targets: no gradient reaches the teacher through them, or it would learn to be easy to mimic.

    Args:
        teacher: a network of label maps, trained by the caller.
        spec: of the teacher.
        layers: dotted names of its layers.
        config: what a map is.
    """

    def __init__(
        self, teacher: nn.Module, spec: NetworkSpec, layers: Sequence[str], config: AttentionConfig
    ) -> None:
        self.teacher, self.spec, self.config = teacher, spec, config
        self.form: LabelForm = label_form(spec)
        self.taps = FeatureTaps(teacher, layers)

    def learn(self, batch: Batch) -> LaneOutput:
        """Run the teacher on the batch's label maps, with gradients for its own losses."""
        planes = label_planes(batch.label, self.spec.slots, self.form)
        return self.teacher(planes.contiguous(memory_format=torch.channels_last))

    def __call__(self, batch: Batch) -> dict[str, torch.Tensor]:
        """Return the maps (B, h, w) by layer of the latest `learn`."""
        return {layer: attention.detach() for layer, attention in taken(self.taps, self.config).items()}


def taken(taps: FeatureTaps, config: AttentionConfig) -> dict[str, torch.Tensor]:
    """Return the attention maps (B, h, w) of what the taps hold, by layer."""
    return {
        layer: attention_map(features, config.reduction, config.power)
        for layer, features in taps.take().items()
    }


def check_gradient(maps: Mapping[str, torch.Tensor]) -> None:
    """Refuse attention maps of a student that pass no gradient: the loss would be a constant.

    Args:
        maps: (B, h, w) by layer of the student.

    Raises:
        LgadError: gradients are on, and a map requires none.
    """
    frozen = [layer for layer, attention in maps.items() if not attention.requires_grad]
    if frozen and torch.is_grad_enabled():
        raise LgadError(
            f"The student learns nothing from the attention of {', '.join(frozen)}: no parameter that leads "
            "there is trained; train them (requires_grad) or name other layers."
        )
