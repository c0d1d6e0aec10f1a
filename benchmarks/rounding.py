"""Differences between equal trainings that round differently: threads, and processes that share the batch.

    PYTHONPATH=. python benchmarks/rounding.py

Trains a small student with LGAD for 20 steps of 16 frames with SGD in single precision: in one process with
one and with two threads, and in two processes. The first difference is what rounding alone causes.
"""

import sys
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd

from lgad_pipeline.config.network import allow_networks
from lgad_pipeline.config.training import OptimizerConfig
from lgad_pipeline.training.trainer import train_teacher
from tests.support.trainings import pack_road, weights
from tests.training.test_several_processes import CONFIG, NAME, PATH, SPEC, finish, start, written_job

RUNS = {"one process, one thread": (1, 1), "one process, two threads": (1, 2), "two processes": (2, 1)}


def main() -> None:
    """Train, and print the largest differences from the first run."""
    sys.path.insert(0, PATH[1])
    allow_networks(NAME)
    optimizer = OptimizerConfig(name="sgd", learning_rate=1e-3, warmup_steps=4)
    with tempfile.TemporaryDirectory() as folder:
        base, road = Path(folder), Path(folder, "road")
        road.mkdir()
        shards = pack_road(road)
        config = CONFIG.model_copy(update={"steps": 5, "batch_size": 4})
        train_teacher(config, SPEC, shards=shards, folder=base / "teacher", device="cpu")
        first: tuple[dict[str, np.ndarray], pd.DataFrame] | None = None
        for name, (processes, threads) in RUNS.items():
            job = written_job(
                shards, base / name, base / "teacher", optimizer=optimizer, threads=threads, log_every=1
            )
            finish(start("lgad_pipeline.training", job, processes), [0] * processes)
            result = weights(base / name), pd.read_parquet(base / name / "history.parquet")
            first = first or result
            weight = max(float(np.abs(value - result[0][key]).max()) for key, value in first[0].items())
            terms = [str(column) for column in first[1] if str(column).startswith("train/")]
            losses = {
                term.removeprefix("train/"): float((result[1][term] / first[1][term] - 1).abs().max())
                for term in terms
            }
            print(f"{name}: weights {weight:.1e}, losses", *(f"{k} {v:.1e}" for k, v in losses.items()))


if __name__ == "__main__":
    main()
