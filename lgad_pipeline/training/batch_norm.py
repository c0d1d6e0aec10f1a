"""Batch normalization with the statistics of the whole batch, which several processes share."""

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from lgad_pipeline.training.processes import process_count, sum_over_processes


class CpuSyncBatchNorm(_BatchNorm):
    """Synchronized batch norm for CPUs, for which `nn.SyncBatchNorm` has no kernels."""

    def _check_input_dim(self, input: torch.Tensor) -> None:
        """Accept features with any number of axes."""

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Normalize features (B, C, ...) of this process by the statistics of all processes."""
        if not self.training or process_count() == 1:
            return super().forward(features)
        values = features.float()
        axes = [axis for axis in range(values.dim()) if axis != 1]
        shape = [-1 if axis == 1 else 1 for axis in range(values.dim())]
        count = values.numel() // values.shape[1] * process_count()  # every process has as many frames
        mean = sum_over_processes(values.sum(axes)) / count
        centred = values - mean.view(shape)
        variance = sum_over_processes(centred.square().sum(axes)) / count
        self._track(mean.detach(), variance.detach() * count / max(count - 1, 1))
        normalized = centred * torch.rsqrt(variance + self.eps).view(shape)
        if self.weight is not None:
            normalized = normalized * self.weight.view(shape)
        if self.bias is not None:
            normalized = normalized + self.bias.view(shape)
        return normalized.to(features.dtype)

    @torch.no_grad()
    def _track(self, mean: torch.Tensor, variance: torch.Tensor) -> None:
        """Move the running statistics."""
        if self.running_mean is None or self.running_var is None or self.num_batches_tracked is None:
            return
        self.num_batches_tracked.add_(1)
        rate = 1 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean, rate)
        self.running_var.lerp_(variance, rate)


def synchronize_batch_norm(network: nn.Module, device: torch.device) -> None:
    """Let the batch norms of a network share their statistics among all processes.

    The modules stay the same objects, so that hooks on them are kept; torch's own conversion replaces them. A
    subclass with a forward of its own is left as it is.

    Args:
        network: network to change.
        device: training device.
    """
    kind = CpuSyncBatchNorm if device.type == "cpu" else nn.SyncBatchNorm
    for module in network.modules():
        if isinstance(module, _BatchNorm) and type(module).forward is _BatchNorm.forward:
            module.__class__ = kind
            module.process_group = None  # type: ignore[assignment]
