"""Clock of a training and schedule of its checkpoints."""

import resource
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch

from lgad_pipeline.training.checkpoint import Metrics, TrainingState

_LEAST_RATIO = 50  # the time between two checkpoints is at least this many times that of writing one


class TrainingClock:
    """Time of a training over all its runs, and the speed since the last log entry.

    Args:
        state: state of the training, with the seconds of earlier runs.
        device: training device, whose memory is counted.
        now: clock, seconds.
    """

    def __init__(
        self, state: TrainingState, device: torch.device, now: Callable[[], float] = time.perf_counter
    ) -> None:
        self._device, self._now = device, now
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
        self._state, self._earlier = state, state.seconds
        self._start = self._logged = now()
        self._logged_step, self._waited = state.step, 0.0

    def total(self) -> float:
        """Return the training time over all runs, seconds."""
        return self._earlier + self._now() - self._start

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Count the time inside the context as waiting for data."""
        start = self._now()
        try:
            yield
        finally:
            self._waited += self._now() - start

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Leave the time inside the context out of the metrics; it counts in `total`."""
        start = self._now()
        yield
        self._logged += self._now() - start

    def metrics(self) -> Metrics:
        """Return speed, share of waiting since the last call, and the highest use of memory."""
        now = self._now()
        elapsed, steps = now - self._logged, self._state.step - self._logged_step
        metrics = {
            "steps_per_second": steps / elapsed,
            "data_wait": self._waited / elapsed,
            "memory_gb": _memory_gb(self._device),
        }
        self._logged, self._logged_step, self._waited = now, self._state.step, 0.0
        return metrics


class CheckpointTimer:
    """Schedule of checkpoints: one after a given time, and never more than 2 % of the time for writing them.

    Args:
        seconds: least time between the end of a checkpoint and the start of the next.
        now: clock, seconds.
    """

    def __init__(self, seconds: float, now: Callable[[], float] = time.perf_counter) -> None:
        self._seconds, self._now = seconds, now
        self._ended, self._duration = now(), 0.0

    def due(self) -> bool:
        """Return True if the next checkpoint should be written now."""
        return self._now() - self._ended >= max(self._seconds, _LEAST_RATIO * self._duration)

    @contextmanager
    def saving(self) -> Iterator[None]:
        """Measure the time of writing a checkpoint."""
        started = self._now()
        yield
        self._ended = self._now()
        self._duration = self._ended - started


def _memory_gb(device: torch.device) -> float:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**30
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
