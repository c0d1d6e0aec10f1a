"""Use of CPU, memory and GPUs during a training, in the terms of MLflow's page of system metrics."""

import time
from contextlib import suppress
from typing import Any

import psutil

LOG_SECONDS = 30.0
"""Time between two logged values; each is the mean of the samples since the last one."""


class SystemMetrics:
    """Samples of this machine's CPU, memory and GPUs, by MLflow's own monitors.

    GPUs are measured if the package nvidia-ml-py is installed.
    """

    def __init__(self) -> None:
        from mlflow.system_metrics.metrics.cpu_monitor import CPUMonitor
        from mlflow.system_metrics.metrics.gpu_monitor import GPUMonitor

        psutil.cpu_percent()  # the first call returns 0; later ones the mean since the last call
        self._monitors: list[Any] = [CPUMonitor()]
        with suppress(ImportError, RuntimeError):  # without the package, or without a GPU
            self._monitors.append(GPUMonitor())
        self._logged = time.monotonic()

    def sample(self) -> dict[str, float]:
        """Take a sample; return the means by name if it is time to log them, else nothing."""
        for monitor in self._monitors:
            monitor.collect_metrics()
        if time.monotonic() - self._logged < LOG_SECONDS:
            return {}
        self._logged = time.monotonic()
        means: dict[str, float] = {}
        for monitor in self._monitors:
            means |= {f"system/{name}": float(value) for name, value in monitor.aggregate_metrics().items()}
            monitor.clear_metrics()
        return means
