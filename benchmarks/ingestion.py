"""Time and memory of the ingestion of a data set as large as CULane.

python benchmarks/ingestion.py FOLDER [--frames 133235]

FOLDER gets a generated tree in CULane's layout with as many frames and list lines as CULane: JPEGs of
328 x 118 px, each with a different picture, and hard-linked lane files of CULane's length. It is kept
for the next call. Each ingestion runs in its own process, whose peak memory is printed, and that of its
worker processes with it.
"""

import argparse
import contextlib
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from resource import RUSAGE_SELF, getrusage

import cv2
import numpy as np
import psutil

SIZE = (118, 328)
SHARES = {"train": 88_880, "val": 9_675, "test": 34_680}  # CULane's frames
LANE_FILES = 64


def generate(root: Path, count: int) -> None:
    """Write the tree; a frame that is there is left as it is."""
    generator = np.random.default_rng(0)
    (root / "list/test_split").mkdir(parents=True, exist_ok=True)
    (root / "lanes").mkdir(exist_ok=True)
    for number in range(LANE_FILES):
        (root / f"lanes/{number}.txt").write_text("".join(lane(generator) for _ in range(number % 5)))
    for split, share in SHARES.items():
        frames = []
        for number in range(round(count * share / sum(SHARES.values()))):
            frame = f"driver_{split}/{number // 1000:05d}.MP4/{number % 1000:05d}.jpg"
            frames.append(frame)
            small = generator.integers(0, 255, (6, 10, 3), np.uint8)
            path = root / frame
            if path.with_suffix(".lines.txt").exists():
                continue
            path.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(path), cv2.resize(small, SIZE[::-1]), [cv2.IMWRITE_JPEG_QUALITY, 60])
            os.link(root / f"lanes/{number % LANE_FILES}.txt", path.with_suffix(".lines.txt"))
        lines = (
            frames if split == "test" else [f"{frame} /laneseg/{frame[:-4]}.png 0 1 1 0" for frame in frames]
        )
        (root / f"list/{split}{'' if split == 'test' else '_gt'}.txt").write_text(
            "/" + "\n/".join(lines) + "\n"
        )
        if split == "test":
            (root / "list/test_split/test0_normal.txt").write_text("\n".join(frames[::2]))
            (root / "list/test_split/test8_night.txt").write_text("\n".join(frames[1::2]))


def lane(generator: np.random.Generator) -> str:
    """Draw a random lane as a line of a lane file, with the length of CULane's lanes."""
    rows = np.arange(SIZE[0] - 1, 40, -2.5)
    xs = generator.uniform(40, 280) + generator.uniform(-1, 1) * (SIZE[0] - rows)
    return " ".join(f"{x:.3f} {y:.1f}" for x, y in zip(xs, rows, strict=True)) + " \n"


def watch(largest: list[float]) -> None:
    """Keep the greatest memory of this process and its children in `largest[0]`, MB, shared pages once."""
    process = psutil.Process()
    while True:
        used = 0
        for one in (process, *process.children()):
            with contextlib.suppress(psutil.Error):
                used += one.memory_full_info().pss
        largest[0] = max(largest[0], used / 1e6)
        time.sleep(0.5)


def measure(root: Path, table: Path) -> None:
    """Ingest once and tell."""
    # Worker processes import this file, too, and need less than these modules.
    from lgad_pipeline.data.frame_schema import FRAMES_SCHEMA
    from lgad_pipeline.data.frame_table import read_table, write_table
    from lgad_pipeline.data.ingestion import ingest

    largest = [0.0]
    threading.Thread(target=watch, args=(largest,), daemon=True).start()
    start = time.perf_counter()
    previous = read_table(table) if table.exists() else None
    found = ingest(root, SIZE, previous=previous)
    write_table(table, found.frames, schema=FRAMES_SCHEMA)
    seconds = time.perf_counter() - start
    peak = getrusage(RUSAGE_SELF).ru_maxrss / 1024
    print(
        f"{len(found.frames)} frames, {len(found.rejected)} rejected, {found.changes.unchanged} unchanged: "
        f"{seconds:.1f} s ({time.process_time():.1f} s of processor time), "
        f"{len(found.frames) / seconds:.0f} frames/s, {peak:.0f} MB at most, and in all processes together "
        f"{largest[0]:.0f} MB"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--frames", type=int, default=sum(SHARES.values()))
    parser.add_argument("--measure", action="store_true", help=argparse.SUPPRESS)
    choice = parser.parse_args()
    root, table = choice.folder / "data", choice.folder / "frames.parquet"
    if choice.measure:
        return measure(root, table)
    generate(root, choice.frames)
    table.unlink(missing_ok=True)
    for what in ("first", "second, nothing changed"):
        print(f"{what}: ", end="", flush=True)
        subprocess.run([sys.executable, __file__, str(choice.folder), "--measure"], check=True)
    return None


if __name__ == "__main__":
    main()
