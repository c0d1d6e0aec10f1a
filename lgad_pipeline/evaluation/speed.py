"""Time and size of trained students, measured in turn on one machine."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from lgad_pipeline.config.network import NetworkSpec
from lgad_pipeline.errors import LgadError
from lgad_pipeline.evaluation.model_comparison import latencies
from lgad_pipeline.inference.predictor import LanePredictor
from lgad_pipeline.networks.checkpoint import NETWORK, read_model
from lgad_pipeline.networks.complexity import parameters


class Speed(NamedTuple):
    """Cost of a student.

    Attributes:
        milliseconds: median time of a frame, from the frame to its lanes, on one CPU of this machine.
        parameters: number of learnable parameters.
    """

    milliseconds: float
    parameters: int


def measure_speeds(students: Mapping[str, Path]) -> dict[str, Speed]:
    """Measure students in turn on a frame of noise; those that cannot be loaded are left out.

    Args:
        students: directory of each trained student by its name.
    """
    calls, sizes = {}, {}
    for name, folder in students.items():
        try:
            predictor = LanePredictor.load(folder, "cpu")
            sizes[name] = parameters(read_model(folder / NETWORK, NetworkSpec))
        except LgadError:
            continue
        noise = np.random.default_rng(0).integers(0, 256, (*predictor.view.frame_size, 3), dtype=np.uint8)
        calls[name] = partial(predictor.predict, [noise])
    seconds = latencies(list(calls.values()))
    return {name: Speed(1000 * value, sizes[name]) for name, value in zip(calls, seconds, strict=True)}
