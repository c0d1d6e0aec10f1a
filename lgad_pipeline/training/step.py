"""One training step: augmentation, forward, losses, backward, update."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import nn

from lgad_pipeline.config.training import TrainingConfig
from lgad_pipeline.data.loader import Batch
from lgad_pipeline.errors import LgadError
from lgad_pipeline.training.checkpoint import TrainingState
from lgad_pipeline.training.cuda_graph import GraphedGradients
from lgad_pipeline.training.finite import LateFiniteCheck, not_finite_message
from lgad_pipeline.training.processes import gather, process_count, process_rank, sum_over_processes
from lgad_pipeline.training.tasks import Task, Weight, companion_parameters, total_loss


class Losses(NamedTuple):
    """Losses of one step, without gradients.

    Attributes:
        terms: unweighted loss terms by name, scalar tensors.
        total: weighted sum, a scalar tensor.
    """

    terms: dict[str, torch.Tensor]
    total: torch.Tensor


class TrainingStep:
    """Step of a training; a call updates the weights and the state.

    Args:
        fabric: training device and precision.
        task: losses of the network.
        network: network, wrapped by fabric.
        optimizer: optimizer of its parameters, wrapped by fabric.
        config: settings of the training.
        state: state of the training; `state.step` counts the finished steps.
        augment: augmentation on the training device; the identity where batches come augmented.
    """

    def __init__(
        self,
        fabric: Fabric,
        task: Task,
        network: nn.Module,
        optimizer: torch.optim.Optimizer,
        *,
        config: TrainingConfig,
        state: TrainingState,
        augment: Callable[[Batch], Batch],
    ) -> None:
        self.fabric, self.task, self.network, self.optimizer = fabric, task, network, optimizer
        self.config, self.state, self.augment = config, state, augment
        self.parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]
        self._several = process_count() > 1
        self._companions = companion_parameters(state.network)
        on_gpu = fabric.device.type == "cuda"
        self._finite = LateFiniteCheck(fabric.device, state.optimizer) if on_gpu else None
        self._previous: tuple[Batch, int] | None = None
        self._gradients = (
            GraphedGradients(self._losses_and_gradients, self.parameters, fabric.device)
            if on_gpu and config.cuda_graphs
            else None
        )

    def __call__(self, batch: Batch) -> None:
        """Compute the gradients of a batch and update the weights.

        Args:
            batch: batch of this step on the CPU; in page-locked memory for a GPU.

        Raises:
            LgadError: a loss term or a gradient is not finite. On a GPU this is noticed in the next step, so
                that the CPU does not wait; no weight is changed in the meantime.
        """
        config, state = self.config, self.state
        losses = self._compute(batch, state.step)
        parameters = [parameter for parameter in self.parameters if parameter.grad is not None]
        norm = nn.utils.get_total_norm([parameter.grad for parameter in parameters])  # type: ignore[arg-type]
        self._check(losses, norm, batch)
        if config.optimizer.gradient_clip is not None:
            nn.utils.clip_grads_with_norm_(parameters, config.optimizer.gradient_clip, norm)
        self.optimizer.step()
        state.step += 1
        state.update_average(config.ema_decay)
        state.add({**losses.terms, "loss": losses.total})

    def finish(self) -> None:
        """Check the latest step, whose result may still be on the device.

        Raises:
            LgadError: see `__call__`.
        """
        if self._finite is not None and self._finite.failed():
            raise self._recomputed_error()

    def _compute(self, batch: Batch, step: int) -> Losses:
        self.network.train()
        # The global generator serves dropout and the corruption of a teacher's input. The student runs first,
        # so that students of one seed get the same dropout masks, whatever else is computed in the step.
        # Processes drop different channels; the first one drops those of a process that trains alone.
        rank = [process_rank()] if process_rank() else []
        seed = np.random.SeedSequence([self.config.seed, step, 1, *rank]).generate_state(1)[0]
        torch.manual_seed(int(seed))
        weights = self.task.weights(step)
        if self._gradients is not None:
            return self._gradients(batch, weights)
        self.optimizer.zero_grad()
        return self._losses_and_gradients(batch.to(self.fabric.device), weights)

    def _losses_and_gradients(self, batch: Batch, weights: Mapping[str, Weight]) -> Losses:
        """Add the gradients of a batch on the device to those of the parameters; return the losses."""
        batch = self.augment(batch)
        parts = batch.parts(self.config.accumulation)
        sums: Losses | None = None
        for number, part in enumerate(parts, 1):
            # Processes add up their gradients in the backward pass of the last part.
            sync_later = self._several and number < len(parts)
            with self.fabric.no_backward_sync(self.network, enabled=sync_later):  # type: ignore[arg-type]
                with self.fabric.autocast():
                    terms = self.task.losses(self.network, part, weights)
                total = total_loss(terms) / len(parts) if len(parts) > 1 else total_loss(terms)
                self.fabric.backward(total + self._no_loss() if self._several else total)
            values = {term.name: term.value.detach() for term in terms}
            if len(parts) > 1:
                values = {name: value / len(parts) for name, value in values.items()}
            if sums is None:
                sums = Losses(values, total.detach())
            else:
                values = {name: value + values[name] for name, value in sums.terms.items()}
                sums = Losses(values, sums.total + total.detach())
        assert sums is not None
        return sums

    def _no_loss(self) -> torch.Tensor:
        """Return 0, with gradients of 0 for what no active loss uses: processes wait for every gradient."""
        zeros = [0 * parameter.sum() for parameter in self._companions]
        return torch.stack([torch.zeros((), device=self.fabric.device), *zeros]).sum()

    def _check(self, losses: Losses, norm: torch.Tensor, batch: Batch) -> None:
        """Check that loss and gradients are finite; on a GPU, those of the step before."""
        value = sum_over_processes(losses.total + norm)
        if self._finite is None:
            if not torch.isfinite(value):
                raise self._error(losses, batch, self.state.step)
            return
        failed = self._finite.failed()
        if failed:
            raise self._recomputed_error()
        self._finite.record(value)
        self._previous = batch, self.state.step

    def _recomputed_error(self) -> LgadError:
        """Compute the step before again, without a graph, for the names of its terms and layers."""
        assert self._previous is not None
        self._gradients = None
        return self._error(self._compute(*self._previous), *self._previous)

    def _error(self, losses: Losses, batch: Batch, step: int) -> LgadError:
        terms = {name: sum_over_processes(value) for name, value in losses.terms.items()}
        frames = [frame for part in gather(batch.frames) for frame in part]
        total = sum_over_processes(losses.total)
        return LgadError(not_finite_message(terms, total, self.state.network, step=step, frames=frames))
