"""Timing of lane geometry against a plain implementation that draws every lane on a full canvas.

    python benchmarks/geometry.py [--frames 300] [--official EVALUATE] [--official-labels GENERATE]
                                  [--full-list FILE]

The annotations and predictions are synthetic, 2.4 lanes a frame on each side. `--official` and
`--official-labels` name binaries of lane_evaluation and seg_label_generate to time on the same files;
`--full-list` evaluates synthetic lanes for every entry of a list on all cores. Otherwise one core is used,
and the figures are its processor time: the least of three rounds, programs in turn.
"""

import argparse
import os
import resource
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np

from lgad_pipeline.evaluation.culane import LaneScores, evaluate_culane
from lgad_pipeline.evaluation.lane_matching import match
from lgad_pipeline.lanes.frame_list import read_frame_list
from lgad_pipeline.lanes.lane_files import lane_file, read_lanes, write_lanes
from lgad_pipeline.lanes.rendering.label_map import round_to_pixels
from lgad_pipeline.lanes.rendering.label_tool import rasterize
from lgad_pipeline.lanes.slots import assign_slots
from lgad_pipeline.lanes.spline import ragged, sample_steps, sample_times

SIZE = (590, 1640)


def made_up_lanes(rng: np.random.Generator) -> list[np.ndarray]:
    ys = np.arange(590, 590 - 10 * rng.integers(20, 34), -10.0)
    up = (590 - ys) / 340
    count = rng.choice([0, 2, 3, 4], p=[0.15, 0.35, 0.3, 0.2])
    bottoms = rng.choice([-300, 350, 1150, 1900], count, replace=False)
    lanes = [
        start + (820 + 0.1 * (start - 820) - start) * up + 60 * rng.normal() * up**2 for start in bottoms
    ]
    return [np.stack([xs, ys], axis=1).astype(np.float32) for xs in lanes]


def write_lane_files(root: Path, frames: list[str]) -> None:
    rng = np.random.default_rng(0)
    for frame in frames:
        lanes = made_up_lanes(rng)
        write_lanes(lane_file(root / "anno", frame), lanes)
        write_lanes(lane_file(root / "pred", frame), [lane + rng.normal(0, [4, 0.2], 2) for lane in lanes])


def plain_mask(points: np.ndarray, width: int) -> np.ndarray:
    mask = np.zeros(SIZE, np.uint8)
    ends = round_to_pixels(points).tolist()
    for begin, end in pairwise(ends):
        cv2.line(mask, begin, end, 1, width)
    return mask


def plain_evaluation(root: Path, frames: list[str]) -> int:
    matches = 0
    for frame in frames:
        annotated, predicted = (read_lanes(lane_file(root / side, frame)) for side in ("anno", "pred"))
        ious = np.zeros((len(annotated), len(predicted)))
        for i, first in enumerate(annotated):
            for j, second in enumerate(predicted):
                masks = [plain_mask(next(iter(sample_times(ragged([lane])))), 30) for lane in (first, second)]
                ious[i, j] = (masks[0] & masks[1]).sum() / (masks[0] | masks[1]).sum()
        partner = match(ious)
        matches += int((ious[np.arange(len(annotated)), partner] > 0.5).sum()) if ious.size else 0
    return matches


def plain_labels(root: Path, frames: list[str]) -> None:
    for number, frame in enumerate(frames):
        slots = assign_slots(read_lanes(lane_file(root / "anno", frame)))
        picture = np.zeros(SIZE, np.uint8)
        for slot in np.flatnonzero(slots.existence).tolist():
            ends = round_to_pixels(next(iter(sample_steps(ragged([slots.points(slot)]))))).tolist()
            for begin, end in pairwise(ends):
                cv2.line(picture, begin, end, slot + 1, 16)
        cv2.imwrite(str(root / f"{number}.png"), picture)


def spent(*runs: Callable[[], object]) -> list[float]:
    """Processor seconds of each run and its child processes, the least of three rounds in turn."""
    rounds = [[_processor_seconds(run) for run in runs] for _ in range(3)]
    return [min(times) for times in zip(*rounds, strict=True)]


def _processor_seconds(run: Callable[[], object]) -> float:
    before = _processor_time()
    run()
    return _processor_time() - before


def _processor_time() -> float:
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def time_evaluation(root: Path, frames: list[str], official: Path | None) -> None:
    def library() -> LaneScores:
        return evaluate_culane(root / "anno", root / "pred", lists={"all": frames}, workers=1)

    def official_tool(binary: Path) -> None:
        words = ["-a", root / "anno", "-d", root / "pred", "-l", root / "l.txt", "-o", root / "o.txt"]
        _run(binary, [*words, "-w", "30", "-t", "0.5", "-c", "1640", "-r", "590"])

    few = frames[:64]
    assert plain_evaluation(root, few) == library().frames["tp_0.5"][: len(few)].sum()
    times = spent(library, *([partial(official_tool, official)] if official else []))
    report("evaluation", len(frames), times, spent(lambda: plain_evaluation(root, few))[0] / len(few))


def time_label_maps(root: Path, frames: list[str], official: Path | None) -> None:
    def library() -> None:
        rasterize(root / "anno", frames, output=Path(tempfile.mkdtemp(dir=root)), workers=1)

    def official_tool(binary: Path) -> None:
        # Into an empty folder: the tool leaves files that exist as they are.
        words = ["-m", "imgLabel", "-w", "16", "-l", root / "l.txt", "-d", root / "anno"]
        _run(binary, [*words, "-o", tempfile.mkdtemp(dir=root)])

    few = frames[:64]
    times = spent(library, *([partial(official_tool, official)] if official else []))
    report("label maps", len(frames), times, spent(lambda: plain_labels(root, few))[0] / len(few))


def _run(binary: Path, words: Sequence[str | Path]) -> None:
    without_display = {**os.environ, "QT_QPA_PLATFORM": "offscreen"}  # they link OpenCV's windows
    subprocess.run([binary.resolve(), *words], capture_output=True, check=True, env=without_display)


def report(name: str, frames: int, times: list[float], plain: float) -> None:
    library, *official = (seconds / frames for seconds in times)
    line = f"{name}: {1e3 * library:.2f} ms a frame; plain {1e3 * plain:.2f}, {plain / library:.1f} x"
    print(line + "".join(f"; official {1e3 * tool:.2f}, {tool / library:.1f} x" for tool in official))


def time_full_list(root: Path, frames: list[str]) -> None:
    write_lane_files(root, frames)
    begin = time.perf_counter()
    evaluate_culane(root / "anno", root / "pred", lists={"all": frames})
    seconds = time.perf_counter() - begin
    who = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    own, child = (resource.getrusage(process).ru_maxrss / 1024 for process in who)
    print(f"{len(frames)} frames on all cores: {seconds:.1f} s; {own:.0f} MB here, {child:.0f} MB a worker")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--frames", type=int, default=300)
    parser.add_argument("--official", type=Path)
    parser.add_argument("--official-labels", type=Path)
    parser.add_argument("--full-list", type=Path)
    choice = parser.parse_args()
    cv2.setNumThreads(1)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        frames = [f"d/{number:05d}.jpg" for number in range(choice.frames)]
        write_lane_files(root, frames)
        (root / "l.txt").write_text("".join(f"/{frame}\n" for frame in frames))
        time_evaluation(root, frames, choice.official)
        time_label_maps(root, frames, choice.official_labels)
        if choice.full_list:
            time_full_list(root / "full", read_frame_list(choice.full_list, root).frames)


if __name__ == "__main__":
    main()
