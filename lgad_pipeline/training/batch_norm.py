"""Batch normalization with the statistics of the whole batch, which several processes share."""

import torch
from torch import nn

from lgad_pipeline.training.processes import process_count, sum_over_processes


class SyncBatchNorm(nn.SyncBatchNorm):
    """`nn.SyncBatchNorm` that also works on a CPU, for which torch has no kernels."""

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Normalize features (B, C, ...) of this process by the statistics of all processes."""
        if features.device.type != "cpu" or not self.training or process_count() == 1:
            return super().forward(features)
        self._check_input_dim(features)
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


def synchronize_batch_norm(network: nn.Module) -> nn.Module:
    """Return the network with synchronized batch norms in place of its own; names and weights are kept.

    Its other modules are the same objects. Tap layers afterwards, because a replaced module loses its hooks.
    """
    converted = nn.SyncBatchNorm.convert_sync_batchnorm(network)
    for module in converted.modules():
        if type(module) is nn.SyncBatchNorm:  # the conversion cannot create another class
            module.__class__ = SyncBatchNorm
    return converted
