"""Contact sheet of the road world: frames of each scenario, half of them with their annotated lanes.

`write_contact_sheet(Path("docs/pictures/world.jpg"))` writes the picture of the README.
"""

from pathlib import Path

import cv2
import numpy as np

from lgad_pipeline.atomic_files import atomic_path
from lgad_pipeline.config.splits import SCENARIOS
from lgad_pipeline.synthetic.camera import FRAME_HEIGHT, FRAME_WIDTH
from lgad_pipeline.synthetic.render import Scene, render

TILE_WIDTH = 400
_COLOURS = [(60, 60, 235), (60, 200, 60), (235, 120, 40), (40, 200, 235)]


def _tile(scene: Scene, drawn: bool) -> np.ndarray:
    """Return a small picture of a scene with its name, and with its lanes if `drawn`."""
    image = scene.image.copy()
    if drawn:
        for lane, colour in zip(scene.lanes, _COLOURS, strict=False):
            points = np.round(lane * 16).astype(np.int32)
            cv2.polylines(image, [points], False, colour, 7, cv2.LINE_AA, 4)
    height = round(TILE_WIDTH * FRAME_HEIGHT / FRAME_WIDTH)
    tile = cv2.resize(image, (TILE_WIDTH, height), interpolation=cv2.INTER_AREA)
    for colour, thickness in (((0, 0, 0), 3), ((255, 255, 255), 1)):
        cv2.putText(
            tile, scene.scenario, (6, 16), cv2.FONT_HERSHEY_SIMPLEX, 0.5, colour, thickness, cv2.LINE_AA
        )
    return tile


def contact_sheet(seed: int = 0, columns: int = 4) -> np.ndarray:
    """Render a contact sheet with one row a scenario and lanes on every second frame.

    Args:
        seed: seed of the world.
        columns: number of frames of each scenario.

    Returns:
        uint8 (H, W, 3), BGR.
    """
    rows = []
    for number, scenario in enumerate(SCENARIOS):
        scenes = [render(seed, number * columns + i, scenario) for i in range(columns)]
        rows.append(np.hstack([_tile(scene, drawn=i % 2 == 1) for i, scene in enumerate(scenes)]))
    return np.vstack(rows)


def write_contact_sheet(path: Path, seed: int = 0, columns: int = 4) -> None:
    """Write a contact sheet as a JPEG file.

    Args:
        path: file to write.
        seed: seed of the world.
        columns: number of frames of each scenario.
    """
    encoded = cv2.imencode(".jpg", contact_sheet(seed, columns), [cv2.IMWRITE_JPEG_QUALITY, 82])[1]
    with atomic_path(path) as temporary:
        temporary.write_bytes(encoded.tobytes())
