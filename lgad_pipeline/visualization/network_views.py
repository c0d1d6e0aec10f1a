"""Pictures of one frame through a network: lanes, probability maps, attention maps."""

from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import torch

from lgad_pipeline.config.distillation import attention_layers_of
from lgad_pipeline.distillation.attention import attention_map
from lgad_pipeline.distillation.taps import FeatureTaps
from lgad_pipeline.distillation.teacher import teacher_planes
from lgad_pipeline.inference.frame_predictor import Lane
from lgad_pipeline.inference.predictor import LanePredictor
from lgad_pipeline.networks.checkpoint import load_network
from lgad_pipeline.visualization.overlays import draw_attention, draw_lanes, slot_colour


class NetworkViews(NamedTuple):
    """Pictures of one frame, uint8 (H, W, 3) RGB each.

    Attributes:
        lanes: lanes over the frame; None for a teacher, whose lanes are those of the label map.
        probabilities: probability maps over the network's input, each slot in its colour.
        attention: attention map over the network's input, by layer.
        found: the lanes; empty for a teacher.
        slots: number of slots.
    """

    lanes: np.ndarray | None
    probabilities: np.ndarray
    attention: dict[str, np.ndarray]
    found: list[Lane]
    slots: int


@torch.inference_mode()
def student_views(predictor: LanePredictor, frame: np.ndarray) -> NetworkViews:
    """Draw what a student computes for a frame of any size, uint8 (H, W, 3) RGB."""
    prepared = predictor.prepare(frame)
    image = torch.from_numpy(prepared.image).permute(2, 0, 1)[None]
    with FeatureTaps(predictor.network, attention_layers_of(predictor.network)) as taps:
        maps = predictor.probabilities(image)[0]
        features = taps.pop()
    lanes = predictor.predict_prepared([prepared])[0]
    return NetworkViews(
        draw_lanes(frame, lanes),
        draw_probabilities(prepared.image, maps[0].cpu().numpy()),
        _attention(prepared.image, features),
        lanes,
        maps.shape[1],
    )


@torch.inference_mode()
def teacher_views(folder: Path, image: np.ndarray, label: np.ndarray) -> NetworkViews:
    """Draw what a teacher computes for a label map.

    Args:
        folder: directory of the trained teacher.
        image: network input of the frame, uint8 (h, w, 3) RGB, to draw on.
        label: label map of the frame, uint8 (h, w).
    """
    network, spec = load_network(folder)
    planes = teacher_planes(torch.from_numpy(label)[None], spec)
    with FeatureTaps(network.eval(), attention_layers_of(network)) as taps:
        maps = network(planes).logits.softmax(dim=1)[0, 1:]
        features = taps.pop()
    drawn = draw_probabilities(image, maps.numpy())
    return NetworkViews(None, drawn, _attention(image, features), [], len(maps))


def draw_probabilities(image: np.ndarray, maps: np.ndarray) -> np.ndarray:
    """Draw probability maps over a grey copy of an image, each slot in its colour, stronger where surer.

    Args:
        image: uint8 (h, w, 3) RGB.
        maps: probability maps, float32 (slots, h, w); smaller ones are enlarged to the image.
    """
    height, width = image.shape[:2]
    maps = np.stack([cv2.resize(each, (width, height), interpolation=cv2.INTER_LINEAR) for each in maps])
    colours = np.array([slot_colour(slot) for slot in range(1, len(maps) + 1)], np.float32)
    share = np.clip(maps.sum(axis=0), 0, 1)[..., None]
    grey = np.repeat(image.mean(axis=2, keepdims=True), 3, axis=2) * 0.7
    return (grey * (1 - share) + np.tensordot(maps, colours, (0, 0))).clip(0, 255).round().astype(np.uint8)


def _attention(image: np.ndarray, features: dict[str, torch.Tensor]) -> dict[str, np.ndarray]:
    return {
        layer: draw_attention(image, attention_map(values.cpu())[0].numpy())
        for layer, values in features.items()
    }
