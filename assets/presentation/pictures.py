"""Pictures for people: of the same frames every time, so that runs can be compared by eye."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from assets.presentation.svg_charts import NETWORK_NAMES
from lgad_pipeline.settings import Recipe
from resources.paths import ProjectPaths, fetch_shards

if TYPE_CHECKING:
    from lgad_pipeline.config.distillation import MimickingPath
    from lgad_pipeline.data.shards import Sample, ShardSplit


_PAGE = 760  # pixels; as wide as the column of an asset's page on a laptop


def evenly_spread(count: int, wanted: int) -> list[int]:
    """Up to `wanted` indices, evenly spread over `count`."""
    return (
        sorted({int(index) for index in np.linspace(0, count - 1, min(wanted, count)).round()})
        if count
        else []
    )


def by_scenario(scenarios: Sequence[str | None], wanted: int) -> list[int]:
    """Up to `wanted` indices that show as many scenarios as they can, then evenly spread ones."""
    first = {
        scenario: index
        for index, scenario in reversed(list(enumerate(scenarios)))
        if isinstance(scenario, str)
    }
    chosen = sorted(first.values())[:wanted]
    more = [index for index in evenly_spread(len(scenarios), 2 * wanted) if index not in chosen]
    return sorted([*chosen, *more[: wanted - len(chosen)]])


def label_sheet(split: "ShardSplit", wanted: int) -> np.ndarray:
    """Training images with their label maps drawn over them, in two columns."""
    from lgad_pipeline.visualization.overlays import contact_sheet, draw_label_map

    samples = [split[index] for index in evenly_spread(len(split), wanted)]
    return contact_sheet([draw_label_map(sample.image, sample.label) for sample in samples], 2)


def network_pictures(paths: ProjectPaths, role: str, recipe: Recipe) -> dict[str, np.ndarray]:
    """Overlays and attention maps of a trained network on validation frames, at training size."""
    from lgad_pipeline.data.shards import ShardSet
    from lgad_pipeline.visualization.overlays import contact_sheet, draw_attention, draw_label_map

    shards = ShardSet.open(fetch_shards(paths))
    split = shards["val"]
    samples = [split[index] for index in evenly_spread(len(split), 4)]
    overlays, captions, heat, heat_captions = [], [], [], []
    layers = [
        path.teacher if role == "teacher" else path.student
        for path in compared_layers(recipe, shards.view.image_size)
    ]
    for sample in samples:
        predicted, attention = look(paths.network(role), sample, layers)
        overlays += [draw_label_map(sample.image, sample.label), draw_label_map(sample.image, predicted)]
        captions += ["label map", NETWORK_NAMES[role]]
        heat += [sample.image, *(draw_attention(sample.image, attention[layer]) for layer in layers)]
        heat_captions += ["frame", *layers]
    return {
        "overlays": contact_sheet(overlays, 2, captions, width=_PAGE // 2),
        "attention": contact_sheet(heat, 1 + len(layers), heat_captions, width=_PAGE // (1 + len(layers))),
    }


def look(folder: Path, sample: "Sample", layers: Sequence[str]) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """What a network makes of a packed frame: its label map, and its attention by layer.

    A network that reads label maps is given the frame's label map, another one the image.
    """
    import torch

    from lgad_pipeline.data.loader import normalize
    from lgad_pipeline.distillation.teacher import label_encoding, label_planes
    from lgad_pipeline.networks.checkpoint import load_network
    from lgad_pipeline.visualization.attention_sheet import network_attention

    network, spec = load_network(folder)
    if spec.in_channels == 3:
        planes = normalize(torch.from_numpy(sample.image).permute(2, 0, 1)[None])
    else:
        planes = label_planes(torch.from_numpy(sample.label)[None], spec.slots + 1, label_encoding(spec))
    with torch.inference_mode():
        label = network(planes).logits[0].argmax(dim=0).to(torch.uint8).numpy()
    return label, network_attention(network, planes, layers)


def compared_layers(recipe: Recipe, image_size: tuple[int, int]) -> "tuple[MimickingPath, ...]":
    """Return the pairs of layers that LGAD compares in a training of the recipe.

    Args:
        recipe: The entry of lgad.yaml.
        image_size: Height and width of the networks' input, pixels.
    """
    from lgad_pipeline.training.student_losses import mimicking_paths

    student, teacher = recipe.network.spec(image_size), recipe.teachers_network.spec(image_size)
    return mimicking_paths(recipe.distillation, student, teacher)


def prediction_pictures(paths: ProjectPaths, student: str, wanted: int) -> list[tuple[str, np.ndarray]]:
    """Captioned test frames, uint8 RGB at full size: annotated lanes thin and white, found ones coloured."""
    import cv2

    from lgad_pipeline.data.shards import ShardSet
    from lgad_pipeline.datasets.images import read_image
    from lgad_pipeline.inference.predictor import LanePredictor
    from lgad_pipeline.lanes.lane_files import lane_file, read_lanes
    from lgad_pipeline.visualization.overlays import draw_lanes

    table = ShardSet.open(fetch_shards(paths))["test"].table
    predictor = LanePredictor.load(paths.network(student))
    pictures = []
    for index in by_scenario(table["scenario"].tolist(), wanted):
        frame, scenario = table["frame"][index], table["scenario"][index]
        image = read_image((paths.recordings / frame).read_bytes())
        found = predictor.predict([image])[0]
        drawn = draw_lanes(image, found)
        annotated = read_lanes(lane_file(paths.annotations, frame))
        for lane in annotated:
            cv2.polylines(drawn, [np.rint(lane).astype(np.int32)], False, (255, 255, 255), 3, cv2.LINE_AA)
        caption = f"{len(found)} found, {len(annotated)} annotated · {frame}"
        pictures.append((f"{scenario}: {caption}" if isinstance(scenario, str) else caption, drawn))
    return pictures


def prediction_sheet(paths: ProjectPaths, student: str, wanted: int) -> np.ndarray:
    """`prediction_pictures` on one sheet, in two columns."""
    from lgad_pipeline.visualization.overlays import contact_sheet

    pictures = prediction_pictures(paths, student, wanted)
    captions = [caption.partition(" · ")[0] for caption, _ in pictures]
    return contact_sheet([image for _, image in pictures], 2, captions)


def example_jpeg(paths: ProjectPaths) -> bytes:
    """The bytes of one validation frame, an input example."""
    from lgad_pipeline.data.shards import ShardSet

    return (paths.recordings / ShardSet.open(fetch_shards(paths))["val"].table["frame"][0]).read_bytes()


def training_record(folder: Path) -> dict:
    """What a training noted about itself: fingerprint, seconds, settings, the shards' fingerprint."""
    return json.loads((folder / "training.json").read_text(encoding="utf-8"))
