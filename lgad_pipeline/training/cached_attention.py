"""Cache of a teacher's attention maps on disk: computed once for each label map and its mirror image."""

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from hashlib import blake2b
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from lgad_pipeline.atomic_files import atomic_path, write_text
from lgad_pipeline.config.distillation import DistillationConfig
from lgad_pipeline.config.network import NetworkSpec
from lgad_pipeline.data.augmentation import swap_slots
from lgad_pipeline.data.loader import Batch
from lgad_pipeline.distillation.teacher import TeacherAttention, label_encoding

_INDEX = "index.json"


class CachedAttention:
    """Attention maps of a teacher on disk, memory-mapped.

    Each layer has a file `<layer>.npy`, float16 (frames, 2, h, w): the maps of the label map and of its
    mirror image, each divided by its largest value, so that no value exceeds the range of float16;
    `<layer>.scale.npy`, float32 (frames, 2), holds the largest values.

    Args:
        folder: directory returned by `cache_attention`.
        device: device of the returned maps.
    """

    def __init__(self, folder: Path, device: torch.device | str = "cpu") -> None:
        index = json.loads((folder / _INDEX).read_text(encoding="utf-8"))
        self.row = {frame: row for row, frame in enumerate(index["frames"])}
        self.device = device
        self.layers = {
            layer: (np.load(folder / f"{layer}.npy", mmap_mode="r"), np.load(folder / f"{layer}.scale.npy"))
            for layer in index["layers"]
        }

    def maps(
        self,
        frames: Sequence[str],
        flipped: torch.Tensor | None = None,
        affine: torch.Tensor | None = None,
    ) -> dict[str, torch.Tensor]:
        """Return the attention maps of frames by layer name.

        Maps of warped frames are the stored ones, warped likewise: nearly those that the teacher would have
        of the warped label maps, without running it.

        Args:
            frames: paths of the frames, B of them.
            flipped: mask of the mirrored frames, bool (B,); None for none.
            affine: maps from output to input of the warp after the mirroring, float32 (B, 2, 3), in the
                coordinates of `grid_sample`; None for none.

        Returns:
            Attention maps, float32 (B, h, w).
        """
        rows = np.array([self.row[frame] for frame in frames])
        side = np.zeros(len(rows), int) if flipped is None else flipped.cpu().numpy().astype(int)
        attention = {}
        for layer, (maps, scales) in self.layers.items():
            cells = maps[rows, side].astype(np.float32) * scales[rows, side][:, None, None]
            stored = torch.from_numpy(cells).to(self.device)
            attention[layer] = stored if affine is None else warped(stored, affine.to(self.device))
        return attention


def warped(attention: torch.Tensor, affine: torch.Tensor) -> torch.Tensor:
    """Return attention maps warped as their frames: bilinear, padded with the smallest value of each map.

    Args:
        attention: attention maps (B, h, w).
        affine: maps from output to input (B, 2, 3), in the coordinates of `grid_sample`.
    """
    least = attention.amin(dim=(1, 2), keepdim=True)
    above = (attention - least)[:, None]
    grid = functional.affine_grid(affine, list(above.shape), align_corners=False)
    return functional.grid_sample(above, grid, align_corners=False)[:, 0] + least


def cache_attention(
    teacher: nn.Module,
    spec: NetworkSpec,
    *,
    layers: Sequence[str],
    config: DistillationConfig,
    batches: Callable[[], Iterable[Batch]],
    count: int,
    root: Path,
    fingerprint: str,
    stride: int = 1,
    device: torch.device | str = "cpu",
) -> Path:
    """Compute the attention maps of a trained teacher and store them; existing ones are reused.

    Args:
        teacher: trained network of label maps, on `device`.
        spec: specification of the teacher.
        layers: dotted names of its layers.
        config: settings of the attention maps.
        batches: function that returns every frame of the training split once, without augmentation.
        count: number of these frames.
        root: directory of all cached maps of this teacher.
        fingerprint: fingerprint of the teacher and the frames.
        stride: step of the rows and columns of the label maps that the teacher reads.
        device: device on which the teacher runs.

    Returns:
        Directory below `root`, named by a digest of the fingerprint, the layers and the settings.
    """
    identity = [fingerprint, config.reduction, config.power, *dict.fromkeys(layers)]
    folder = root / blake2b(json.dumps(identity).encode(), digest_size=8).hexdigest()
    if (folder / _INDEX).is_file():
        return folder
    encoding = label_encoding(spec)
    attention = TeacherAttention(
        teacher, layers, config, classes=spec.slots + 1, encoding=encoding, stride=stride
    )
    frames: list[str] = []
    with ExitStack() as files:
        arrays: dict[str, _ArrayFile] = {}
        for layer in attention.taps.layers:
            arrays[layer] = files.enter_context(_array_file(folder / f"{layer}.npy", count))
            arrays[f"{layer}.scale"] = files.enter_context(_array_file(folder / f"{layer}.scale.npy", count))
        for batch in batches():
            label_map = batch.label.to(device)
            sides = [attention(label_map), attention(swap_slots(label_map, spec.slots).flip(2))]
            frames += batch.frames
            for layer in attention.taps.layers:
                both = torch.stack([side[layer] for side in sides], dim=1)  # (B, 2, h, w)
                largest = both.amax(dim=(2, 3)).clamp(min=1e-12)
                arrays[layer].append((both / largest[..., None, None]).half().cpu().numpy())
                arrays[f"{layer}.scale"].append(largest.float().cpu().numpy())
        assert len(frames) == count
    attention.taps.close()
    write_text(folder / _INDEX, json.dumps({"frames": frames, "layers": list(attention.taps.layers)}) + "\n")
    return folder


class _ArrayFile:
    """File of NumPy's format npy that is written part by part, so that the array need not fit the memory.

    Args:
        file: empty file, open for writing.
        rows: number of rows of all parts together.
    """

    def __init__(self, file: BinaryIO, rows: int) -> None:
        self._file, self._rows = file, rows

    def append(self, part: np.ndarray) -> None:
        """Write the next rows; the first part sets the type and the shape of a row."""
        part = np.ascontiguousarray(part)
        if self._file.tell() == 0:
            header = np.lib.format.header_data_from_array_1_0(part)
            header["shape"] = (self._rows, *part.shape[1:])
            np.lib.format.write_array_header_1_0(self._file, header)
        self._file.write(part.data)


@contextmanager
def _array_file(path: Path, rows: int) -> Iterator[_ArrayFile]:
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        yield _ArrayFile(file, rows)
