"""Pictures of labels, predictions and attention maps.

The frames are chosen by position, not at random, so that pictures of different runs can be compared.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from assets.presentation.svg_charts import NETWORK_NAMES

if TYPE_CHECKING:
    from lgad_pipeline.data.shard_split import Sample, ShardSplit

_PAGE = 760  # pixels; width of the column of an asset page on a laptop


def evenly_spread(count: int, wanted: int) -> list[int]:
    """Choose up to `wanted` indices, evenly spread over 0 .. `count` - 1."""
    if not count:
        return []
    return sorted({int(index) for index in np.linspace(0, count - 1, min(wanted, count)).round()})


def indices_by_scenario(scenarios: Sequence[str | None], wanted: int) -> list[int]:
    """Choose up to `wanted` indices: one for each scenario first, then evenly spread ones."""
    first = {
        scenario: index
        for index, scenario in reversed(list(enumerate(scenarios)))
        if isinstance(scenario, str)
    }
    chosen = sorted(first.values())[:wanted]
    more = [index for index in evenly_spread(len(scenarios), 2 * wanted) if index not in chosen]
    return sorted([*chosen, *more[: wanted - len(chosen)]])


def label_sheet(split: "ShardSplit", wanted: int) -> np.ndarray:
    """Draw label maps over packed frames, in two columns."""
    from lgad_pipeline.visualization.overlays import contact_sheet, draw_label_map

    samples = [split[index] for index in evenly_spread(len(split), wanted)]
    return contact_sheet([draw_label_map(sample.image, sample.label) for sample in samples], 2)


def network_pictures(
    folder: Path, split: "ShardSplit", *, role: str, layers: Sequence[str]
) -> dict[str, np.ndarray]:
    """Draw predictions and attention maps of a trained network on four packed frames.

    Args:
        folder: directory of the network (weights.safetensors, network.json).
        split: packed frames.
        role: the network: teacher, student_alone or student_lgad.
        layers: names of the layers whose attention maps are drawn.

    Returns:
        The pictures `overlays` and `attention`, uint8 (H, W, 3) RGB.
    """
    from lgad_pipeline.visualization.overlays import contact_sheet, draw_attention, draw_label_map

    samples = [split[index] for index in evenly_spread(len(split), 4)]
    overlays, overlay_captions, heat, heat_captions = [], [], [], []
    for sample in samples:
        predicted, attention = label_map_and_attention(folder, sample, layers=layers)
        overlays += [draw_label_map(sample.image, sample.label), draw_label_map(sample.image, predicted)]
        overlay_captions += ["label map", NETWORK_NAMES[role]]
        heat += [sample.image, *(draw_attention(sample.image, attention[layer]) for layer in layers)]
        heat_captions += ["frame", *layers]
    columns = 1 + len(layers)
    return {
        "overlays": contact_sheet(overlays, 2, captions=overlay_captions, width=_PAGE // 2),
        "attention": contact_sheet(heat, columns, captions=heat_captions, width=_PAGE // columns),
    }


def label_map_and_attention(
    folder: Path, sample: "Sample", *, layers: Sequence[str]
) -> tuple[np.ndarray, Mapping[str, np.ndarray]]:
    """Run a trained network on a packed frame.

    The input is the label map for a network that reads label maps, else the image.

    Args:
        folder: directory of the network (weights.safetensors, network.json).
        sample: a packed frame.
        layers: names of the layers whose attention maps are computed.

    Returns:
        The predicted label map, uint8 (h, w), and the attention map of each layer.
    """
    import torch

    from lgad_pipeline.data.normalization import normalize
    from lgad_pipeline.distillation.teacher import teacher_planes
    from lgad_pipeline.networks.checkpoint import load_network
    from lgad_pipeline.visualization.attention_sheet import network_attention

    network, spec = load_network(folder)
    if spec.in_channels == 3:
        planes = normalize(torch.from_numpy(sample.image).permute(2, 0, 1)[None])
    else:
        planes = teacher_planes(torch.from_numpy(sample.label)[None], spec)
    with torch.inference_mode():
        label = network(planes).logits[0].argmax(dim=0).to(torch.uint8).numpy()
    return label, network_attention(network, planes, layers)


def prediction_pictures(
    folder: Path, split: "ShardSplit", *, recordings: Path, annotations: Path, wanted: int
) -> list[tuple[str, np.ndarray]]:
    """Draw lanes on recorded frames: annotated lanes thin and white, predicted lanes coloured by slot.

    Args:
        folder: directory of the network (weights.safetensors, network.json, predictor.json).
        split: packed frames, among which frames of many scenarios are chosen.
        recordings: root directory of the frames.
        annotations: root directory of the annotated lane files.
        wanted: largest number of frames.

    Returns:
        Captions and pictures, uint8 (H, W, 3) RGB at the size of the frame.
    """
    import cv2

    from lgad_pipeline.datasets.images import read_image
    from lgad_pipeline.inference.predictor import LanePredictor
    from lgad_pipeline.lanes.lane_files import lane_file, read_lanes
    from lgad_pipeline.visualization.overlays import draw_lanes

    table = split.table
    predictor = LanePredictor.load(folder)
    pictures = []
    for index in indices_by_scenario(table["scenario"].tolist(), wanted):
        frame, scenario = table["frame"][index], table["scenario"][index]
        image = read_image((recordings / frame).read_bytes())
        predicted = predictor.predict([image])[0]
        drawn = draw_lanes(image, predicted)
        annotated = read_lanes(lane_file(annotations, frame))
        for lane in annotated:
            cv2.polylines(drawn, [np.rint(lane).astype(np.int32)], False, (255, 255, 255), 3, cv2.LINE_AA)
        caption = f"{len(predicted)} found, {len(annotated)} annotated · {frame}"
        pictures.append((f"{scenario}: {caption}" if isinstance(scenario, str) else caption, drawn))
    return pictures


def prediction_sheet(pictures: Sequence[tuple[str, np.ndarray]]) -> np.ndarray:
    """Lay out the result of `prediction_pictures` on one sheet, in two columns."""
    from lgad_pipeline.visualization.overlays import contact_sheet

    captions = [caption.partition(" · ")[0] for caption, _ in pictures]
    return contact_sheet([image for _, image in pictures], 2, captions=captions)
