"""Prediction of lanes with a trained network."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Self

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import nn

from lgad_pipeline.atomic_files import write_text
from lgad_pipeline.config.decoding import DecodeConfig
from lgad_pipeline.config.model_files import PREDICTOR
from lgad_pipeline.config.network import Side
from lgad_pipeline.data.loader import in_order, normalize
from lgad_pipeline.data.shards import ShardSplit
from lgad_pipeline.errors import LgadError
from lgad_pipeline.inference.frame_predictor import (
    FramePredictor,
    Lane,
    PreparedFrame,
    check_finite,
    lanes_by_view,
)
from lgad_pipeline.lanes.decoding import DecodedLane
from lgad_pipeline.lanes.lane_files import lane_file, write_lanes
from lgad_pipeline.lanes.tensor_decoding import decode_tensors
from lgad_pipeline.networks.checkpoint import DamagedNetwork, load_network, read_model
from lgad_pipeline.networks.float32 import full_float32
from lgad_pipeline.progress import Progress
from lgad_pipeline.view import View


class _ViewFile(BaseModel):
    model_config = ConfigDict(extra="forbid")

    frame_size: tuple[Side, Side]
    image_size: tuple[Side, Side]
    crop_top: int = Field(ge=0)


def write_predictor(folder: Path, view: View, decode_config: DecodeConfig) -> None:
    """Write predictor.json, the settings of prediction, next to a trained network.

    Args:
        folder: directory of the trained network.
        view: mapping from frame pixels to the pixels of the network's input.
        decode_config: settings of decoding.
    """
    content = {"view": asdict(view), "decode": decode_config.model_dump(mode="json")}
    write_text(folder / PREDICTOR, json.dumps(content, indent=2) + "\n")


def read_predictor(folder: Path) -> tuple[View, DecodeConfig]:
    """Read the settings of prediction that `write_predictor` wrote.

    Raises:
        DamagedNetwork: the file is missing, damaged, or holds a value out of bounds.
    """
    sizes = read_model(folder / PREDICTOR, _ViewFile, ("view",))
    decode_config = read_model(folder / PREDICTOR, DecodeConfig, ("decode",))
    return View(sizes.frame_size, sizes.image_size, sizes.crop_top), decode_config


def check_device(device: str) -> None:
    """Check that torch can use a device on this machine.

    Args:
        device: name of the device, such as cpu or cuda.

    Raises:
        LgadError: the device cannot be used.
    """
    try:
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError, ValueError) as error:
        reason = (str(error).splitlines() or ["unknown"])[0].rstrip(".")[:100]
        raise LgadError(
            f"The device {device!r} cannot be used here ({reason}); give --device cpu."
        ) from error


class LanePredictor(FramePredictor):
    """Trained student that finds lanes in camera frames.

    Args:
        network: trained student.
        view: mapping from frame pixels to the pixels of the network's input.
        decode_config: settings of decoding.
        device: device of the network, such as cpu or cuda.
    """

    def __init__(
        self, network: nn.Module, view: View, decode_config: DecodeConfig, device: str = "cpu"
    ) -> None:
        self.network = network.eval().to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        super().__init__(view, decode_config)
        self.device = device

    @classmethod
    def load(cls, folder: Path, device: str = "cpu") -> Self:
        """Read a trained student from disk.

        Args:
            folder: directory of the student (weights.safetensors, network.json, predictor.json).
            device: device of the network.

        Raises:
            DamagedNetwork: a file is missing, damaged or of another version; see `load_network`.
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

    def predict_prepared(self, frames: Sequence[PreparedFrame]) -> list[list[Lane]]:
        """Find the lanes in prepared frames; return the lanes of each, in pixels of the original frame."""
        if not frames:
            return []
        images = torch.from_numpy(np.stack([frame.image for frame in frames]))
        return self._lanes(images.permute(0, 3, 1, 2), [frame.view for frame in frames])

    def predict_images(self, images: torch.Tensor) -> list[list[Lane]]:
        """Find the lanes in images at the input size, uint8 (B, 3, h, w) RGB; points in frame pixels."""
        return self._lanes(images, [self.view] * len(images))

    def _lanes(self, images: torch.Tensor, views: Sequence[View]) -> list[list[Lane]]:
        probabilities, existence = self.probabilities(images)
        check_finite(bool(torch.isfinite(probabilities).all() and torch.isfinite(existence).all()))

        def decode_frames(frames: list[int], view: View) -> list[list[DecodedLane]]:
            return decode_tensors(probabilities[frames], existence[frames], view, self.decode_config)

        return lanes_by_view(views, existence.cpu().numpy(), decode_frames)

    @torch.inference_mode()
    def probabilities(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return probability maps, float32 (B, slots, h, w), and existence probabilities, float32 (B, slots).

        Without an existence head every existence probability is 1, so that the maps alone decide.
        """
        planes = normalize(images.to(self.device)).contiguous(memory_format=torch.channels_last)
        with full_float32(self.device):
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
        folder: directory of the trained student.
        split: packed frames.
        output_root: directory of the lane files, with the layout of the data set.
        progress: called as progress(frames done, frames in total).
        device: device of the network.
        batch_size: number of frames per forward pass.
    """
    predictor = LanePredictor.load(folder, device)
    done = 0
    for batch in in_order(split, batch_size):
        for frame, lanes in zip(batch.frames, predictor.predict_images(batch.image), strict=True):
            write_lanes(lane_file(output_root, frame), [lane.points for lane in lanes])
        done += len(batch.frames)
        if progress is not None:
            progress(done, len(split))
