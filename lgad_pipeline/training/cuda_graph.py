"""Losses and gradients of a training step as CUDA graphs.

A small network has hundreds of layers whose kernels take a few microseconds each, less than Python needs to
launch them. A CUDA graph launches all kernels of a step at once; they are the same kernels.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import nn

from lgad_pipeline.data.loader import Batch

_EAGER_STEPS = 3  # steps before a capture, in which cuDNN chooses its kernels


class _Captured(NamedTuple):
    """Graph with the memory that it reads and writes."""

    graph: torch.cuda.CUDAGraph
    batch: Batch
    weights: dict[str, torch.Tensor]
    result: Any
    gradients: list[torch.Tensor | None]


class GraphedGradients:
    """Function that computes losses and gradients, replayed as a CUDA graph.

    A graph is captured for each set of active losses and each shape of the batch, after three steps without a
    graph. Each result is overwritten by the next call.

    Args:
        function: function of a batch on the device and of loss weights; it sets the gradients of the
            parameters and returns tensors. It must not read a value from the device.
        parameters: parameters whose gradients it sets.
        device: CUDA device.
    """

    def __init__(
        self,
        function: Callable,
        parameters: Sequence[nn.Parameter],
        device: torch.device,
    ) -> None:
        self.function, self.parameters, self.device = function, parameters, device
        self._captured: dict[tuple, _Captured] = {}
        self._calls: dict[tuple, int] = {}
        self._stream = torch.cuda.Stream(device)

    def __call__(self, batch: Batch, weights: Mapping[str, float]) -> Any:
        """Compute the gradients of a batch.

        Args:
            batch: batch on the CPU, in page-locked memory.
            weights: weights of the active losses by name.
        """
        key = (tuple(weights), tuple(batch.image.shape))
        captured = self._captured.get(key)
        if captured is None:
            self._calls[key] = self._calls.get(key, 0) + 1
            if self._calls[key] <= _EAGER_STEPS:
                for parameter in self.parameters:
                    parameter.grad = None
                return self._eager(batch, weights)
            captured = self._captured[key] = self._capture(batch, weights)
        _copy(batch, captured.batch)
        for name, weight in weights.items():
            captured.weights[name].fill_(weight)
        for parameter, gradient in zip(self.parameters, captured.gradients, strict=True):
            parameter.grad = gradient
        captured.graph.replay()
        return captured.result

    def _eager(self, batch: Batch, weights: Mapping[str, float]) -> Any:
        """Compute the gradients without a graph, on the stream of the captures.

        Autograd accumulates a gradient on the stream on which its node was made. A node of the default stream
        that is still in use would end a later capture with an error.
        """
        default = torch.cuda.current_stream(self.device)
        self._stream.wait_stream(default)
        with torch.cuda.stream(self._stream):
            result = self.function(batch.to(self.device), self._on_device(weights))
        default.wait_stream(self._stream)
        return result

    def _capture(self, batch: Batch, weights: Mapping[str, float]) -> _Captured:
        """Record the kernels of one step without running them."""
        fixed, fixed_weights = batch.to(self.device), self._on_device(weights)
        for parameter in self.parameters:
            parameter.grad = None
        graph = torch.cuda.CUDAGraph()
        # Only this thread's calls are recorded: the loader's threads allocate page-locked memory meanwhile.
        with torch.cuda.graph(graph, stream=self._stream, capture_error_mode="thread_local"):
            result = self.function(fixed, fixed_weights)
        gradients = [parameter.grad for parameter in self.parameters]
        return _Captured(graph, fixed, fixed_weights, result, gradients)

    def _on_device(self, weights: Mapping[str, float]) -> dict[str, torch.Tensor]:
        return {name: torch.full((), weight, device=self.device) for name, weight in weights.items()}


def _copy(source: Batch, target: Batch) -> None:
    """Copy the tensors of a batch into those of another one, without waiting."""
    for from_tensor, to_tensor in zip(source.tensors(), target.tensors(), strict=True):
        to_tensor.copy_(from_tensor, non_blocking=True)
