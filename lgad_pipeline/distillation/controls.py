"""Controls: losses that guide a student by labels without a teacher network.

They answer which part of a gain is due to the teacher: the blurred label map has its form and no network, the
label head has the same layers and labels and no attention.
"""

import copy
from collections.abc import Mapping, Sequence

import torch
from torch import nn
from torch.nn import functional

from lgad_pipeline.config.distillation import LabelHeadConfig
from lgad_pipeline.config.network import NetworkSpec
from lgad_pipeline.data.loader import Batch
from lgad_pipeline.distillation.lessons import Seen
from lgad_pipeline.distillation.taps import FeatureTaps
from lgad_pipeline.distillation.teacher import check_gradient


def layer_shapes(network: nn.Module, layers: Sequence[str], spec: NetworkSpec) -> dict[str, torch.Size]:
    """Return the shape (C, h, w) of the output of named layers; the network is left as it is."""
    twin = copy.deepcopy(network).eval()
    planes = torch.zeros(1, spec.in_channels, *spec.image_size, device=next(twin.parameters()).device)
    with FeatureTaps(twin, layers) as taps, torch.no_grad():
        twin(planes)
        return {layer: features.shape[1:] for layer, features in taps.take().items()}


class BlurredLabels:
    """Attention source without a network: the lanes of the label map, averaged over cells and blurred 3 x 3.

    Args:
        sizes: Size (h, w) of the maps by layer.
    """

    def __init__(self, sizes: Mapping[str, tuple[int, int]]) -> None:
        self.sizes = dict(sizes)

    def __call__(self, batch: Batch) -> dict[str, torch.Tensor]:
        """Return the maps, float32 (B, h, w) by layer, in 0..1."""
        return {layer: blurred_lanes(batch.label, size) for layer, size in self.sizes.items()}


def blurred_lanes(label: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """Return the share of lane pixels of each cell, mean over the cell and its neighbours.

    Args:
        label: (B, H, W), integers, 0 background.
        size: Number of cells (h, w).

    Returns:
        float32 (B, h, w).
    """
    share = functional.adaptive_avg_pool2d((label > 0).float()[:, None], size)
    return functional.avg_pool2d(share, 3, stride=1, padding=1, count_include_pad=False)[:, 0]


class LabelHead:
    """Auxiliary classifiers: a 1 x 1 convolution on each tapped layer predicts the slots of its cells.

    `heads` belongs to what is trained, and is not part of the student that is kept.

    Args:
        student: Network in training; tapped, otherwise unchanged.
        spec: Its specification.
        layers: Dotted names of its layers, at least one.
        config: Weight of the background, and schedule.
    """

    def __init__(
        self, student: nn.Module, spec: NetworkSpec, layers: Sequence[str], config: LabelHeadConfig
    ) -> None:
        self.config, self.classes = config, spec.slots + 1
        shapes = layer_shapes(student, layers, spec)
        self.heads = nn.ModuleList(nn.Conv2d(shape[0], self.classes, 1) for shape in shapes.values())
        self.taps = FeatureTaps(student, layers)

    def __call__(self, seen: Seen) -> torch.Tensor:
        """Return the mean over layers of the pooled cross entropy, one number.

        Raises:
            LgadError: a layer of the student passes no gradient, because it is frozen.
        """
        features = self.taps.take()
        check_gradient(features)
        losses = [
            pooled_cross_entropy(head(values), seen.batch.label, self.config.background_weight)
            for head, values in zip(self.heads, features.values(), strict=True)
        ]
        return torch.stack(losses).mean()


def pooled_cross_entropy(logits: torch.Tensor, label: torch.Tensor, background_weight: float) -> torch.Tensor:
    """Cross entropy of cells against the shares of the classes in them.

    With y the shares, p the softmax of the logits and w the weight of a class (background or 1):
    - sum over cells and classes of w y log p, divided by the sum of w y.

    Args:
        logits: (B, classes, h, w).
        label: (B, H, W), integers 0..classes - 1.
        background_weight: Weight of class 0.
    """
    classes = logits.shape[1]
    planes = functional.one_hot(label.long(), classes).movedim(3, 1).float()
    share = functional.adaptive_avg_pool2d(planes, (logits.shape[-2], logits.shape[-1]))
    share = torch.cat([share[:, :1] * background_weight, share[:, 1:]], dim=1)
    return -(share * functional.log_softmax(logits.float(), dim=1)).sum() / share.sum()
