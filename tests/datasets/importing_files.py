"""Small annotated sources for the tests of imports."""

import json
from pathlib import Path

import cv2
import numpy as np

SIZE = (60, 160)  # H, W
LANES = [[[40.5, 20.5], [30.5, 59.5]], [[120.5, 59.5], [100.5, 20.5]]]
BOTTOM_FIRST = [[[30, 59], [40, 20]], [[120, 59], [100, 20]]]


def image(path: Path, seed: int = 0, size: tuple[int, int] = SIZE, orientation: int = 1) -> np.ndarray:
    """Write a JPEG or PNG image, with an EXIF orientation if it is not 1; the pixels as stored, RGB."""
    path.parent.mkdir(parents=True, exist_ok=True)
    small = np.random.default_rng(seed).integers(0, 255, (6, 16, 3), np.uint8)
    pixels = cv2.resize(small, size[::-1])
    data = cv2.imencode(path.suffix.lower(), pixels)[1].tobytes()
    if orientation != 1:
        tiff = b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0" + bytes([orientation, 0, 0, 0, 0, 0, 0, 0])
        segment = b"Exif\0\0" + tiff
        data = data[:2] + b"\xff\xe1" + (len(segment) + 2).to_bytes(2) + segment + data[2:]
    path.write_bytes(data)
    return pixels[..., ::-1]


def shape(points: object, kind: str | None = "linestrip", label: object = "lane", **others: object) -> dict:
    return {"label": label, "points": points, "shape_type": kind, **others}


def labelme(
    path: Path, shapes: list, image: str | None = None, size: tuple[int, int] | None = SIZE, **others
) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    stated = {"imageHeight": size[0], "imageWidth": size[1]} if size else {}
    content = {
        "imagePath": image or f"{path.stem}.jpg",
        "shapes": shapes,
        "imageData": None,
        **stated,
        **others,
    }
    path.write_text(json.dumps(content), encoding="utf-8")


def lines(path: Path) -> list[list[list[float]]]:
    """Lanes of a lane file as lists of [x, y]."""
    rows = [[float(word) for word in line.split()] for line in path.read_text().splitlines()]
    return [[list(pair) for pair in zip(row[::2], row[1::2], strict=True)] for row in rows]


def cvat_xml(path: Path, content: str, head: str = '<?xml version="1.0" encoding="utf-8"?>') -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"{head}\n<annotations><version>1.1</version>{content}</annotations>", encoding="utf-8")


def cvat_image(name: str, shapes: str | None = None, size: tuple[int, int] = SIZE, subset: str = "") -> str:
    of_subset = f' subset="{subset}"' if subset else ""
    inner = polylines() if shapes is None else shapes
    return f'\n<image id="0" name="{name}"{of_subset} width="{size[1]}" height="{size[0]}">{inner}</image>'


def cvat_shape(points: list, tag: str = "polyline", label: str = "lane", others: str = "") -> str:
    text = ";".join(f"{x},{y}" for x, y in points)
    return f'<{tag} label="{label}" source="manual" points="{text}" {others}/>'


def polylines() -> str:
    return "".join(cvat_shape(lane) for lane in LANES)
