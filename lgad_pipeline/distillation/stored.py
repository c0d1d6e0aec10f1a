"""A teacher's attention, computed once for every label map and its mirror image, and kept on disk."""

import json
from collections.abc import Callable, Iterable, Sequence
from hashlib import blake2b
from pathlib import Path

import numpy as np
import torch
from torch import nn

from lgad_pipeline.atomic_files import atomic_path, write_text
from lgad_pipeline.config.augmentation import AugmentationConfig
from lgad_pipeline.config.distillation import DistillationConfig
from lgad_pipeline.config.network import NetworkSpec
from lgad_pipeline.data.augmentation import swap_slots
from lgad_pipeline.data.loader import Batch
from lgad_pipeline.distillation.teacher import TeacherAttention
from lgad_pipeline.errors import LgadError

_INDEX = "index.json"


class CachedAttention:
    """The stored maps of a teacher, memory-mapped.

    Each layer has a file `<layer>.npy`, float16 (frames, 2, h, w): the map of the label map and of its mirror
    image, each over its highest cell, so that no value leaves float16's range; `<layer>.scale.npy`, float32
    (frames, 2), holds the highest cells.

    Args:
        folder: what `store_attention` returned.
        device: where the maps are wanted.
    """

    def __init__(self, folder: Path, device: torch.device | str = "cpu") -> None:
        index = json.loads((folder / _INDEX).read_text(encoding="utf-8"))
        self.row = {frame: row for row, frame in enumerate(index["frames"])}
        self.device = device
        self.maps = {
            layer: (np.load(folder / f"{layer}.npy", mmap_mode="r"), np.load(folder / f"{layer}.scale.npy"))
            for layer in index["layers"]
        }

    def __call__(self, batch: Batch) -> dict[str, torch.Tensor]:
        """Return the maps float32 (B, h, w) by layer."""
        rows = np.array([self.row[frame] for frame in batch.frames])
        flipped = (
            np.zeros(len(rows), int) if batch.flipped is None else batch.flipped.cpu().numpy().astype(int)
        )
        found = {}
        for layer, (maps, scales) in self.maps.items():
            cells = maps[rows, flipped].astype(np.float32) * scales[rows, flipped][:, None, None]
            found[layer] = torch.from_numpy(cells).to(self.device)
        return found


def check_geometry(augmentation: AugmentationConfig) -> None:
    """Refuse an augmentation that moves label maps otherwise than by mirroring them.

    Raises:
        LgadError: the keys that are not 0 are named.
    """
    names = ("rotation", "scale", "shift_x", "shift_y")
    moving = [name for name in names if getattr(augmentation, name)]
    if moving:
        raise LgadError(
            f"distillation.maps is stored, but augmentation's {', '.join(moving)} changes every label map "
            "anew; set that to 0, or distillation.maps to computed."
        )


def store_attention(
    teacher: nn.Module,
    spec: NetworkSpec,
    layers: Sequence[str],
    config: DistillationConfig,
    batches: Callable[[], Iterable[Batch]],
    root: Path,
    fingerprint: str,
    device: torch.device | str = "cpu",
) -> Path:
    """Compute the maps of a frozen teacher once; what is stored already is left as it is.

    Args:
        teacher: a trained network of label maps, on `device`.
        spec: of the teacher.
        layers: dotted names of its layers.
        config: what a map is.
        batches: every frame of the training split once, not augmented.
        root: folder that holds the stored maps of this teacher.
        fingerprint: of the teacher and the frames.
        device: where the teacher runs.

    Returns:
        A folder below `root`, named by all that its content follows from.
    """
    named = [fingerprint, config.reduction, config.power, *dict.fromkeys(layers)]
    folder = root / blake2b(json.dumps(named).encode(), digest_size=8).hexdigest()
    if (folder / _INDEX).is_file():
        return folder
    source = TeacherAttention(teacher, spec, layers, config)
    frames: list[str] = []
    maps: dict[str, list[np.ndarray]] = {layer: [] for layer in source.taps.layers}
    scales: dict[str, list[np.ndarray]] = {layer: [] for layer in source.taps.layers}
    for batch in batches():
        batch = batch.to(device)
        mirrored = swap_slots(batch.label)
        sides = [
            source(Batch(batch.frames, batch.image, label, batch.existence))
            for label in (batch.label, mirrored.flip(2))
        ]
        frames += batch.frames
        for layer in maps:
            both = torch.stack([side[layer] for side in sides], dim=1)  # (B, 2, h, w)
            highest = both.amax(dim=(2, 3)).clamp(min=1e-12)
            maps[layer].append((both / highest[..., None, None]).half().cpu().numpy())
            scales[layer].append(highest.float().cpu().numpy())
    source.taps.close()
    for layer in maps:
        _save(folder / f"{layer}.npy", np.concatenate(maps[layer]))
        _save(folder / f"{layer}.scale.npy", np.concatenate(scales[layer]))
    write_text(folder / _INDEX, json.dumps({"frames": frames, "layers": list(maps)}) + "\n")
    return folder


def _save(path: Path, values: np.ndarray) -> None:
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        np.save(file, values)
