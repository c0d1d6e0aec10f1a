"""Fuzz tests of every parser: the result for any bytes is data or one clear error.

`LGAD_FUZZ=60 pytest -s tests/data/test_fuzz.py` tests each parser for 60 seconds instead of a few inputs.
"""

import os
import shutil
import time
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from lgad_pipeline.config.splits import SPLITS
from lgad_pipeline.data.frame_table import rejected_table
from lgad_pipeline.datasets import bdd100k, culane, curvelanes, llamas, tusimple, vil100
from lgad_pipeline.datasets.archive import unpack
from lgad_pipeline.datasets.images import image_size, read_image, read_small, whole_image_size
from lgad_pipeline.datasets.importing.convert import Format, convert
from lgad_pipeline.datasets.importing.summary import summary
from lgad_pipeline.datasets.picture_hash import picture_hash
from lgad_pipeline.datasets.reader import DatasetReader, FrameEntry
from lgad_pipeline.errors import LgadError
from lgad_pipeline.evaluation.llamas import annotated_points, match_lanes
from lgad_pipeline.evaluation.llamas_labels import reference_lanes
from lgad_pipeline.evaluation.tusimple import evaluate_tusimple
from lgad_pipeline.lanes.frame_list import read_frame_list
from lgad_pipeline.lanes.lane_files import MAX_COORDINATE, read_lanes
from lgad_pipeline.lanes.slots import assign_slots
from lgad_pipeline.settings import Settings
from tests.data.fuzz_inputs import (
    BDD100K,
    BOMB,
    CURVELANES,
    CVAT,
    GZIPPED,
    KEYS,
    LABELME,
    LANES,
    LIST,
    LLAMAS,
    TARS,
    TIFF,
    TRACK,
    TUSIMPLE,
    VIL100,
    VIL100_SPLITS,
    YAML,
    ZIPS,
    as_json,
    changed,
    jpeg_with,
    picture,
    png_with,
    tar,
)

SECONDS = float(os.environ.get("LGAD_FUZZ", "0"))


def check_lanes(found: list[np.ndarray]) -> None:
    """Check that lanes have the shape, type and range that later steps need."""
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


def reference(data: bytes, folder: Path) -> None:
    """Check the reference lanes of LLAMAS' metric, and that they can be compared."""
    lanes = annotated_points(reference_lanes(data))
    assert all(np.isfinite(lane).all() for lane in lanes)
    assert match_lanes(lanes[:2], lanes[:2]).fp >= 0


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
    "llamas reference lanes": (reference, changed([LLAMAS]) | as_json(KEYS["llamas"])),
    "curvelanes annotation": (annotation(curvelanes), changed([CURVELANES]) | as_json(KEYS["curvelanes"])),
    "curvelanes list": (list_reader(curvelanes, "train/train.txt"), changed([LIST])),
    "vil100 annotation": (annotation(vil100), changed([VIL100]) | as_json(KEYS["vil100"])),
    "vil100 list": (
        list_reader(vil100, "data/db_info.yaml"),
        changed([VIL100_SPLITS]) | as_json(KEYS["vil100"]),
    ),
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
