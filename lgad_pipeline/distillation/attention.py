"""Attention maps of feature maps, and divergences between attention maps.

Everything is computed in float32 or float64, also under autocast: a map is a sum of squares over up to
hundreds of channels, for which the eight significant bits of bfloat16 are too few.

Sources:
    AT: Zagoruyko and Komodakis, "Paying more attention to attention", ICLR 2017, and its code release.
    SAD: Hou et al., "Learning lightweight lane detection CNNs by self attention distillation", ICCV 2019.
    LGAD: Liu and Zhu, "Label-guided attention distillation for lane segmentation", Neurocomputing 438, 2021.
"""

from collections.abc import Mapping
from typing import Any, get_args

import torch
from torch.nn import functional

from lgad_pipeline.config.distillation import AttentionConfig, Divergence, Normalization, Reduction
from lgad_pipeline.distillation.taps import FeatureTaps
from lgad_pipeline.errors import LgadError


def attention_map(features: torch.Tensor, reduction: Reduction = "sum", power: float = 2.0) -> torch.Tensor:
    """Reduce a feature map to an attention map: `sum` over channels c of |F_c|^power, or `max` over c.

    AT section 3.1 names the family F_sum (power 1), F_sum^p and F_max^p; SAD uses F_sum^2.
    AT's code takes the mean over channels, which the L2 and sum normalizations make the same.

    Args:
        features: feature map (B, C, H, W), any floating dtype.
        reduction: reduction over the channels.
        power: exponent p, at least 1.

    Returns:
        Attention map (B, H, W), float32 (float64 for float64 features), >= 0.

    Raises:
        LgadError: the tensor is no batch of feature maps, or the reduction is unknown.
    """
    _check_name("reduction", reduction, Reduction)
    if features.dim() != 4:
        raise LgadError(
            f"A feature map is a tensor (B, C, H, W), not {tuple(features.shape)}; give a batch of them."
        )
    if power == 2 and reduction == "sum":
        return _SumOfSquares.apply(features)  # type: ignore[return-value]
    magnitude = _wide(features).abs() ** power
    return magnitude.sum(dim=1) if reduction == "sum" else magnitude.amax(dim=1)


def attention_maps(taps: FeatureTaps, config: AttentionConfig) -> dict[str, torch.Tensor]:
    """Return the attention maps (B, h, w) of the tapped layers by layer name, and clear the taps."""
    return {
        layer: attention_map(features, config.reduction, config.power)
        for layer, features in taps.pop().items()
    }


def resize(attention: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """Resize attention maps (B, h, w) to `size` (H, W); (B, H, W).

    Bilinear, as in SAD section 3.2. Maps that shrink to less than half a side are averaged, because bilinear
    weights would skip most of their cells, which would then get no gradient. At exactly half both are equal.
    """
    height, width = attention.shape[-2:]
    if (height, width) == tuple(size):
        return attention
    shrinks = height >= size[0] and width >= size[1]
    if shrinks and (height > 2 * size[0] or width > 2 * size[1]):
        return functional.adaptive_avg_pool2d(attention, size)
    return functional.interpolate(attention[:, None], size=size, mode="bilinear", align_corners=False)[:, 0]


def log_normalized(
    attention: torch.Tensor, normalization: Normalization, temperature: float = 1.0
) -> torch.Tensor:
    """Return the logarithm of `normalized` for maps that sum to 1; small shares do not underflow to -inf."""
    flat = attention.flatten(start_dim=1)
    if normalization == "softmax":
        return functional.log_softmax(flat / temperature, dim=1)
    flat = flat + _epsilon(flat)
    return flat.log() - flat.sum(dim=1, keepdim=True).log()


def normalized(
    attention: torch.Tensor, normalization: Normalization, temperature: float = 1.0
) -> torch.Tensor:
    """Normalize attention maps over all cells of an image.

    - softmax: exp(a_i / T) / sum_j exp(a_j / T). SAD section 3.2, with T = 1.
    - l2: a / ||a||_2. AT equation 2.
    - sum: a / sum_j a_j, the share of each cell.

    Args:
        attention: attention maps (B, H, W), >= 0.
        normalization: one of the names above.
        temperature: temperature T of the softmax; not used by the others.

    Returns:
        Normalized maps (B, H * W), same dtype.
    """
    flat = attention.flatten(start_dim=1)
    if normalization == "softmax":
        return functional.softmax(flat / temperature, dim=1)
    order = 2 if normalization == "l2" else 1
    return functional.normalize(flat, p=order, dim=1, eps=_epsilon(flat))


def attention_divergence(
    student: torch.Tensor,
    teacher: torch.Tensor,
    *,
    divergence: Divergence = "kl",
    normalization: Normalization = "sum",
    temperature: float = 1.0,
    floor: float = 0.0,
    weights: torch.Tensor | None = None,
) -> torch.Tensor:
    """Measure the difference of the student's attention maps from the teacher's; mean over the batch.

    With q the normalized maps (see `normalized`) and n cells, both are first mixed with a uniform map:
    q' = (1 - floor) q + floor / n. The derivative of kl with respect to a share of the student is then at
    most n / floor; without a floor it is not bounded where the student has no attention.

    - squared_sum: sum_i (q_s - q_t)^2. SAD equation 4 as printed.
    - squared_mean: the same divided by n. SAD's and AT's code. Its gradient is n times smaller, so that it
      has almost no effect at the published weight of 0.1.
    - l2_distance: the square root of squared_sum. AT equation 2 as printed.
    - kl: sum_i q_t log(q_t / q_s), for maps that sum to 1 (softmax, sum).

    Example:
        >>> maps = torch.rand(2, 9, 25)
        >>> attention_divergence(maps, maps).item() < 1e-6
        True

    Args:
        student: attention maps (B, h, w) of the student; resized to the teacher's size.
        teacher: attention maps (B, H, W) of the teacher.
        divergence: one of the names above.
        normalization: see `normalized`.
        temperature: see `normalized`.
        floor: share of the uniform map; 0 leaves the maps unchanged. For maps that sum to 1.
        weights: weights (B,) of the maps in a sum over the batch; None for the mean.

    Returns:
        Scalar tensor.

    Raises:
        LgadError: the tensors are no batches of attention maps of one size, a name is unknown, or kl or a
            floor is given for maps that do not sum to 1.
    """
    _check_name("divergence", divergence, Divergence)
    _check_name("normalization", normalization, Normalization)
    if normalization == "l2" and (divergence == "kl" or floor):
        setting = "divergence kl" if divergence == "kl" else f"floor {floor:g}"
        raise LgadError(f"The {setting} needs maps that sum to 1; choose the normalization sum or softmax.")
    if student.dim() != 3 or teacher.dim() != 3 or len(student) != len(teacher):
        raise LgadError(
            f"Attention maps are tensors (B, h, w) of one batch, not {tuple(student.shape)} of the student "
            f"and {tuple(teacher.shape)} of the teacher; give maps of the same images."
        )
    student = resize(student, (teacher.shape[-2], teacher.shape[-1]))
    if divergence == "kl":
        log_student = with_floor(log_normalized(student, normalization, temperature), floor, log=True)
        log_teacher = with_floor(log_normalized(teacher, normalization, temperature), floor, log=True)
        values = (log_teacher.exp() * (log_teacher - log_student)).sum(dim=1)
    else:
        squared = (
            with_floor(normalized(student, normalization, temperature), floor)
            - with_floor(normalized(teacher, normalization, temperature), floor)
        ).square()
        values = squared.mean(dim=1) if divergence == "squared_mean" else squared.sum(dim=1)
        if divergence == "l2_distance":
            values = (values + _epsilon(values)).sqrt()
    return values.mean() if weights is None else (weights * values).sum()


def with_floor(maps: torch.Tensor, floor: float, *, log: bool = False) -> torch.Tensor:
    """Mix normalized maps (B, n) with a uniform map: (1 - floor) q + floor / n; unchanged for a floor of 0.

    Args:
        maps: maps q that sum to 1, or their logarithms.
        floor: share of the uniform map, below 1.
        log: True if `maps` are logarithms; those of the mixed maps are returned.
    """
    if not floor:
        return maps
    mixed = (1 - floor) * (maps.exp() if log else maps) + floor / maps.shape[1]
    return mixed.log() if log else mixed


def pooled(attention: torch.Tensor, side: int) -> torch.Tensor:
    """Average attention maps (B, h, w) over squares of `side` x `side` cells; smaller at the end."""
    if side == 1:
        return attention
    return functional.avg_pool2d(attention[:, None], side, ceil_mode=True, count_include_pad=False)[:, 0]


def divergence_of(
    student: torch.Tensor,
    teacher: torch.Tensor,
    config: AttentionConfig,
    weights: torch.Tensor | None = None,
) -> torch.Tensor:
    """Return `attention_divergence` with the divergence, normalization, temperature and floor of settings."""
    return attention_divergence(
        student,
        teacher,
        divergence=config.divergence,
        normalization=config.normalization,
        temperature=config.temperature,
        floor=config.floor,
        weights=weights,
    )


def check_gradient(features: Mapping[str, torch.Tensor]) -> None:
    """Check that the student's features pass gradients: otherwise the loss would be a constant.

    Args:
        features: outputs or attention maps of layers by layer name of the student.

    Raises:
        LgadError: gradients are enabled, and a layer requires none.
    """
    frozen = [layer for layer, values in features.items() if not values.requires_grad]
    if frozen and torch.is_grad_enabled():
        raise LgadError(
            f"The student learns nothing from the attention of {', '.join(frozen)}: all parameters up to "
            "there are frozen; train them (requires_grad) or choose other layers."
        )


class _SumOfSquares(torch.autograd.Function):
    """Sum of squares over the channels, computed wide; keeps the features alone for the backward pass.

    Autograd would keep a float32 copy of bfloat16 features, and pass over it three times.
    """

    @staticmethod
    def forward(ctx: Any, features: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(features)
        wide = _wide(features)
        return (wide.square() if wide is features else wide.square_()).sum(dim=1)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> torch.Tensor:  # type: ignore[override]
        (features,) = ctx.saved_tensors
        return (features * (2 * gradient)[:, None]).to(features.dtype)


def _wide(features: torch.Tensor) -> torch.Tensor:
    return features if features.dtype == torch.float64 else features.float()


def _check_name(key: str, name: str, names: object) -> None:
    """Check that a setting has one of its names.

    Raises:
        LgadError: it has another one.
    """
    if name not in get_args(names):
        raise LgadError(f"The {key} {name!r} is unknown; choose {' or '.join(get_args(names))}.")


def _epsilon(values: torch.Tensor) -> float:
    """Return a number that is negligible for any map, and prevents a division by zero for a map of zeros."""
    return 1e-12 if values.dtype == torch.float32 else 1e-24
