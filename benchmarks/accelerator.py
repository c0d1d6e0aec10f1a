"""Check of a GPU: results against the CPU's, resuming, and speed. One command, under eight minutes.

    python benchmarks/accelerator.py --output accelerator

Each section writes `<output>/<section>.json`; a section that has passed on this machine is skipped, so that a
stopped check is resumed. The exit code is 1 if a section failed. `--sections equal,speed` runs some of them.
Without a GPU, `--device cpu --quick` runs the sections that need none, at small size.
"""

import argparse
import json
import os
import statistics
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerator_setup import Check, with_lgad_until, without_dropout
from training_step import plain_loop

from lgad_pipeline.atomic_files import write_text
from lgad_pipeline.config.augmentation import AugmentationConfig
from lgad_pipeline.config.decoding import DecodeConfig
from lgad_pipeline.data.augmentation import augment
from lgad_pipeline.data.loader import Loader
from lgad_pipeline.data.random_amounts import batch_generator
from lgad_pipeline.data.shards import ShardSet
from lgad_pipeline.inference.frame_predictor import Lane
from lgad_pipeline.inference.predictor import LanePredictor, write_predictor
from lgad_pipeline.networks.registry import build_network
from lgad_pipeline.training.plan import TrainingPlan
from lgad_pipeline.training.stop import TrainingStopped
from lgad_pipeline.training.trainer import train

METHODS = ("alone", "lgad", "sad", "logits", "joint", "blurred", "label-head")
LOSS_BOUND = 1e-3  # relative difference of a loss from the CPU's
GREY_BOUND = 1  # difference of an augmented image from the CPU's, grey levels
PROBABILITY_BOUND = 1e-3  # difference of a probability from the CPU's
PIXEL_SHARE_BOUND = 1e-3  # share of the probabilities that may differ more: see `prediction`
LANE_BOUND = 1.0  # distance of a lane from the CPU's, frame pixels


def equal(check: Check) -> dict[str, Any]:
    """Losses of six steps of all networks and methods against the CPU's, in float32 and without dropout."""
    networks = ("enet",) if check.quick else ("enet", "erfnet", "resnet18")
    rows = {}
    for network in networks:
        for method in METHODS:
            curves = []
            for device in ("cpu", check.device):
                plan = check.plan(
                    (64, 160), network, method, device=device, steps=6, batch_size=4, log_every=1
                )
                with without_dropout():
                    curves.append(train(plan, device=device).history["train/loss"].to_numpy())  # type: ignore[arg-type]
            first, last = (np.abs(curves[1] / curves[0] - 1)[index] for index in (0, -1))
            rows[f"{network} {method}"] = {"first_step": float(first), "last_step": float(last)}
    worst = max(row["first_step"] for row in rows.values())
    return {"bound": LOSS_BOUND, "worst_first_step": worst, "passed": worst <= LOSS_BOUND, "rows": rows}


def augmentation(check: Check) -> dict[str, Any]:
    """Augmented batches against the CPU's."""
    _, shards = check.data((80, 256))
    worst, share = 0, 0.0
    for step in range(8):
        batch = Loader(ShardSet.open(shards)["train"], 16, seed=0).batch(step)
        images = []
        for device in ("cpu", check.device):
            changed = augment(batch.to(device), AugmentationConfig(), batch_generator(0, step))
            images.append((changed.image.cpu().int(), changed.label.cpu().int()))
        worst = max(worst, int((images[0][0] - images[1][0]).abs().max()))
        share = max(share, float((images[0][1] != images[1][1]).float().mean()))
    return {"bound": GREY_BOUND, "worst": worst, "label_pixels": share, "passed": worst <= GREY_BOUND}


def graphs(check: Check) -> dict[str, Any]:
    """Losses with CUDA graphs against those without, alone and with LGAD that stops in between."""
    rows = {}
    for method in ("alone", "lgad", "label-head"):
        curves = []
        for captured in (False, True):
            plan = check.plan(
                (64, 160),
                "enet",
                method,
                device=check.device,
                steps=24,
                batch_size=4,
                log_every=1,
                cuda_graphs=captured,
            )
            plan = with_lgad_until(plan, 12)
            curves.append(train(plan, device=check.device).history["train/loss"].to_numpy())  # type: ignore[arg-type]
        rows[method] = {
            "first_replays": float(np.abs(curves[1] / curves[0] - 1)[:6].max()),
            "all": float(np.abs(curves[1] / curves[0] - 1).max()),
        }
    worst = max(row["first_replays"] for row in rows.values())
    return {"bound": LOSS_BOUND, "passed": worst <= LOSS_BOUND, "rows": rows}


def resume(check: Check) -> dict[str, Any]:
    """Training that is stopped at step 12 of 20 and resumed, against an uninterrupted one."""
    losses = []
    for stop in (None, 12):
        plan = check.plan(
            (64, 160),
            "enet",
            "lgad",
            device=check.device,
            steps=20,
            batch_size=4,
            log_every=1,
            checkpoint_seconds=0,
        )

        steps = [0]
        options = {"device": check.device, "log": lambda _, step, seen=steps: seen.append(step)}
        try:
            result = train(
                plan, **options, stop=lambda last=stop, seen=steps: last is not None and seen[-1] >= last
            )
        except TrainingStopped:
            result = train(plan, **options)
        losses.append(result.history["train/loss"].to_numpy())
    difference = float(np.abs(losses[1] / losses[0] - 1).max())
    return {"largest_difference": difference, "bound": 0.05, "passed": difference <= 0.05}


def speed(check: Check) -> dict[str, Any]:
    """Measure the steps per second of whole trainings, and of a plain loop on decoded batches."""
    size, batch_size, steps = ((64, 160), 4, 12) if check.quick else ((288, 800), 20, 60)
    networks = ("enet",) if check.quick else ("enet", "erfnet", "resnet18", "resnet34")
    rows: dict[str, Any] = {}
    _, shards = check.data(size)
    loader = Loader(ShardSet.open(shards)["train"], batch_size, seed=0)
    kept = [loader.batch(step) for step in range(2)]
    for network in networks:
        plan = check.plan(size, network, "alone", device=check.device)
        loop = plain_loop(build_network(plan.network), (kept[n % 2] for n in range(steps)), check.device)
        rows[f"{network} plain loop"] = {"steps_per_second": _rate(loop, steps)}
        for method in ("alone", "lgad"):
            for captured in (False, True):
                plan = check.plan(
                    size,
                    network,
                    method,
                    device=check.device,
                    steps=steps,
                    batch_size=batch_size,
                    precision="auto",
                    cuda_graphs=captured,
                    loader_threads=8,
                    log_every=steps // 4,
                    validate_every=steps,
                )
                name = f"{network} {method}{', CUDA graphs' if captured else ''}"
                rows[name] = _attempt(lambda plan=plan: _rates(plan, check.device))
        print(json.dumps({name: row for name, row in rows.items() if name.startswith(network)}), flush=True)
    return {"image_size": size, "batch_size": batch_size, "rows": rows}


def _rate(loop: Iterator[None], steps: int) -> float:
    for _ in range(steps // 4):
        next(loop)
    start = time.perf_counter()
    count = sum(1 for _ in loop)
    return count / (time.perf_counter() - start)


def _rates(plan: TrainingPlan, device: str) -> dict[str, float]:
    """Train; return the rates of the third quarter of the steps, and how busy the GPU was in it."""
    busy: list[tuple[float, int]] = []
    logged: list[float] = []
    ended = threading.Event()

    def sample() -> None:
        while device == "cuda" and not ended.wait(0.1):
            busy.append((time.monotonic(), torch.cuda.utilization()))

    sampler = threading.Thread(target=sample, daemon=True)
    sampler.start()
    try:
        result = train(plan, device=device, log=lambda metrics, step: logged.append(time.monotonic()))  # type: ignore[arg-type]
    finally:
        ended.set()
        sampler.join()
    history = result.history.dropna(subset=["steps_per_second"])
    rates = {key: float(history[key].iloc[2]) for key in ("steps_per_second", "data_wait", "memory_gb")}
    shares = [share for moment, share in busy if logged[1] < moment <= logged[2] + 0.2]
    return {**rates, "gpu_busy_percent": statistics.fmean(shares)} if shares else rates


def prediction(check: Check) -> dict[str, Any]:
    """Frames per second of the network with decoding, and probabilities and lanes against the CPU's.

    Where two cells of ENet's max pooling differ only by rounding, another cell may be the maximum on another
    device; the unpooling then places its value on another pixel. So a small share of the probabilities may
    differ more than rounding does; the lanes, which the network is trained to find first, must not.
    """
    size, batch_size, steps = ((64, 160), 4, 30) if check.quick else ((288, 800), 16, 600)
    graphs = check.device == "cuda"
    plan = check.plan(
        size,
        "enet",
        "alone",
        device=check.device,
        steps=steps,
        batch_size=8,
        precision="auto",
        cuda_graphs=graphs,
    )
    result = train(plan, device=check.device)  # type: ignore[arg-type]
    dataset, shards = check.data(size)
    write_predictor(result.folder, dataset.view, decode_config=DecodeConfig())
    batch = Loader(ShardSet.open(shards)["test"], batch_size, seed=0).batch(0)
    rates, probabilities, lanes = {}, [], []
    for device in dict.fromkeys(("cpu", check.device)):
        predictor = LanePredictor.load(result.folder, device)
        probabilities.append(predictor.probabilities(batch.image)[0].cpu())
        lanes.append(predictor.predict_images(batch.image))
        for name, function in (("network", predictor.probabilities), ("lanes", predictor.predict_images)):
            times = []
            for _ in range(3 if device == "cpu" else 20):
                start = time.perf_counter()
                function(batch.image)
                if device == "cuda":
                    torch.cuda.synchronize()
                times.append(time.perf_counter() - start)
            rates[f"{device} {name}"] = batch_size / statistics.median(times)
    differences = (probabilities[0] - probabilities[-1]).abs()
    share = float((differences > PROBABILITY_BOUND).float().mean())
    apart = lane_distances(lanes[0], lanes[-1])
    return {
        "frames_per_second": rates,
        "largest_difference": float(differences.max()),
        "share_above_bound": share,
        "lanes": len(apart),
        "largest_lane_distance": max(apart, default=0.0),
        "bounds": {"share": PIXEL_SHARE_BOUND, "probability": PROBABILITY_BOUND, "lane": LANE_BOUND},
        "passed": share <= PIXEL_SHARE_BOUND
        and max(apart, default=0.0) <= LANE_BOUND
        and (check.quick or bool(apart)),
    }


def lane_distances(expected: list[list[Lane]], found: list[list[Lane]]) -> list[float]:
    """Return the largest horizontal distance of each lane from that of its slot on the other device, pixels.

    It is infinite for a lane that only one of both has, and for a lane whose rows differ by more than one.
    """
    distances = []
    for one, other in zip(expected, found, strict=True):
        lanes = [{lane.slot: lane.points for lane in each} for each in (one, other)]
        for slot in lanes[0].keys() | lanes[1].keys():
            pair = [each.get(slot) for each in lanes]
            if pair[0] is None or pair[1] is None:
                distances.append(float("inf"))
                continue
            rows, first, second = np.intersect1d(pair[0][:, 1], pair[1][:, 1], return_indices=True)
            same = len(rows) >= max(map(len, pair)) - 1  # type: ignore[arg-type]
            xs = np.abs(pair[0][first, 0] - pair[1][second, 0])
            distances.append(float(xs.max()) if same and len(rows) else float("inf"))
    return distances


SECTIONS: dict[str, Callable[[Check], dict[str, Any]]] = {
    section.__name__: section for section in (augmentation, graphs, equal, resume, prediction, speed)
}


def _attempt(function: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    try:
        return function()
    except Exception as error:
        traceback.print_exc()
        return {"passed": False, "error": f"{type(error).__name__}: {error}"}


def main() -> None:
    """Run the sections of the check and print their results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--device", default="cuda", choices=["cuda", "cpu"])
    parser.add_argument("--sections", default=",".join(SECTIONS))
    parser.add_argument("--quick", action="store_true")
    choice = parser.parse_args()
    check = Check(choice.device, choice.quick, choice.output / "work")
    machine: dict[str, Any] = {"device": check.device, "quick": check.quick, "torch": torch.__version__}
    machine["cores"] = os.cpu_count()
    if check.device == "cuda":
        machine["card"] = torch.cuda.get_device_name()
    failed = False
    for name in choice.sections.split(","):
        path = choice.output / f"{name}.json"
        if _is_done(path, machine) or (name == "graphs" and check.device == "cpu"):
            continue
        start = time.perf_counter()
        result = _attempt(lambda name=name: SECTIONS[name](check))
        result = {**machine, "seconds": time.perf_counter() - start, **result}
        write_text(path, json.dumps(result, indent=2) + "\n")
        print(name, json.dumps({key: value for key, value in result.items() if key != "rows"}), flush=True)
        failed |= result.get("passed") is False
    sys.exit(int(failed))


def _is_done(path: Path, machine: Mapping[str, Any]) -> bool:
    """Return True if a section has passed on this machine."""
    if not path.is_file():
        return False
    found = json.loads(path.read_text(encoding="utf-8"))
    return machine.items() <= found.items() and found.get("passed") is not False


if __name__ == "__main__":
    main()
