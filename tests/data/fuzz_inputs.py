"""Inputs of the fuzz tests: valid files, changes of them, documents, archives, and random bytes."""

import io
import json
import stat
import tarfile
import warnings
import zipfile
import zlib
from typing import Any

import cv2
import numpy as np
from hypothesis import strategies as st

LARGEST = 1 << 16  # bytes of an input

NUMBERS = [b"0", b"-1", b"1e300", b"nan", b"-inf", b"1_0", b"9" * 400, b"0x1f", b"\xff", b"1" * 5000, b"\x00"]
PATHS = [b"../../etc/passwd", b"/etc/passwd", b"a/../../b.jpg", b"\xff.jpg", b"\x1b[31m.jpg", b"n" * 300]
STRUCTURE = [
    b"[" * 2000,
    b"{" * 50,
    b'{"a":',
    b"null",
    b"true",
    b'""',
    b"\n",
    b"\r\n",
    b" ",
    b",",
    b";",
    b"&a",
]
PIECES = [*NUMBERS, *PATHS, *STRUCTURE]


def changed(seeds: list[bytes]) -> st.SearchStrategy[bytes]:
    """Build valid inputs that are cut off or have pieces replaced, and random bytes."""
    place = st.integers(0, 1 << 16)
    piece = st.sampled_from(PIECES) | st.binary(max_size=8)
    change = st.tuples(place, st.integers(0, 40), piece)

    def apply(seed: bytes, changes: list[tuple[int, int, bytes]], end: int | None) -> bytes:
        for at, length, new in changes:
            at %= len(seed) + 1
            seed = seed[:at] + new + seed[at + length :]
        return seed[: None if end is None else end % (len(seed) + 1)][:LARGEST]

    made = st.builds(apply, st.sampled_from(seeds), st.lists(change, max_size=5), st.none() | place)
    return made | st.binary(max_size=200)


def documents(names: list[str]) -> st.SearchStrategy[Any]:
    """Build values of JSON and YAML with keys that a parser reads."""
    leaf = (
        st.none()
        | st.booleans()
        | st.integers()
        | st.floats()
        | st.sampled_from(["", "L", "LCCC", "a.jpg", "../a.jpg", "1", "nan", "linestrip", "parallel", "\x00"])
        | st.text(max_size=4)
    )
    return st.recursive(
        leaf,
        lambda inner: (
            st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(names), inner, max_size=len(names))
        ),
        max_leaves=25,
    )


def as_json(names: list[str]) -> st.SearchStrategy[bytes]:
    return documents(names).map(lambda value: json.dumps(value).encode())


TUSIMPLE = json.dumps(
    {"raw_file": "clips/1/20.jpg", "lanes": [[-2, 10, 12]], "h_samples": [70, 80, 90]}
).encode()
MARK = {
    "category": "single white",
    "attributes": {"laneDirection": "parallel"},
    "poly2d": [{"vertices": [[1, 90], [2, 50], [3, 40], [4, 30]], "types": "LCCC"}],
}
BDD100K = json.dumps([{"name": "a-1.jpg", "labels": [MARK, MARK]}, {"name": "b-1.jpg"}], indent=1).encode()
MARKER = {
    "world_start": {"z": "5"},
    "pixel_start": {"x": "5", "y": "700"},
    "pixel_end": {"x": "9", "y": "600"},
}
FAR_MARKER = {**MARKER, "pixel_start": {"x": "20", "y": "560"}, "pixel_end": {"x": "30", "y": "500"}}
LLAMAS = json.dumps({"lanes": [{"lane_id": "l0", "markers": [MARKER, FAR_MARKER]}]}).encode()
CURVELANES = json.dumps({"Lines": [[{"x": "1.5", "y": "60"}, {"x": "9", "y": "4"}]]}).encode()
VIL100 = json.dumps({"annotations": {"lane": [{"lane_id": 1, "points": [[1, 60], [9.5, 4]]}]}}).encode()
VIL100_SPLITS = b"sequences:\n- {name: 0_Road001, set: train}\n- {name: 1_Road002, set: test}\n"
LABELME = json.dumps(
    {
        "imagePath": "a.jpg",
        "imageHeight": 64,
        "imageWidth": 96,
        "shapes": [
            {"shape_type": "linestrip", "points": [[1, 2], [3, 4]]},
            {"shape_type": "polygon", "label": "b", "points": [[1, 60], [3, 60], [40, 4], [39, 4]]},
            {"shape_type": "point", "label": "c", "group_id": 1, "points": [[1, 2]]},
            {"shape_type": "point", "label": "c", "group_id": 1, "points": [[9, 20]]},
        ],
    }
).encode()
CVAT = b"""<?xml version="1.0" encoding="utf-8"?>
<annotations><image id="0" name="a.jpg"><polyline label="lane" points="1,2;3,4"/></image></annotations>"""
TRACK = b"""<annotations><meta><original_size><width>96</width><height>64</height></original_size></meta>
<track id="0" label="lane"><polyline frame="0" outside="0" points="1,2;3,4"/>
<polyline frame="3" outside="1" points="1,2;3,4"/></track></annotations>"""
BOMB = (
    b'<?xml version="1.0"?><!DOCTYPE a [<!ENTITY x "ha"><!ENTITY y "&x;&x;">]><annotations>&y;</annotations>'
)
LANES = b"100 117 110.5 107 120 97 \n\n240 117 230 107 \n"
LIST = b"/a/b.jpg /l/b.png 0 1 1 0\na/c.jpg /l/c.png 1 1 1 1\n\n"
YAML = b"""datasets:
  mine: {kind: culane, root: ., image_size: [80, 256], crop_top: 240}
  synthetic: {kind: synthetic, world: {seed: 0, train: 3}}
recipes:
  enet: &r
    network: {name: enet}
    teacher: {steps: 150, optimizer: {learning_rate: 0.01}}
    student: {steps: 600, threads: 1}
  other: *r
"""
KEYS = {
    "tusimple": ["raw_file", "lanes", "h_samples"],
    "bdd100k": ["name", "labels", "category", "attributes", "laneDirection", "poly2d", "vertices", "types"],
    "curvelanes": ["Lines", "x", "y"],
    "vil100": ["annotations", "lane", "points", "sequences", "name", "set"],
    "llamas": ["lanes", "lane_id", "world_start", "z", "markers", "pixel_start", "pixel_end", "x", "y"],
    "labelme": ["imagePath", "shapes", "shape_type", "points", "label", "imageWidth", "imageData"],
    "yaml": ["datasets", "recipes", "mine", "kind", "root", "image_size", "teacher", "student", "steps"],
}


def picture(kind: str) -> bytes:
    image = cv2.resize(np.random.default_rng(0).integers(0, 255, (4, 6, 3), np.uint8), (48, 32))
    return cv2.imencode(kind, image)[1].tobytes()


def tar(*members: tuple[str, bytes, bytes]) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, kind, content in members:
            info = tarfile.TarInfo(name)
            info.type, info.size, info.linkname = kind, len(content), "/etc/passwd"
            info.pax_headers = {"mtime": "1.5"}
            archive.addfile(info, io.BytesIO(content))
    return stream.getvalue()


MEMBERS = st.tuples(
    st.sampled_from(
        ["a.jpg", "a/b.txt", "../b.txt", "/b.txt", "a.jpg/b.txt", "a", "n" * 150 + ".jpg", "ü.jpg"]
    ),
    st.sampled_from(
        [tarfile.REGTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, b"S", b"L", b"x", b"g"]
    ),
    st.binary(max_size=40),
)
TARS = st.lists(MEMBERS, max_size=4).map(lambda members: tar(*members))


def jpeg_with(exif: bytes) -> bytes:
    start, segment = picture(".jpg"), b"Exif\0\0" + exif
    return start[:2] + b"\xff\xe1" + (len(segment) + 2).to_bytes(2) + segment + start[2:]


def png_with(exif: bytes) -> bytes:
    start, chunk = picture(".png"), b"eXIf" + exif
    return start[:33] + len(exif).to_bytes(4) + chunk + zlib.crc32(chunk).to_bytes(4) + start[33:]


def zipped(*members: tuple[str, int, bytes]) -> bytes:
    stream = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        warnings.simplefilter("ignore")  # names that are there twice
        for name, mode, content in members:
            info = zipfile.ZipInfo(name)
            info.external_attr = mode << 16
            archive.writestr(info, content)
    return stream.getvalue()


ZIP_MEMBERS = st.tuples(
    st.sampled_from(
        ["a.jpg", "a/b.txt", "../b.txt", "/b.txt", "..\\b.txt", "C:\\b.txt", "a.jpg/b.txt", "ü.jpg"]
    ),
    st.sampled_from([0, stat.S_IFREG, stat.S_IFLNK | 0o777, stat.S_IFDIR]),
    st.binary(max_size=40),
)
ZIPS = st.lists(ZIP_MEMBERS, max_size=4).map(lambda members: zipped(*members))
TIFF = b"MM\0*\0\0\0\x08\0\x02\x01\x0f\0\x02\0\0\0\x02A\0\0\0\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"
GZIPPED = zlib.compressobj(9, zlib.DEFLATED, 31)
