"""From a trained network and frames to lanes."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import nn

from lgad_pipeline.atomic_files import write_text
from lgad_pipeline.config.decoding import DecodeConfig
from lgad_pipeline.config.network import Side
from lgad_pipeline.data.loader import in_order, normalize
from lgad_pipeline.data.shards import ShardSplit
from lgad_pipeline.errors import LgadError
from lgad_pipeline.lanes.decoding import decode
from lgad_pipeline.lanes.lane_files import lane_file, write_lanes
from lgad_pipeline.networks.checkpoint import DamagedNetwork, load_network, read_model
from lgad_pipeline.progress import Progress
from lgad_pipeline.view import View

PREDICTOR = "predictor.json"


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


@dataclass(frozen=True)
class SeenFrame:
    """A frame as the network sees it.

    Attributes:
        image: uint8 (h, w, 3) RGB at the network's size.
        view: how the image was made from the frame.
    """

    image: np.ndarray
    view: View


class _ViewFile(BaseModel):
    model_config = ConfigDict(extra="forbid")

    frame_size: tuple[Side, Side]
    image_size: tuple[Side, Side]
    crop_top: int = Field(ge=0)


def write_predictor(folder: Path, view: View, decode_config: DecodeConfig) -> None:
    """Add `predictor.json` to a trained network's folder: how frames come in and how lanes come out."""
    content = {"view": asdict(view), "decode": decode_config.model_dump(mode="json")}
    write_text(folder / PREDICTOR, json.dumps(content, indent=2) + "\n")


def read_predictor(folder: Path) -> tuple[View, DecodeConfig]:
    """Read what `write_predictor` wrote.

    Raises:
        DamagedNetwork: the file is missing, damaged, or holds a value out of bounds.
    """
    sizes = read_model(folder / PREDICTOR, _ViewFile, ("view",))
    decode_config = read_model(folder / PREDICTOR, DecodeConfig, ("decode",))
    return View(sizes.frame_size, sizes.image_size, sizes.crop_top), decode_config


def check_device(device: str) -> None:
    """Refuse a device that torch does not know or that this machine lacks.

    Raises:
        LgadError: it cannot be used.
    """
    try:
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError, ValueError) as error:
        reason = (str(error).splitlines() or ["unknown"])[0].rstrip(".")[:100]
        raise LgadError(
            f"The device {device!r} cannot be used here ({reason}); give --device cpu."
        ) from error


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
            DamagedNetwork: one of them is missing, damaged or of another version; see `load_network`.
            LgadError: the device cannot be used.
        """
        check_device(device)
        network, spec = load_network(folder)
        view, decode_config = read_predictor(folder)
        if view.image_size != spec.image_size or not 0 <= view.crop_top < view.frame_size[0]:
            raise DamagedNetwork(
                f"{folder / PREDICTOR} does not fit the network: image_size {list(view.image_size)} against "
                f"{list(spec.image_size)}, crop_top {view.crop_top} of {view.frame_size[0]} rows; write it "
                "with write_predictor."
            )
        return cls(network, view, decode_config, device)

    def predict(self, frames: Sequence[np.ndarray]) -> list[list[Lane]]:
        """Find the lanes in frames, uint8 (H, W, 3) RGB; one list a frame, in the frame's own pixels.

        Frames may be of any size: see `see`.
        """
        return self.find([self.see(frame) for frame in frames])

    def see(self, frame: np.ndarray) -> SeenFrame:
        """Bring a frame of any size, uint8 (H, W, 3) RGB, to the network's size.

        The view is scaled to the frame: a frame of another size than the network was trained on is seen as
        if it had been resized to that. See `frames.distortion` for what that costs.
        """
        view = self.view.of_size((frame.shape[0], frame.shape[1]))
        return SeenFrame(view.image(frame), view)

    def find(self, frames: Sequence[SeenFrame]) -> list[list[Lane]]:
        """Find the lanes in frames at the network's size; one list a frame, in the frame's own pixels."""
        if not frames:
            return []
        images = np.stack([frame.image for frame in frames])
        return self._lanes(torch.from_numpy(images).permute(0, 3, 1, 2), [frame.view for frame in frames])

    def predict_images(self, images: torch.Tensor) -> list[list[Lane]]:
        """Find the lanes in images at the network's size, uint8 (B, 3, h, w) RGB; points in frame pixels."""
        return self._lanes(images, [self.view] * len(images))

    def _lanes(self, images: torch.Tensor, views: Sequence[View]) -> list[list[Lane]]:
        probabilities, existence = self.probabilities(images)
        if not (torch.isfinite(probabilities).all() and torch.isfinite(existence).all()):
            raise LgadError(
                "The network's output holds values that are no numbers, so no lane can be read; train again."
            )
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
