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
from lgad_pipeline.config.network import NetworkSpec, Side
from lgad_pipeline.config.roles import STUDENTS
from lgad_pipeline.data.normalization import normalize
from lgad_pipeline.errors import LgadError
from lgad_pipeline.inference.frame_predictor import (
    FramePredictor,
    Lane,
    PreparedFrame,
    check_finite,
    lanes_by_view,
)
from lgad_pipeline.lanes.decoding import DecodedLane
from lgad_pipeline.lanes.tensor_decoding import decode_tensors
from lgad_pipeline.networks.checkpoint import NETWORK, DamagedNetwork, load_network, read_model
from lgad_pipeline.networks.device import check_device, resolve_auto
from lgad_pipeline.networks.float32 import full_float32
from lgad_pipeline.networks.folding import fold_batch_norms
from lgad_pipeline.networks.layers import LaneOutput, check_lane_output
from lgad_pipeline.networks.registry import BUILT_IN
from lgad_pipeline.view import View

_RGB = 3


class _ViewFile(BaseModel):
    model_config = ConfigDict(extra="forbid")

    frame_size: tuple[Side, Side]
    image_size: tuple[Side, Side]
    crop_top: int = Field(ge=0)


def write_predictor(folder: Path, view: View, *, decode_config: DecodeConfig) -> None:
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
        DamagedNetwork: the file is missing, damaged, or holds a value out of bounds; or the network is a
            teacher.
    """
    if not (folder / PREDICTOR).is_file() or _is_teacher(folder):
        raise DamagedNetwork(_no_student(folder))
    sizes = read_model(folder / PREDICTOR, _ViewFile, of=("view",))
    decode_config = read_model(folder / PREDICTOR, DecodeConfig, of=("decode",))
    return View(sizes.frame_size, sizes.image_size, sizes.crop_top), decode_config


def _is_teacher(folder: Path) -> bool:
    """Return True if the network of a directory reads label maps."""
    return (folder / NETWORK).is_file() and read_model(folder / NETWORK, NetworkSpec).in_channels != _RGB


def _no_student(folder: Path) -> str:
    """Return a sentence on a directory that holds no student, with that of the student next to it."""
    students = [name for name in STUDENTS if (folder.parent / name / PREDICTOR).is_file()]
    student = folder.parent / students[-1] if students else "such as student_lgad"
    reason = f"{folder} holds no {PREDICTOR}, which every trained student has"
    if _is_teacher(folder):
        reason = f"{folder} holds a teacher, which reads label maps and no frames"
    return f"{reason}; name the directory of a student, {student}."


class LanePredictor(FramePredictor):
    """Trained student that finds lanes in camera frames.

    Args:
        network: trained student.
        view: mapping from frame pixels to the pixels of the network's input.
        decode_config: settings of decoding.
        device: device of the network, such as cpu or cuda; auto for a GPU if there is one.
        lane_types: names of the types of lanes that the network tells apart; empty for none.
    """

    def __init__(
        self,
        network: nn.Module,
        view: View,
        *,
        decode_config: DecodeConfig,
        device: str = "auto",
        lane_types: Sequence[str] = (),
    ) -> None:
        super().__init__(view, decode_config, lane_types=lane_types)
        self.device = resolve_auto(device)
        self.network = network.eval().to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]

    @classmethod
    def load(cls, folder: Path, device: str = "auto") -> Self:
        """Read a trained student from disk; its batch norms are folded into the convolutions before them.

        Args:
            folder: directory of the student (weights.safetensors, network.json, predictor.json).
            device: device of the network; auto for a GPU if there is one.

        Raises:
            DamagedNetwork: a file is missing, damaged or of another version; see `load_network`.
            LgadError: the device cannot be used.
        """
        check_device(resolve_auto(device))
        network, spec = load_network(folder)
        view, decode_config = read_predictor(folder)
        if view.image_size != spec.image_size or not 0 <= view.crop_top < view.frame_size[0]:
            raise DamagedNetwork(
                f"{folder / PREDICTOR} does not fit the network: image_size {list(view.image_size)} against "
                f"{list(spec.image_size)}, crop_top {view.crop_top} of {view.frame_size[0]} rows; write it "
                "with write_predictor."
            )
        # The forward functions of built-in networks are known to use convolution and batch norm together.
        image = None if spec.name in BUILT_IN else torch.rand(1, spec.in_channels, *spec.image_size)
        folded = fold_batch_norms(network, image)
        return cls(folded, view, decode_config=decode_config, device=device, lane_types=spec.lane_types)

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
        output = self._output(images)
        probabilities, existence = _probabilities(output)
        # Probabilities are at most 1, so their sum is finite if each of them is.
        check_finite(bool(torch.isfinite(probabilities.sum() + existence.sum())))

        def decode_frames(frames: list[int], view: View) -> list[list[DecodedLane]]:
            chosen = slice(None) if len(frames) == len(views) else frames  # a list of indices copies the maps
            return decode_tensors(probabilities[chosen], existence[chosen], view, self.decode_config)

        types = None
        if output.types is not None and self.lane_types:
            types = output.types.float().softmax(dim=2).cpu().numpy()
            check_finite(bool(np.isfinite(types).all()))
        return lanes_by_view(
            views,
            existence.cpu().numpy(),
            decode_frames=decode_frames,
            types=types,
            lane_types=self.lane_types,
        )

    def probabilities(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return probability maps, float32 (B, slots, h, w), and existence probabilities, float32 (B, slots).

        Without an existence head every existence probability is 1, so that the maps alone decide.
        """
        return _probabilities(self._output(images))

    @torch.inference_mode()
    def _output(self, images: torch.Tensor) -> LaneOutput:
        """Run the network on images, uint8 (B, 3, h, w) RGB.

        Raises:
            LgadError: they are of another kind or size.
        """
        height, width = self.view.image_size
        is_tensor = isinstance(images, torch.Tensor)
        if not is_tensor or images.dtype != torch.uint8 or images.shape[1:] != (_RGB, height, width):
            kind = f"{images.dtype} {tuple(images.shape)}" if is_tensor else type(images).__name__
            raise LgadError(
                f"The images are {kind}; give a tensor, uint8 (B, 3, {height}, {width}), RGB, 0..255."
            )
        planes = normalize(images.to(self.device)).contiguous(memory_format=torch.channels_last)
        with full_float32(self.device):
            output = self.network(planes)
        check_lane_output(output, (len(images), height, width))
        return output


@torch.inference_mode()
def _probabilities(output: LaneOutput) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the probability maps and existence probabilities of an output; see `probabilities`."""
    # A map after the other, as decoding reads them; softmax and decoding are faster so.
    probabilities = output.logits.float().contiguous().softmax(dim=1)[:, 1:]
    if output.existence is None:
        return probabilities, probabilities.new_ones(probabilities.shape[:2])
    return probabilities, output.existence.float().sigmoid()
