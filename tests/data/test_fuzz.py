"""Every parser against bytes that nobody meant: the answer is data or one clear error, never anything else.

`LGAD_FUZZ=60 pytest -s tests/data/test_fuzz.py` gives each parser so many seconds instead of a moment.
"""

import io
import json
import os
import shutil
import stat
import tarfile
import time
import warnings
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from lgad_pipeline.config.splits import SPLITS
from lgad_pipeline.data.duplicates import picture_hash
from lgad_pipeline.data.frame_table import rejected_table
from lgad_pipeline.datasets import bdd100k, culane, llamas, tusimple
from lgad_pipeline.datasets.archive import unpack
from lgad_pipeline.datasets.images import image_size, read_image, read_small, whole_image_size
from lgad_pipeline.datasets.importing.convert import Format, convert
from lgad_pipeline.datasets.importing.summary import summary
from lgad_pipeline.datasets.reader import DatasetReader, FrameEntry
from lgad_pipeline.errors import LgadError
from lgad_pipeline.evaluation.tusimple import evaluate_tusimple
from lgad_pipeline.lanes.frame_list import read_frame_list
from lgad_pipeline.lanes.lane_files import MAX_COORDINATE, read_lanes
from lgad_pipeline.lanes.slots import assign_slots
from lgad_pipeline.settings import Settings

SECONDS = float(os.environ.get("LGAD_FUZZ", "0"))
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
    """A sound input, cut, doubled, and with pieces of it replaced; or any bytes."""
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
    """Values as JSON and YAML have them, whose keys a parser looks for."""
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
MARKER = {"pixel_start": {"x": "5", "y": "700"}, "pixel_end": {"x": "9", "y": "600"}}
LLAMAS = json.dumps({"lanes": [{"lane_id": "l0", "markers": [MARKER, MARKER]}]}).encode()
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
    "llamas": ["lanes", "markers", "pixel_start", "pixel_end", "x", "y"],
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


def check_lanes(found: list[np.ndarray]) -> None:
    """Lanes that what follows can work on."""
    for lane in found:
        assert lane.ndim == 2 and lane.shape[1] == 2 and lane.dtype == np.float32
        assert (np.abs(lane) <= MAX_COORDINATE).all()
    assign_slots(found[:50], (118, 328))


def check_entries(entries: list[FrameEntry], root: Path, rejected: list) -> None:
    for entry in entries:
        assert entry.split in SPLITS and (root / entry.frame).resolve().is_relative_to(root.resolve())
    rejected_table(rejected)


def list_reader(kind: DatasetReader, name: str) -> Callable[[bytes, Path], None]:
    """Return a check of how a kind reads a list file with any content."""

    def check(data: bytes, folder: Path) -> None:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        rejected: list = []
        found = kind.list_frames(folder, rejected)
        check_entries(found, folder, rejected)
        for entry in found:
            if isinstance(entry.annotation, bytes):
                annotation(kind)(entry.annotation, folder)

    return check


def annotation(kind: DatasetReader) -> Callable[[bytes, Path], None]:
    def check(data: bytes, folder: Path) -> None:
        check_lanes(kind.parse_annotation(data))

    return check


def importer(annotations: Format, name: str) -> Callable[[bytes, Path], None]:
    def check(data: bytes, folder: Path) -> None:
        source, output = folder / "deep/source", folder / "deep/output"
        source.mkdir(parents=True)
        (source / name).write_bytes(data)
        (source / "a.jpg").write_bytes(picture(".jpg"))
        try:
            done = convert(source, output, annotations=annotations)
        finally:
            assert [path.name for path in folder.iterdir()] == ["deep"]
            assert {path.name for path in (folder / "deep").iterdir()} <= {"source", "output"}
        check_lanes(done.lanes)
        assert all(str(sentence) for sentence in summary(done))
        rejected_table(done.rejected)

    return check


def check_culane_lists(data: bytes, folder: Path) -> None:
    (folder / "list/test_split").mkdir(parents=True, exist_ok=True)
    for name in ("val_gt", "test", "test_split/test0_normal"):
        (folder / f"list/{name}.txt").write_bytes(data)
    list_reader(culane, "list/train_gt.txt")(data, folder)


def check_lane_file(data: bytes, folder: Path) -> None:
    (folder / "a.lines.txt").write_bytes(data)
    check_lanes(read_lanes(folder / "a.lines.txt", []))
    check_lanes(read_lanes(folder / "a.lines.txt"))


def check_frame_list(data: bytes, folder: Path) -> None:
    (folder / "a.txt").write_bytes(data)
    found = read_frame_list(folder / "a.txt", folder)
    assert len(set(found.frames)) == len(found.frames)
    for entry in found.entries:
        assert (folder / entry.frame).resolve().is_relative_to(folder.resolve())
        assert entry.flags is None or set(entry.flags) <= {0, 1}
    rejected_table([*found.rejected, *found.repeats])


def check_tusimple_metric(data: bytes, folder: Path) -> None:
    (folder / "a.json").write_bytes(TUSIMPLE)
    (folder / "p.json").write_bytes(data)
    for pair in (("a.json", "p.json"), ("p.json", "p.json")):
        try:
            scores = evaluate_tusimple(*(folder / name for name in pair))
            assert all(value >= 0 for value in (scores.accuracy, scores.fp, scores.fn))
        except LgadError:
            pass


def check_image(data: bytes, folder: Path) -> None:
    height, width = image_size(data)
    if height * width <= 1 << 20:  # ingestion compares the size with the declared one before it decodes
        assert read_image(data).ndim == 3
        hashed = picture_hash(read_small(data))
        assert hashed is None or len(hashed) == 64


def check_exif(data: bytes, folder: Path) -> None:
    """Any EXIF, in a JPEG and in a PNG: the header and the decoded image agree on the size."""
    for image in (jpeg_with(data[:65000]), png_with(data)):
        (folder / "a").write_bytes(image)
        size = image_size(image)
        assert size == image_size(folder / "a") == whole_image_size(image) == read_image(image).shape[:2]
        assert size in ((32, 48), (48, 32))


def check_archive(data: bytes, folder: Path) -> None:
    """Nothing is written but below the output, and that is plain files."""
    packer = zlib.compressobj(1, zlib.DEFLATED, 31)  # with a gzip header
    check_any_archive(packer.compress(data) + packer.flush(), folder)


def check_any_archive(data: bytes, folder: Path) -> None:
    """The same of an archive of any form, whole and in two parts."""
    source, output = folder / "source", folder / "deep/output"
    for path in (source, output):
        path.mkdir(parents=True, exist_ok=True)
    (source / "x.tar.gz").write_bytes(data)
    half = len(data) // 2
    for number, part in enumerate((data[:half], data[half:])):
        (source / f"y.zip.00{number}").write_bytes(part)
    rejected_table(unpack(source, output).rejected)
    assert all(path.is_dir() or (path.is_file() and not path.is_symlink()) for path in folder.rglob("*"))
    assert [path.name for path in folder.iterdir() if path.name not in ("source", "deep")] == []
    assert [path.name for path in (folder / "deep").iterdir()] == ["output"]


def check_damaged_archive(data: bytes, folder: Path) -> None:
    (folder / "x.tar.gz").write_bytes(data)
    rejected_table(unpack(folder, folder / "output").rejected)


def check_settings(data: bytes, folder: Path) -> None:
    (folder / "lgad.yaml").write_bytes(data)
    try:
        Settings.load(folder / "lgad.yaml")
    except LgadError as error:
        assert len(str(error)) < 20_000
        raise


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
PARSERS: dict[str, tuple[Callable[[bytes, Path], None], st.SearchStrategy[bytes]]] = {
    "lane file": (check_lane_file, changed([LANES])),
    "culane annotation": (annotation(culane), changed([LANES])),
    "culane lists": (check_culane_lists, changed([LIST, b"a/b.jpg\n/a/c.jpg"])),
    "list of frames": (
        check_frame_list,
        changed([LIST, "a b/c.jpg\r\n".encode("utf-16"), b'"a b.jpg",l.png;0\rC:\\x.jpg\n'])
        | st.text(max_size=60).map(lambda text: text.encode("utf-8", "surrogatepass")),
    ),
    "tusimple list": (
        list_reader(tusimple, "label_data_1.json"),
        changed([TUSIMPLE + b"\n" + TUSIMPLE]) | as_json(KEYS["tusimple"]),
    ),
    "tusimple annotation": (annotation(tusimple), changed([TUSIMPLE]) | as_json(KEYS["tusimple"])),
    "tusimple metric": (
        check_tusimple_metric,
        changed([TUSIMPLE]) | as_json([*KEYS["tusimple"], "run_time"]),
    ),
    "bdd100k list": (
        list_reader(bdd100k, "labels/lane/polygons/lane_train.json"),
        changed([BDD100K]) | as_json(KEYS["bdd100k"]).map(lambda item: b"[" + item + b"]"),
    ),
    "llamas annotation": (annotation(llamas), changed([LLAMAS]) | as_json(KEYS["llamas"])),
    "labelme": (importer(Format.LABELME, "a.json"), changed([LABELME]) | as_json(KEYS["labelme"])),
    "cvat": (importer(Format.CVAT, "annotations.xml"), changed([CVAT, TRACK, BOMB])),
    "images": (check_image, changed([picture(".jpg"), picture(".png")])),
    "exif": (check_exif, changed([TIFF, TIFF.replace(b"MM\0*", b"II*\0")])),
    "zip archives": (check_any_archive, ZIPS | ZIPS.flatmap(lambda one: changed([one]))),
    "tar archives": (check_any_archive, TARS.flatmap(lambda one: changed([one]))),
    "archives": (check_archive, TARS | st.sampled_from([tar()]).flatmap(lambda one: changed([one]))),
    "damaged archives": (
        check_damaged_archive,
        changed([GZIPPED.compress(tar(("a.jpg", b"0", b"x"))) + GZIPPED.flush()]),
    ),
    "lgad.yaml": (check_settings, changed([YAML]) | as_json(KEYS["yaml"])),
}


@pytest.mark.parametrize("name", PARSERS)
def test_any_bytes_are_data_or_one_clear_error(name, tmp_path):
    check, inputs = PARSERS[name]
    until = time.monotonic() + SECONDS
    runs = 0

    @settings(
        max_examples=200 if SECONDS else 40,
        deadline=None,
        database=None,
        derandomize=not SECONDS,
        phases=(Phase.generate, Phase.shrink),
        suppress_health_check=[
            HealthCheck.too_slow,
            HealthCheck.data_too_large,
            HealthCheck.large_base_example,
        ],
    )
    @given(data=inputs)
    def run(data: bytes) -> None:
        nonlocal runs
        runs += 1
        folder = tmp_path / "input"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        try:
            check(data, folder)
        except LgadError as error:
            assert str(error).strip()

    run()
    while time.monotonic() < until:
        run()
    if SECONDS:
        print(f"{name}: {runs} inputs")
