"""From a trained network and frames to lanes."""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from torch import nn

from lgad_pipeline.data.loader import in_order, normalize
from lgad_pipeline.data.shards import ShardSplit
from lgad_pipeline.errors import LgadError
from lgad_pipeline.files import write_text
from lgad_pipeline.lanes.config import DecodeConfig
from lgad_pipeline.lanes.decode import decode
from lgad_pipeline.lanes.files import lane_file, write_lanes
from lgad_pipeline.lanes.view import View
from lgad_pipeline.models.store import load_network

PREDICTOR = "predictor.json"
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Lane:
    """One lane that was found.

    Attributes:
        slot: 1 far left, 2 left, 3 right, 4 far right.
        points: float32 (N, 2), (x, y) in frame pixels, bottom first.
        confidence: 0..1, mean of the map's maxima along the lane.
        existence: 0..1, what the network's existence head says of the slot.
    """

    slot: int
    points: np.ndarray
    confidence: float
    existence: float = 1.0


def write_predictor(folder: Path, view: View, decode_config: DecodeConfig) -> None:
    """Add `predictor.json` to a trained network's folder: how frames come in and how lanes come out."""
    content = {"view": asdict(view), "decode": decode_config.model_dump(mode="json")}
    write_text(folder / PREDICTOR, json.dumps(content, indent=2) + "\n")


class LanePredictor:
    """Finds lanes in camera frames.

    Args:
        network: a trained student.
        view: how a frame becomes the network's input.
        decode_config: how probability maps become lanes.
        device: where the network runs.
    """

    def __init__(
        self, network: nn.Module, view: View, decode_config: DecodeConfig, device: str = "cpu"
    ) -> None:
        self.network = network.eval().to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.view = view
        self.decode_config = decode_config
        self.device = device

    @classmethod
    def load(cls, folder: Path, device: str = "cpu") -> Self:
        """Read a folder with `weights.safetensors`, `network.json` and `predictor.json`.

        Raises:
            LgadError: one of them is missing or damaged.
        """
        network, _ = load_network(folder)
        try:
            content = json.loads((folder / PREDICTOR).read_text(encoding="utf-8"))
            sizes: dict[str, Any] = {
                name: tuple(v) if isinstance(v, list) else v for name, v in content["view"].items()
            }
            return cls(network, View(**sizes), DecodeConfig(**content["decode"]), device)
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            raise LgadError(
                f"{folder / PREDICTOR} is missing or damaged; write it with write_predictor."
            ) from error

    def predict(self, frames: Sequence[np.ndarray]) -> list[list[Lane]]:
        """Find the lanes in frames, uint8 (H, W, 3) RGB; one list a frame, in the frame's own pixels.

        Frames may be of any size: one of another size than the network was trained on is seen as if it had
        been resized to that.
        """
        if not frames:
            return []
        views = [self.view.of_size((frame.shape[0], frame.shape[1])) for frame in frames]
        images = np.stack([view.image(frame) for view, frame in zip(views, frames, strict=True)])
        return self._lanes(torch.from_numpy(images).permute(0, 3, 1, 2), views)

    def predict_images(self, images: torch.Tensor) -> list[list[Lane]]:
        """Find the lanes in images at the network's size, uint8 (B, 3, h, w) RGB; points in frame pixels."""
        return self._lanes(images, [self.view] * len(images))

    def _lanes(self, images: torch.Tensor, views: Sequence[View]) -> list[list[Lane]]:
        probabilities, existence = self.probabilities(images)
        lanes: list[list[Lane]] = [[] for _ in views]
        for view in dict.fromkeys(views):
            at = [index for index, other in enumerate(views) if other == view]
            found = decode(probabilities[at], existence[at], view, self.decode_config)
            for index, decoded in zip(at, found, strict=True):
                lanes[index] = [
                    Lane(slot, np.asarray(points, np.float32), confidence, float(existence[index, slot - 1]))
                    for slot, points, confidence in decoded
                ]
        return lanes

    @torch.inference_mode()
    def probabilities(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return probability maps, float32 (B, slots, h, w), and existence probabilities, float32 (B, slots).

        A network without an existence head says 1 to every slot: its maps alone decide.
        """
        planes = normalize(images.to(self.device)).contiguous(memory_format=torch.channels_last)
        output = self.network(planes)
        probabilities = output.logits.float().softmax(dim=1)[:, 1:]
        if output.existence is None:
            return probabilities, probabilities.new_ones(probabilities.shape[:2])
        return probabilities, output.existence.float().sigmoid()


def predict_split(
    folder: Path,
    split: ShardSplit,
    output_root: Path,
    progress: Progress | None = None,
    device: str = "cpu",
    batch_size: int = 16,
) -> None:
    """Write a lane file below `output_root` for every frame of a packed split, also for those without lanes.

    Args:
        folder: a trained network with `predictor.json`.
        split: packed frames.
        output_root: each frame's lane file lies where the frame lies below the data set's root.
        progress: called as progress(frames done, frames in total).
        device: where the network runs.
        batch_size: frames at a time.
    """
    predictor = LanePredictor.load(folder, device)
    done = 0
    for batch in in_order(split, batch_size):
        for frame, lanes in zip(batch.frames, predictor.predict_images(batch.image), strict=True):
            write_lanes(lane_file(output_root, frame), [lane.points for lane in lanes])
        done += len(batch.frames)
        if progress is not None:
            progress(done, len(split))
