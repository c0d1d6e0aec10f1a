"""Writer of a synthetic data set in CULane's layout."""

import json
import multiprocessing
import os
import shutil
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import cv2
import numpy as np

from lgad_pipeline.atomic_files import atomic_path, write_text
from lgad_pipeline.code_fingerprint import code_fingerprint
from lgad_pipeline.config.splits import SPLITS, Scenario
from lgad_pipeline.config.synthetic import SPLIT_START, SyntheticConfig, scenario_plan
from lgad_pipeline.errors import LgadError
from lgad_pipeline.lanes.lane_files import lane_file, read_lanes, write_lanes
from lgad_pipeline.lanes.lane_types import types_file, types_text
from lgad_pipeline.lanes.slots import assign_slots
from lgad_pipeline.progress import Progress
from lgad_pipeline.synthetic.render import render

STAMP = "synthetic.json"
FRAMES_IN_CLIP = 30
CLIPS_OF_DRIVER = 10

#: File names of CULane's test categories.
CATEGORY_FILES: dict[Scenario, str] = {
    "normal": "test0_normal.txt",
    "crowd": "test1_crowd.txt",
    "dazzle": "test2_hlight.txt",
    "shadow": "test3_shadow.txt",
    "noline": "test4_noline.txt",
    "arrow": "test5_arrow.txt",
    "curve": "test6_curve.txt",
    "crossroad": "test7_cross.txt",
    "night": "test8_night.txt",
}

_FIRST_DRIVER = {"train": 1, "val": 40_001, "test": 80_001}


@dataclass(frozen=True)
class _Task:
    """Frame to render and write.

    Attributes:
        root: folder of the data set.
        frame: path of the JPEG file relative to the root.
        seed: seed of the world.
        index: index of the frame in the world.
        scenario: CULane's test category.
    """

    root: Path
    frame: str
    seed: int
    index: int
    scenario: Scenario


def frame_path(split: str, number: int) -> str:
    """Return the path of a split's frame relative to the root; splits have no driver in common.

    Args:
        split: train, val or test.
        number: number of the frame in the split, from 0.
    """
    clip, position = divmod(number, FRAMES_IN_CLIP)
    driver = _FIRST_DRIVER[split] + clip // CLIPS_OF_DRIVER
    return f"driver_{driver}_30frame/{clip:08d}_{clip % 10_000:04d}.MP4/{position * 30:05d}.jpg"


def _write_frame(task: _Task) -> None:
    """Render one frame; write its lane file and types, then its JPEG file, which marks it as finished."""
    scene = render(task.seed, task.index, task.scenario)
    path = task.root / task.frame
    write_lanes(lane_file(task.root, task.frame), scene.lanes)
    write_text(_types_path(task), types_text(scene.types), durable=False)
    quality = int(np.random.default_rng([task.seed, task.index, 1]).integers(70, 94))
    _, jpeg = cv2.imencode(".jpg", scene.image, [cv2.IMWRITE_JPEG_QUALITY, quality])
    with atomic_path(path, durable=False) as temporary:
        temporary.write_bytes(jpeg.tobytes())


def _write_frames(tasks: list[_Task]) -> int:
    """Write frames in a worker process; return their number."""
    cv2.setNumThreads(1)  # there is one process a core already
    for task in tasks:
        _write_frame(task)
    return len(tasks)


def _types_path(task: _Task) -> Path:
    """Return the path of the file of lane types; it exists also where no type is known."""
    return Path(types_file(str(lane_file(task.root, task.frame))) or "")


def _done(task: _Task) -> bool:
    """Return true if the frame, its lane file and its file of lane types exist."""
    files = (task.root / task.frame, lane_file(task.root, task.frame), _types_path(task))
    return all(file.exists() for file in files)


def _stamp(config: SyntheticConfig) -> str:
    """Return the content of the stamp file: the configuration and the fingerprint of the renderer's code."""
    renderer = code_fingerprint(f"{__name__}:_write_frame")
    return json.dumps({"config": config.model_dump(), "renderer": renderer}, indent=2) + "\n"


def _prepare(root: Path, stamp: str) -> None:
    """Remove the frames of another stamp from the root; raise an error for a folder with foreign files."""
    marker = root / STAMP
    if marker.is_file():
        if marker.read_text(encoding="utf-8") == stamp:
            return
        for folder in [*root.glob("driver_*_30frame"), root / "list"]:
            shutil.rmtree(folder, ignore_errors=True)
    elif root.exists() and (not root.is_dir() or any(root.iterdir())):
        raise LgadError(
            f"{root} holds files that the synthetic data set did not write; name an empty or a new folder."
        )
    write_text(marker, stamp)


def _chunks(tasks: list[_Task], size: int) -> Iterator[list[_Task]]:
    iterator = iter(tasks)
    while chunk := list(islice(iterator, size)):
        yield chunk


def _gt_line(root: Path, frame: str) -> str:
    """Return a frame's line of `train_gt.txt`: frame, label map, existence flags of the four slots."""
    existence = assign_slots(read_lanes(lane_file(root, frame))).existence
    flags = " ".join(str(int(flag)) for flag in existence)
    return f"/{frame} /laneseg_label_w16/{frame.removesuffix('.jpg')}.png {flags}\n"


def _write_lists(root: Path, frames: dict[str, list[str]], plans: dict[str, list[Scenario]]) -> None:
    lists = root / "list"
    for split in SPLITS:
        write_text(lists / f"{split}.txt", "".join(f"/{frame}\n" for frame in frames[split]))
    for split in ("train", "val"):
        lines = [_gt_line(root, frame) for frame in frames[split]]
        write_text(lists / f"{split}_gt.txt", "".join(lines))
    for scenario, name in CATEGORY_FILES.items():
        chosen = [
            frame for frame, kind in zip(frames["test"], plans["test"], strict=True) if kind == scenario
        ]
        write_text(lists / "test_split" / name, "".join(f"{frame}\n" for frame in chosen))


def write_dataset(
    root: Path,
    config: SyntheticConfig,
    workers: int | None = None,
    progress: Progress | None = None,
) -> None:
    """Write a synthetic data set, or complete one after an interrupted run.

    Finished frames are kept. If the configuration or the behaviour of the renderer has changed, all frames
    are rendered again. The result does not depend on `workers` or on interruptions. The lists are written
    last, so that their existence means a complete data set. `train_gt.txt` and `val_gt.txt` name label maps
    as CULane's lists do; the label maps are not written.

    Args:
        root: folder for this data set alone.
        config: seed and sizes of the splits.
        workers: number of processes; None for one a core. More than one are started as new interpreters, so
            that a script must call this function under `if __name__ == "__main__"`.
        progress: function called with the number of frames done and the number of all frames.

    Raises:
        LgadError: `root` holds files of another origin, or cannot be written to.
    """
    _prepare(root, _stamp(config))
    plans = {split: scenario_plan(config, split) for split in SPLITS}
    frames = {split: [frame_path(split, i) for i in range(len(plans[split]))] for split in SPLITS}
    tasks = [
        _Task(root, frame, config.seed, SPLIT_START[split] + i, scenario)
        for split in SPLITS
        for i, (frame, scenario) in enumerate(zip(frames[split], plans[split], strict=True))
    ]
    missing = [task for task in tasks if not _done(task)]
    done = len(tasks) - len(missing)
    report = progress or (lambda done, total: None)
    report(done, len(tasks))
    if not missing and (root / "list" / "test_split" / CATEGORY_FILES["night"]).exists():
        return  # the last file of all
    count = min(workers or os.cpu_count() or 1, max(1, len(missing) // 8))
    if count == 1:
        for task in missing:
            _write_frame(task)
            done += 1
            report(done, len(tasks))
    else:
        # Each worker is a new interpreter: a fork would copy locks that threads of torch and OpenCV hold.
        with ProcessPoolExecutor(count, mp_context=multiprocessing.get_context("spawn")) as pool:
            pending = {pool.submit(_write_frames, chunk) for chunk in _chunks(missing, 8)}
            try:
                while pending:
                    finished, pending = wait(pending, return_when=FIRST_COMPLETED)
                    for future in finished:
                        done += future.result()
                        report(done, len(tasks))
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise
    _write_lists(root, frames, plans)
