"""Output of a network, the composition encoder -> decoder -> head, and layers that networks share."""

from collections.abc import Callable, Sequence
from typing import Any, ClassVar, NamedTuple

import torch
from torch import nn
from torch.nn import functional

from lgad_pipeline.errors import LgadError


class LaneOutput(NamedTuple):
    """Output of a lane-segmentation network.

    Attributes:
        logits: logits of the label map at the size of the input, (B, slots + 1, H, W); plane 0 is the
            background.
        existence: logits of the existence flags, (B, slots); None for a network without an existence head.
        types: logits of the types of the lanes, (B, slots, types); None for a network without such a head.
    """

    logits: torch.Tensor
    existence: torch.Tensor | None = None
    types: torch.Tensor | None = None


def check_lane_output(output: object, size: Sequence[int], slots: int | None = None) -> None:
    """Check the output of a network, which may be a class of another package.

    Args:
        output: output of the network.
        size: size (B, H, W) of its input.
        slots: number of lane slots; None for any number.

    Raises:
        LgadError: it is no `LaneOutput`, or a tensor in it has another shape.
    """
    logits, existence = getattr(output, "logits", None), getattr(output, "existence", None)
    if not isinstance(logits, torch.Tensor):
        raise LgadError(
            f"The network returns {type(output).__name__} and no LaneOutput; let its forward return "
            "LaneOutput(logits, existence)."
        )
    batch, height, width = size
    planes = logits.shape[1] if slots is None else slots + 1
    _check_shape("logits", logits, (batch, planes, height, width), "(B, slots + 1, H, W), sizes of the input")
    if existence is not None:
        _check_shape("existence logits", existence, (batch, planes - 1), "(B, slots)")


def _check_shape(name: str, tensor: torch.Tensor, wanted: tuple[int, ...], meaning: str) -> None:
    if tuple(tensor.shape) != wanted:
        raise LgadError(
            f"The network's {name} have the shape {tuple(tensor.shape)} in place of {wanted}, {meaning}; "
            "correct its forward."
        )


class LaneNetwork(nn.Module):
    """Base class of networks that can have a head for the types of lanes.

    Attributes:
        types: the head; None for a network that predicts no types.
        type_channels: number of channels of the features that the head reads.
    """

    types: "LaneTypeHead | None"
    type_channels: int

    def __init__(self) -> None:
        super().__init__()
        self.types = None

    def add_type_head(self, types: int) -> None:
        """Add a head with random weights for a number of types."""
        self.types = LaneTypeHead(self.type_channels, types)

    def output(
        self, features: torch.Tensor, logits: torch.Tensor, existence: torch.Tensor | None
    ) -> LaneOutput:
        """Return the output of the network, with the types of the lanes if there is a head.

        Args:
            features: features (B, type_channels, h, w) that the head reads.
            logits: logits of the label map (B, slots + 1, H, W).
            existence: logits of the existence flags (B, slots), or None.
        """
        types = None if self.types is None else self.types(features, logits)
        return LaneOutput(logits, existence, types)


class LaneNet(LaneNetwork):
    """Network of an encoder, a decoder for the label map and a head for the existence flags.

    The stages of encoder and decoder have 16, 64 and 128 channels, times `width`.

    Shape:
        - Input: (B, in_channels, H, W), H and W multiples of 8
        - Output: LaneOutput, logits (B, slots + 1, H, W) and existence (B, slots)

    Attributes:
        encoder_class: built from (in_channels, channels of the stages); returns a tuple: the features
            (B, C, H / 8, W / 8), then further inputs of the decoder, such as indices of a max pooling.
        decoder_class: built from (slots + 1, channels of the stages); reads the values of that tuple, returns
            the logits (B, slots + 1, H, W).
    """

    encoder_class: ClassVar[Callable[..., nn.Module]]
    decoder_class: ClassVar[Callable[..., nn.Module]]

    def __init__(self, in_channels: int, slots: int, image_size: tuple[int, int], width: float = 1.0) -> None:
        super().__init__()
        check_size(image_size)
        channels = (scaled(16, width), scaled(64, width), scaled(128, width))
        self.encoder = self.encoder_class(in_channels, channels)
        self.decoder = self.decoder_class(slots + 1, channels)
        self.type_channels = channels[2]
        self.existence = ExistenceHead(channels[2], slots, (image_size[0] // 8, image_size[1] // 8))

    def forward(self, image: torch.Tensor) -> LaneOutput:
        features, *extra = self.encoder(image)
        return self.output(features, self.decoder(features, *extra), self.existence(features))


class PReLU(nn.PReLU):
    """`nn.PReLU` with one slope.

    On a CPU it is computed as a leaky ReLU, which trains several times faster. In inference mode it
    overwrites its input, as `nn.ReLU(inplace=True)` does.
    """

    def __init__(self) -> None:
        super().__init__(num_parameters=1)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        if _may_overwrite(features):
            return functional.leaky_relu_(features, self.weight.item())
        if features.device.type == "cpu" and not torch.compiler.is_compiling():
            return _LeakyReLU.apply(features, self.weight)  # type: ignore[return-value]
        weight = self.weight.to(features.dtype)
        if features.is_cuda:
            return functional.prelu(features, weight)
        return torch.lerp(features.relu(), features, weight)


class _LeakyReLU(torch.autograd.Function):
    """Leaky ReLU whose slope, a tensor of one value, has a gradient."""

    @staticmethod
    def forward(ctx: Any, features: torch.Tensor, slope: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(features, slope)
        return functional.leaky_relu(features, slope.item())

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:  # type: ignore[override]
        features, slope = ctx.saved_tensors
        below_zero = (gradient * features.clamp(max=0)).sum().to(slope.dtype)
        return (
            torch.ops.aten.leaky_relu_backward(gradient, features, slope.item(), False),
            below_zero.view_as(slope),
        )


class HalvingPool(nn.Module):
    """Maximum over cells of 2 x 2, as `nn.MaxPool2d(2)`.

    Without a gradient, as for an image, it is computed on a CPU by two element-wise maxima, because torch's
    pooling is ten times slower on an image of three channels.

    Shape:
        - Input: (B, C, H, W), H and W even
        - Output: (B, C, H / 2, W / 2)
    """

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        if features.requires_grad or features.is_cuda or torch.compiler.is_compiling():
            return functional.max_pool2d(features, 2)
        rows = torch.maximum(features[:, :, ::2], features[:, :, 1::2])
        return torch.maximum(rows[..., ::2], rows[..., 1::2])


def concatenated(convolved: torch.Tensor, pooled: torch.Tensor) -> torch.Tensor:
    """Concatenate the channels of a convolution and a pooling, in the precision of the convolution.

    Under autocast a pooled float32 input would make the result float32, and so all residual sums after it.
    """
    return torch.cat([convolved, pooled.to(convolved.dtype)], dim=1)


def add_residual(features: torch.Tensor, residual: torch.Tensor) -> torch.Tensor:
    """Return the sum; in inference mode it overwrites `residual`, which nothing else may use."""
    if _may_overwrite(residual) and residual.dtype == features.dtype:
        return residual.add_(features)
    return features + residual


def _may_overwrite(features: torch.Tensor) -> bool:
    """Return True in inference mode on a CPU, where a new tensor takes more time than the arithmetic."""
    return (
        torch.is_inference_mode_enabled()
        and features.device.type == "cpu"
        and not torch.compiler.is_compiling()
    )


def scaled(channels: int, width: float) -> int:
    """Return channels times `width`, rounded to a multiple of 8, at least 8."""
    return max(8, round(channels * width / 8) * 8)


def check_size(image_size: tuple[int, int]) -> None:
    """Check that an image size can be halved three times.

    Args:
        image_size: (H, W), pixels.

    Raises:
        LgadError: height or width is not a multiple of 8.
    """
    if image_size[0] % 8 or image_size[1] % 8:
        raise LgadError(
            f"image_size {list(image_size)} does not fit the network, which halves it three times; "
            "give a height and a width that are multiples of 8."
        )


def start_as_identity(residual: nn.Sequential) -> None:
    """Set the weight of the last normalization of a residual branch to 0.

    The block then starts as the identity (Goyal et al., 2017, arXiv:1706.02677). A network of about twenty
    blocks in a row learns several times faster from this start.
    """
    norms = [layer for layer in residual if isinstance(layer, nn.BatchNorm2d)]
    nn.init.zeros_(norms[-1].weight)


class ExistenceFromPlanes(nn.Module):
    """Existence head on the logits of the classes: softmax, 2x2 mean pooling, two linear layers.

    The head of SCNN (Pan et al., AAAI 2018).

    Shape:
        - Input: (B, slots + 1, h, w) logits
        - Output: (B, slots) logits
    """

    def __init__(self, slots: int, size: tuple[int, int]) -> None:
        super().__init__()
        self.pool = nn.AvgPool2d(2)
        cells = (size[0] // 2) * (size[1] // 2)
        if not cells:
            raise LgadError("The image_size is too small for an existence head; give 16 px a side or more.")
        self.linear = nn.Sequential(
            nn.Linear((slots + 1) * cells, 128), nn.ReLU(inplace=True), nn.Linear(128, slots)
        )

    def forward(self, planes: torch.Tensor) -> torch.Tensor:
        return self.linear(self.pool(planes.softmax(dim=1)).flatten(start_dim=1))


class ExistenceHead(nn.Sequential):
    """Existence head on the features of the encoder.

    The head of ENet-SAD (Hou et al., ICCV 2019, code release): a dilated 3x3 convolution to 32 channels, a
    1x1 convolution to one plane per class, then `ExistenceFromPlanes`.

    Shape:
        - Input: (B, C, h, w)
        - Output: (B, slots) logits
    """

    def __init__(self, channels: int, slots: int, size: tuple[int, int]) -> None:
        super().__init__(
            nn.Conv2d(channels, 32, 3, padding=4, dilation=4, bias=False),
            nn.BatchNorm2d(32),
            nn.ReLU(inplace=True),
            nn.Dropout2d(0.1),
            nn.Conv2d(32, slots + 1, 1),
            ExistenceFromPlanes(slots, size),
        )


class LaneTypeHead(nn.Module):
    """Types of the lanes from features: their mean along the lane of each slot, and one linear layer.

    A position counts in the mean of a slot by the probability of the slot's class there, the mean of the
    label map's pixels at that position. These weights have no gradient: the types are learned from the
    features, and the label map is not changed for them. All slots share the linear layer.

    Shape:
        - Input: features (B, channels, h, w); logits of the label map (B, slots + 1, H, W), H and W
          multiples of h and w
        - Output: (B, slots, types) logits
    """

    def __init__(self, channels: int, types: int) -> None:
        super().__init__()
        self.linear = nn.Linear(channels, types)

    def forward(self, features: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
        probability = logits.detach().softmax(dim=1)[:, 1:]
        cell = (logits.shape[-2] // features.shape[-2], logits.shape[-1] // features.shape[-1])
        weight = functional.avg_pool2d(probability, cell).flatten(2)  # (B, slots, h w)
        weight = weight / weight.sum(dim=2, keepdim=True).clamp(min=1e-6)
        return self.linear(weight @ features.flatten(2).transpose(1, 2))
