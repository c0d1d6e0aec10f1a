"""Agreement of the gradients of mimicking paths with those of the labels, while a student trains alone.

python benchmarks/alignment.py --settings studies/settings.yaml --teacher FOLDER --shards FOLDER

At some steps it prints, for each path, the norm of its gradient relative to that of the segmentation loss,
and the cosine between the path's gradient on training frames and the gradient of the segmentation loss on
validation frames, over the parameters that the path reaches. A path with a negative cosine works against the
labels (Du et al., "Adapting auxiliary losses using gradient similarity", 2018, arXiv:1812.02224).
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import torch
import typer
from rich.console import Console
from rich.table import Table
from torch import nn

from lgad_pipeline.config.distillation import DistillationConfig
from lgad_pipeline.data.augmentation import augment
from lgad_pipeline.data.loader import Batch, Loader, in_order
from lgad_pipeline.data.random_amounts import batch_generator
from lgad_pipeline.data.shards import ShardSet
from lgad_pipeline.distillation.attention import attention_maps, divergence_of
from lgad_pipeline.distillation.taps import FeatureTaps
from lgad_pipeline.distillation.teacher import TeacherAttention, label_encoding
from lgad_pipeline.networks.checkpoint import load_network
from lgad_pipeline.networks.registry import build_network
from lgad_pipeline.settings import Recipe, Settings
from lgad_pipeline.training.optimizer import build_optimizer, learning_rate
from lgad_pipeline.training.tasks import StudentTask, total_loss

LAYERS = ("encoder.stage1", "encoder.stage2", "encoder.stage3", "decoder.stage4", "decoder.stage5")
STEPS = (0.03, 0.1, 0.25, 0.5)
Gradient = dict[str, torch.Tensor]


def main(
    teacher: Annotated[Path, typer.Option(help="Folder of a trained teacher, the student's network.")],
    shards: Annotated[Path, typer.Option(help="Folder of packed frames.")],
    settings: Annotated[Path, typer.Option(help="The recipe.")] = Path("lgad.yaml"),
    recipe: Annotated[str, typer.Option(help="Name of the recipe.")] = "enet",
    batches: Annotated[
        int, typer.Option(help="Number of training batches over which a gradient is averaged.")
    ] = 12,
) -> None:
    torch.set_num_threads(1)
    chosen, packed = Settings.load(settings).recipe(recipe), ShardSet.open(shards)
    network, spec = load_network(teacher)
    teacher_attention = TeacherAttention(
        network,
        LAYERS,
        chosen.distillation,
        classes=spec.slots + 1,
        encoding=label_encoding(spec),
    )
    validation = list(in_order(packed["val"], chosen.student.batch_size))[: 2 * batches]
    for step, student, training in train_alone(chosen, packed, batches):
        labels = gradients(student, chosen, validation, None)["labels"]
        by_path = gradients(student, chosen, training, teacher_attention)
        table = Table(title=f"step {step}", title_justify="left")
        for column in ("path", "divergence", "gradient over that of the labels", "cosine"):
            table.add_column(column, justify="left" if column == "path" else "right")
        for name, gradient in by_path.items():
            reached = [key for key in gradient if key != "loss" and gradient[key].any()]
            path, training_labels, validation_labels = (
                flat(part, reached) for part in (gradient, by_path["labels"], labels)
            )
            cosine = torch.cosine_similarity(path, validation_labels, dim=0)
            share = path.norm() / training_labels.norm()
            table.add_row(name, f"{gradient['loss']:.3f}", f"{share:.2f}", f"{cosine:+.2f}")
        Console().print(table)


def train_alone(
    recipe: Recipe, packed: ShardSet, batches: int
) -> Iterable[tuple[int, nn.Module, list[Batch]]]:
    """Train a student alone; yield it at some steps, with batches of another augmentation and order."""
    config = recipe.student
    torch.manual_seed(config.seed)
    student = build_network(recipe.network.spec(packed.view.image_size)).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer, task = build_optimizer(config.optimizer, student.parameters()), StudentTask(config)
    stops = {round(share * config.steps) for share in STEPS}
    other_batches = Loader(packed["train"], config.batch_size, config.seed + 1).batches(0, batches)
    fresh = [
        augment(b, recipe.augmentation, batch_generator(config.seed + 1, n))
        for n, b in enumerate(other_batches)
    ]
    loader = Loader(packed["train"], config.batch_size, config.seed)
    for step, batch in enumerate(loader.batches(0, max(stops) + 1)):
        if step in stops:
            yield step, student, fresh
        batch = augment(batch, recipe.augmentation, batch_generator(config.seed, step))
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(config.optimizer, step, config.steps)
        loss = total_loss(task.losses(student.train(), batch, task.weights(step)))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def gradients(
    student: nn.Module, recipe: Recipe, batches: list[Batch], teacher_attention: TeacherAttention | None
) -> dict[str, Gradient]:
    """Return the mean gradient and loss over batches, of the labels and of the path of each layer."""
    parameters, task = dict(student.named_parameters()), StudentTask(recipe.student)
    config: DistillationConfig = recipe.distillation
    means: dict[str, Gradient] = {}
    state = {name: value.clone() for name, value in student.state_dict().items()}
    with FeatureTaps(student, LAYERS) as taps:
        for number, batch in enumerate(batches):
            torch.manual_seed(number)  # for dropout
            losses = {"labels": total_loss(task.losses(student.train(), batch, {}))}
            student_maps = attention_maps(taps, config)
            targets = teacher_attention(batch.label) if teacher_attention else {}
            for layer, target in targets.items():
                losses[layer] = divergence_of(student_maps[layer], target, config)
            for name, loss in losses.items():
                parts = torch.autograd.grad(
                    loss,
                    list(parameters.values()),
                    retain_graph=True,
                    allow_unused=True,
                    materialize_grads=True,
                )
                mean = means.setdefault(name, {"loss": torch.zeros(())})
                mean["loss"] += loss.detach() / len(batches)
                for key, part in zip(parameters, parts, strict=True):
                    mean[key] = mean.get(key, torch.zeros_like(part)) + part / len(batches)
    student.load_state_dict(state)  # undo the changes of the batch norms
    return means


def flat(gradient: Gradient, keys: list[str]) -> torch.Tensor:
    return torch.cat([gradient[key].flatten() for key in keys])


if __name__ == "__main__":
    typer.run(main)
