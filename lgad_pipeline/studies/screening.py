"""Screening of distillation losses on trained students, without training.

For each loss setting of a study: the norm of the loss's gradient relative to that of the segmentation loss,
on augmented training frames, and the cosine between it and the gradient of the segmentation loss on held-out
frames, over the parameters that the loss reaches. A step against a gradient with a negative cosine raises the
segmentation loss of the held-out frames (Du et al., "Adapting auxiliary losses using gradient similarity",
2018, arXiv:1812.02224).
"""

import json
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn

from lgad_pipeline.atomic_files import write_text
from lgad_pipeline.config.model_files import NETWORK
from lgad_pipeline.config.network import NetworkSpec
from lgad_pipeline.data.augmentation import augment
from lgad_pipeline.data.label_noise import with_label_noise
from lgad_pipeline.data.loader import Batch, Loader, in_order
from lgad_pipeline.data.random_amounts import batch_generator
from lgad_pipeline.data.shards import ShardSet
from lgad_pipeline.distillation.attention import resize
from lgad_pipeline.distillation.base import AttentionLoss, DistillationLoss, StudentForward
from lgad_pipeline.distillation.registry import loss_settings
from lgad_pipeline.errors import LgadError
from lgad_pipeline.networks.checkpoint import load_network, read_model
from lgad_pipeline.settings import Recipe
from lgad_pipeline.studies.config import BASELINE, EQUAL_COMPUTE, GainStudy, Variant
from lgad_pipeline.training.distillation_spec import needs_teacher
from lgad_pipeline.training.plan import TrainingPlan
from lgad_pipeline.training.student_losses import mimicking_paths, set_up_student
from lgad_pipeline.training.tasks import StudentTask, lane_losses, student_forward, total_loss

LABELS = "labels"
_SEED = 1  # another order and augmentation of the frames than in a training with seed 0


@dataclass(frozen=True)
class Screened:
    """Gradients of one loss at one trained student, with the weight 1.

    Attributes:
        student: directory of the student.
        setting: method or variant of the study; `labels` for the segmentation loss.
        loss: name of the loss term.
        layers: tapped layers of the student, `all` of them or one.
        value: mean value of the loss.
        ratio: norm of its gradient relative to that of the segmentation loss.
        cosine: cosine between its gradient and that of the segmentation loss on held-out frames.
        correlation: correlation of the student's maps with their targets over the cells of a frame, mean over
            augmented training frames and paths; None for losses without target maps.
    """

    student: str
    setting: str
    loss: str
    layers: str
    value: float
    ratio: float
    cosine: float
    correlation: float | None


class _Entry(NamedTuple):
    """Loss to screen: one term of a setting, for all of its layers or for one."""

    setting: str
    term: str
    layers: str
    loss: DistillationLoss


class _Mean(NamedTuple):
    """Mean value of a loss, mean gradient by the parameters of the student, and mean correlation or NaN."""

    value: float
    gradient: list[torch.Tensor]
    correlation: float


class _Inputs(NamedTuple):
    """Student to screen, the teacher's directory, and the data, which is packed in the directory `shards`."""

    network: nn.Module
    spec: NetworkSpec
    teacher: Path | None
    packed: ShardSet
    shards: Path
    device: torch.device


def screen(
    student: Path,
    study: GainStudy,
    *,
    recipe: Recipe,
    shards: Path,
    teacher: Path | None = None,
    settings: Sequence[str] = (),
    batches: int = 8,
    device: torch.device | str = "cpu",
) -> list[Screened]:
    """Measure the gradients of the loss settings of a study at a trained student.

    All losses have the weight 1, without balance and gate. Adapters and label heads are not trained.

    Args:
        student: directory of the trained student.
        study: methods and variants; those without a loss on layers of the student are left out.
        recipe: recipe that the variants change; its batch size and augmentation are used.
        shards: directory of the packed data set, with the splits train and val.
        teacher: directory of a trained teacher, for the settings with LGAD.
        settings: names of the methods and variants to screen; empty for all.
        batches: number of training batches; there are up to twice as many of held-out frames.
        device: device of the computation.

    Raises:
        LgadError: a directory is missing or does not fit, or a setting is unknown or needs a teacher.
    """
    network, spec = load_network(student)
    if spec.in_channels != 3:  # red, green and blue
        raise LgadError(
            f"{student} holds a teacher, which reads label maps and no frames; name directories of students."
        )
    packed = ShardSet.open(shards)
    if tuple(packed.view.image_size) != spec.image_size:
        raise LgadError(
            f"{student} reads images of {list(spec.image_size)} px, but {shards} holds "
            f"{list(packed.view.image_size)} px; name the packed data set that it was trained on."
        )
    if study.data.label_noise is not None:
        packed = with_label_noise(packed, study.data.label_noise)
    device = torch.device(device)
    network = network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    inputs = _Inputs(network, spec, teacher, packed, shards, device)
    size = recipe.student.batch_size
    held_out = in_order(packed["val"], size, limit=2 * batches * size)
    task = StudentTask(recipe.student)
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(_SEED)  # for the initial weights of label heads
        chosen = _chosen(study, settings).items()
        entries = [entry for name, variant in chosen for entry in _entries(name, variant, recipe, inputs)]
        labels = _means(network, task, held_out, [], device)[0]
        means = _means(network, task, _training_batches(packed, recipe, batches), entries, device)
    names = [(LABELS, "segmentation", "all"), *(entry[:3] for entry in entries)]
    return [
        Screened(
            str(student),
            *name,
            mean.value,
            *_compared(mean.gradient, means[0].gradient, labels.gradient),
            None if math.isnan(mean.correlation) else mean.correlation,
        )
        for name, mean in zip(names, means, strict=True)
    ]


def write_screening(rows: Sequence[Screened], path: Path) -> None:
    """Write the results as a JSON list of objects, atomically."""
    write_text(path, json.dumps([asdict(row) for row in rows], indent=2) + "\n")


def _chosen(study: GainStudy, names: Sequence[str]) -> dict[str, Variant]:
    """Return the settings of a study that have a loss on layers of the student, or the named ones of them."""
    known = {
        name: variant
        for name, variant in study.all_variants.items()
        if variant.method not in (BASELINE, EQUAL_COMPUTE, "logits")
    }
    if unknown := [name for name in names if name not in known]:
        raise LgadError(
            f"The study has no setting {', '.join(unknown)} to screen; it has {', '.join(known) or 'none'}."
        )
    if not known:
        raise LgadError("The study has no setting to screen; list a method or variant with a loss on layers.")
    return {name: known[name] for name in names} if names else known


def _entries(name: str, variant: Variant, recipe: Recipe, inputs: _Inputs) -> list[_Entry]:
    """Build the losses of a setting, which tap the student: each of its terms, and LGAD's for each layer."""
    method, spec, teacher = variant.method, inputs.spec, inputs.teacher
    recipe = _without_control(variant.applied(recipe))
    if teacher is None and needs_teacher(method, recipe):
        raise LgadError(f"The setting {name} needs a trained teacher; name its directory (--teacher).")
    teacher_spec = spec if teacher is None else read_model(teacher / NETWORK, NetworkSpec)
    paths = mimicking_paths(recipe.distillation, spec, teacher_spec)
    by_layer = {path.student: (path,) for path in paths} if len(paths) > 1 else {}
    entries: list[_Entry] = []
    for layers, chosen in {"all": paths, **by_layer}.items():
        config = recipe.distillation.model_copy(update={"paths": chosen})
        plan = TrainingPlan.from_recipe(
            recipe.model_copy(update={"distillation": config}),
            role="student",
            image_size=spec.image_size,
            slots=spec.slots,
            shards=inputs.shards,
            folder=inputs.shards,  # nothing is written
            method=method,
            teacher=teacher,
        ).model_copy(update={"network": spec})
        setup = set_up_student(inputs.network, plan, inputs.packed, inputs.device)
        setup.trained.to(inputs.device)
        on_paths = {"attention"} if recipe.label_head.layers else {"attention", "label_head"}
        entries += [
            _Entry(name, term, layers, loss)
            for term, loss in setup.task.distillation.items()
            if layers == "all" or term in on_paths
        ]
    return entries


def _without_control(recipe: Recipe) -> Recipe:
    """Return a recipe whose losses have no balance, gate and schedule; the maps are computed."""
    plain = {"balance": None, "gate": False, "start_step": 0, "stop_step": None, "decay": False}
    lgad = recipe.distillation.model_copy(update={**plain, "teacher": "before", "maps": "computed"})
    update = {
        "distillation": lgad,
        "sad": recipe.sad.model_copy(update=plain),
        "label_head": recipe.label_head.model_copy(update=plain),
        "losses": {
            name: settings | {key: plain[key] for key in plain.keys() & _keys(name, settings)}
            for name, settings in recipe.losses.items()
        },
    }
    return recipe.model_copy(update=update)


def _keys(name: str, settings: dict[str, Any]) -> set[str]:
    """Return the keys of the settings of a loss."""
    return set(type(loss_settings(name, settings)).model_fields)


def _training_batches(packed: ShardSet, recipe: Recipe, batches: int) -> Iterator[Batch]:
    student = recipe.student
    loader = Loader(packed["train"], student.batch_size, seed=_SEED, window=student.shuffle_window)
    for number, batch in enumerate(loader.batches(0, batches)):
        yield augment(batch, recipe.augmentation, batch_generator(_SEED, number))


def _means(
    network: nn.Module,
    task: StudentTask,
    batches: Iterable[Batch],
    entries: Sequence[_Entry],
    device: torch.device,
) -> list[_Mean]:
    """Return the mean over frames of the segmentation loss and of each entry; the student is not changed."""
    parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]
    state = {name: value.clone() for name, value in network.state_dict().items()}
    values, correlations = [0.0] * (len(entries) + 1), [0.0] * (len(entries) + 1)
    sums = [[torch.zeros_like(parameter) for parameter in parameters] for _ in values]
    frames = 0
    for number, batch in enumerate(batches):
        torch.manual_seed(number)  # for dropout
        batch = batch.to(device)
        planes = task.inputs(batch).contiguous(memory_format=torch.channels_last)
        output = network.train()(planes)
        forward = student_forward(planes, output, batch)
        segmentation = total_loss(lane_losses(output, batch.label, batch.existence, task.config))
        count = len(batch.frames)
        frames += count
        losses = [(segmentation, math.nan), *(_loss(entry.loss, forward) for entry in entries)]
        for index, (loss, correlation) in enumerate(losses):
            gradient = torch.autograd.grad(
                loss, parameters, retain_graph=True, allow_unused=True, materialize_grads=True
            )
            values[index] += count * float(loss.detach())
            correlations[index] += count * correlation
            torch._foreach_add_(sums[index], gradient, alpha=count)  # type: ignore[attr-defined]
    network.load_state_dict(state)  # the statistics of the batch norms have changed
    return [
        _Mean(value / frames, [part / frames for part in gradient], correlation / frames)
        for value, gradient, correlation in zip(values, sums, correlations, strict=True)
    ]


def _loss(loss: DistillationLoss, forward: StudentForward) -> tuple[torch.Tensor, float]:
    """Return the value of a loss, and the mean correlation of the student's maps with their targets."""
    if not isinstance(loss, AttentionLoss):
        return loss.compute(forward), math.nan
    targets, maps = loss.targets(forward), loss.maps(forward)
    value = loss.divergence(maps, targets, forward)
    return value, sum(_correlation(maps[p.student], targets[p.teacher]) for p in loss.paths) / len(loss.paths)


def _correlation(maps: torch.Tensor, targets: torch.Tensor) -> float:
    """Return the correlation of two maps over their cells, mean over the maps (B, h, w)."""
    maps = resize(maps.detach(), (targets.shape[-2], targets.shape[-1]))
    first, second = (values.double().flatten(1) for values in (maps, targets))
    first, second = (values - values.mean(dim=1, keepdim=True) for values in (first, second))
    return float(torch.cosine_similarity(first, second, dim=1).mean())


def _compared(
    gradient: list[torch.Tensor], training_labels: list[torch.Tensor], held_out_labels: list[torch.Tensor]
) -> tuple[float, float]:
    """Return the ratio of norms and the cosine, over the parameters that the loss reaches."""
    reached = [index for index, part in enumerate(gradient) if part.any()]
    own, training, held_out = (
        torch.cat([parts[index].flatten() for index in reached])
        for parts in (gradient, training_labels, held_out_labels)
    )
    return float(own.norm() / training.norm()), float(torch.cosine_similarity(own, held_out, dim=0))
