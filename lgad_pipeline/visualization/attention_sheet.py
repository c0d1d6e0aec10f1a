"""Attention maps of teacher and students over a frame, next to each other."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import nn

from lgad_pipeline.config.distillation import MimickingPath
from lgad_pipeline.data.normalization import normalize
from lgad_pipeline.data.shard_split import Sample
from lgad_pipeline.distillation.attention import attention_map
from lgad_pipeline.distillation.taps import FeatureTaps
from lgad_pipeline.distillation.teacher import teacher_planes
from lgad_pipeline.networks.checkpoint import load_network
from lgad_pipeline.visualization.overlays import contact_sheet, draw_attention, draw_label_map


@torch.inference_mode()
def network_attention(
    network: nn.Module, planes: torch.Tensor, layers: Sequence[str]
) -> dict[str, np.ndarray]:
    """Return the attention map, sum of squares over the channels, of each layer for one input.

    Args:
        network: any network; it is set to evaluation mode.
        planes: input of the network, float32 (1, C, H, W).
        layers: dotted names of its layers.

    Returns:
        float32 (h, w) by layer.
    """
    with FeatureTaps(network.eval(), layers) as taps:
        network(planes)
        return {name: attention_map(features)[0].numpy() for name, features in taps.pop().items()}


def attention_sheet(
    sample: Sample, teacher: Path, *, students: Mapping[str, Path], paths: Sequence[MimickingPath]
) -> np.ndarray:
    """Draw attention maps over a frame: a row per mimicking path, the teacher's map, then each student's.

    Args:
        sample: packed frame with its label map, the input of the teacher.
        teacher: directory of the trained teacher.
        students: directories of trained students by the name to write under their maps.
        paths: mimicking paths whose layers are drawn.

    Returns:
        A picture, uint8 (H, W, 3) RGB; its first row shows the frame and the label map.
    """
    network, spec = load_network(teacher)
    image = normalize(torch.from_numpy(sample.image).permute(2, 0, 1)[None])
    label = teacher_planes(torch.from_numpy(sample.label)[None], spec)
    columns = {"teacher": network_attention(network, label, [path.teacher for path in paths])}
    for name, folder in students.items():
        student = load_network(folder)[0]
        columns[name] = network_attention(student, image, [path.student for path in paths])
    blank = np.full_like(sample.image, 255)
    pictures = [sample.image, draw_label_map(sample.image, sample.label)]
    captions = ["frame", "label map"]
    pictures += [blank] * (len(columns) - 2)
    captions += [""] * (len(columns) - 2)
    for path in paths:
        layers = [path.teacher, *[path.student] * len(students)]
        for layer, (name, maps) in zip(layers, columns.items(), strict=True):
            pictures.append(draw_attention(sample.image, maps[layer]))
            captions.append(f"{name}  {layer}")
    return contact_sheet(pictures, len(columns), captions=captions)
