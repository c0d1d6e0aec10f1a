"""Attention maps of feature maps, and how far two of them are apart.

Everything is computed in float32 or finer, also under autocast: a map is a sum of squares over up to
hundreds of channels, and bfloat16 keeps eight bits of it.

Sources:
    AT: Zagoruyko and Komodakis, "Paying more attention to attention", ICLR 2017, and its code release.
    SAD: Hou et al., "Learning lightweight lane detection CNNs by self attention distillation", ICCV 2019.
    LGAD: Liu and Zhu, "Label-guided attention distillation for lane segmentation", Neurocomputing 438, 2021.
"""

import torch
from torch.nn import functional

from lgad_pipeline.config.distillation import Divergence, Normalization, Reduction


def attention_map(features: torch.Tensor, reduction: Reduction = "sum", power: float = 2.0) -> torch.Tensor:
    """Say where a layer is active: `sum` over channels c of |F_c|^power, or `max` over c.

    AT section 3.1 names the family F_sum (power 1), F_sum^p and F_max^p; SAD takes F_sum^2.
    AT's code takes the mean over channels, which the L2 and sum normalizations make the same.

    Args:
        features: (B, C, H, W), any floating dtype.
        reduction: over the channels.
        power: p, at least 1.

    Returns:
        (B, H, W), float32 (float64 for float64 features), >= 0.
    """
    magnitude = _fine(features).abs() ** power if power != 2 else _fine(features).square()
    return magnitude.sum(dim=1) if reduction == "sum" else magnitude.amax(dim=1)


def resize(attention: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """Bring maps (B, h, w) to `size` (H, W), bilinear as in SAD section 3.2; (B, H, W)."""
    if tuple(attention.shape[-2:]) == tuple(size):
        return attention
    return functional.interpolate(attention[:, None], size=size, mode="bilinear", align_corners=False)[:, 0]


def log_normalized(
    attention: torch.Tensor, normalization: Normalization, temperature: float = 1.0
) -> torch.Tensor:
    """The logarithm of `normalized` for maps that sum to one; small shares do not underflow to -inf."""
    flat = attention.flatten(start_dim=1)
    if normalization == "softmax":
        return functional.log_softmax(flat / temperature, dim=1)
    flat = flat + _tiny(flat)
    return flat.log() - flat.sum(dim=1, keepdim=True).log()


def normalized(
    attention: torch.Tensor, normalization: Normalization, temperature: float = 1.0
) -> torch.Tensor:
    """Bring maps to one scale, over all cells of an image.

    - softmax: exp(a_i / T) / sum_j exp(a_j / T). SAD section 3.2, with T = 1.
    - l2: a / ||a||_2. AT equation 2.
    - sum: a / sum_j a_j, each cell's share of the whole.

    Args:
        attention: (B, H, W), >= 0.
        normalization: one of the above.
        temperature: T of the softmax; the others do not read it.

    Returns:
        (B, H * W), same dtype.
    """
    flat = attention.flatten(start_dim=1)
    if normalization == "softmax":
        return functional.softmax(flat / temperature, dim=1)
    order = 2 if normalization == "l2" else 1
    return functional.normalize(flat, p=order, dim=1, eps=_tiny(flat))


def divergence(
    student: torch.Tensor,
    teacher: torch.Tensor,
    name: Divergence,
    normalization: Normalization,
    temperature: float = 1.0,
) -> torch.Tensor:
    """Say how far the student's maps are from the teacher's; mean over the batch, one number.

    With q the normalized maps (see `normalized`) and n cells:

    - squared_sum: sum_i (q_s - q_t)^2. SAD equation 4 as printed.
    - squared_mean: the same over n. SAD's and AT's code. Its gradient is n times smaller, so that at the
      published weight of 0.1 next to nothing of it is left.
    - distance: the square root of squared_sum. AT equation 2 as printed.
    - kl: sum_i q_t log(q_t / q_s), for maps that sum to one (softmax, sum).

    Args:
        student: (B, h, w) attention maps; resized to the teacher's size.
        teacher: (B, H, W) attention maps.
        name: one of the above.
        normalization: see `normalized`.
        temperature: see `normalized`.
    """
    student = resize(student, (teacher.shape[-2], teacher.shape[-1]))
    if name == "kl":
        log_student = log_normalized(student, normalization, temperature)
        log_teacher = log_normalized(teacher, normalization, temperature)
        return (log_teacher.exp() * (log_teacher - log_student)).sum(dim=1).mean()
    difference = normalized(student, normalization, temperature) - normalized(
        teacher, normalization, temperature
    )
    squared = difference.square()
    if name == "squared_mean":
        return squared.mean()
    if name == "distance":
        return (squared.sum(dim=1) + _tiny(squared)).sqrt().mean()
    return squared.sum(dim=1).mean()


def _fine(features: torch.Tensor) -> torch.Tensor:
    return features if features.dtype == torch.float64 else features.float()


def _tiny(values: torch.Tensor) -> float:
    """Small beside any map, large enough that a map of nothing but zeros divides without harm."""
    return 1e-12 if values.dtype == torch.float32 else 1e-24
