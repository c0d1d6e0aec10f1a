"""Checks of a trained network before it is used."""

from typing import TYPE_CHECKING

import dagster as dg
import numpy as np

from assets.keys import asset_name
from assets.networks import student_alone, student_lgad, teacher
from assets.partitioned_checks import partitioned_check
from assets.partitions import dataset_and_recipe, fetch_inputs
from resources.project import Project

if TYPE_CHECKING:
    import pandas as pd

WELL_REPRODUCED = 0.9
STILL_FALLING = 0.1


@partitioned_check(
    teacher,
    description="The teacher reproduces the label maps that it reads: mean intersection over union of the "
    f"lane classes on validation frames is at least {WELL_REPRODUCED}. With a lower value, its attention "
    "maps help the student little.",
)
def teacher_reproduces_labels(
    context: dg.AssetCheckExecutionContext, project: Project
) -> dg.AssetCheckResult:
    """Check the mean lane IoU of the teacher."""
    if untrained := _trained_together(context, project, "teacher"):
        return untrained
    history = _history(context, project, "teacher")
    miou = float(history["val/miou"].dropna().iloc[-1])
    return dg.AssetCheckResult(
        passed=miou >= WELL_REPRODUCED,
        severity=dg.AssetCheckSeverity.WARN,
        description=f"Mean lane IoU {miou:.3f} on validation frames.",
        metadata={
            "partition": str(context.partition_key),
            "mean lane IoU": miou,
            "wanted": WELL_REPRODUCED,
        },
    )


def _training_check(asset: dg.AssetsDefinition) -> dg.AssetChecksDefinition:
    """Build the check that the loss of a training is finite and falls."""
    role = asset_name(asset.key)

    @partitioned_check(
        asset,
        name="training_is_finite",
        blocking=True,
        description="Every logged loss is a finite number, and the mean of the last tenth of the losses is "
        "below the mean of the first tenth.",
    )
    def check(context: dg.AssetCheckExecutionContext, project: Project) -> dg.AssetCheckResult:
        if untrained := _trained_together(context, project, role):
            return untrained
        losses = _history(context, project, role)["train/loss"].dropna().to_numpy()
        finite = bool(len(losses)) and bool(np.isfinite(losses).all())
        tenth = max(1, len(losses) // 10)
        first, last = (float(losses[:tenth].mean()), float(losses[-tenth:].mean())) if finite else (0.0, 0.0)
        return dg.AssetCheckResult(
            passed=finite and (last < first or len(losses) < 2),
            description=f"The loss fell from {first:.3f} to {last:.3f}."
            if last < first
            else f"The loss did not fall: {first:.3f} at first, {last:.3f} at last."
            if finite
            else "A loss is not finite.",
            metadata={
                "partition": str(context.partition_key),
                "first": first,
                "last": last,
                "log entries": len(losses),
            },
        )

    return check


def _convergence_check(asset: dg.AssetsDefinition) -> dg.AssetChecksDefinition:
    """Build the check that the loss of a training hardly falls in its last fifth."""
    role = asset_name(asset.key)

    @partitioned_check(
        asset,
        name="training_has_converged",
        description=f"At most {STILL_FALLING:.0%} of the total fall of the loss came in the last fifth of "
        "the training. A larger share means that more steps would help.",
    )
    def check(context: dg.AssetCheckExecutionContext, project: Project) -> dg.AssetCheckResult:
        if untrained := _trained_together(context, project, role):
            return untrained
        losses = _history(context, project, role)["train/loss"].dropna().to_numpy()
        share = late_loss_share(losses)
        return dg.AssetCheckResult(
            passed=share <= STILL_FALLING,
            severity=dg.AssetCheckSeverity.WARN,
            description=f"{share:.0%} of the fall of the loss came in the last fifth of the steps.",
            metadata={"partition": str(context.partition_key), "share": share, "wanted": STILL_FALLING},
        )

    return check


def late_loss_share(losses: np.ndarray) -> float:
    """Compute the share of the fall of a loss that came in the last fifth of a training.

    With m the mean over a part of the losses: (m of the 4th fifth - m of the 5th) / (m of the first tenth -
    m of the 5th), clipped to 0..1; 1 if the loss did not fall.

    Args:
        losses: logged losses of the training, in order of the steps.
    """
    fifth, tenth = max(1, len(losses) // 5), max(1, len(losses) // 10)
    last = losses[-fifth:].mean()
    fall = losses[:tenth].mean() - last
    if not fall > 0:  # nan, too
        return 1.0
    return float(np.clip((losses[-2 * fifth : -fifth].mean() - last) / fall, 0, 1))


teacher_has_converged = _convergence_check(teacher)
student_alone_has_converged = _convergence_check(student_alone)
student_lgad_has_converged = _convergence_check(student_lgad)
teacher_is_finite = _training_check(teacher)
student_alone_is_finite = _training_check(student_alone)
student_lgad_is_finite = _training_check(student_lgad)


@partitioned_check(
    student_lgad,
    additional_deps=[student_alone],
    description="Both students differ in the values of their weights only: settings, modules, parameters, "
    "files and exported graph are the same, so prediction costs the same.",
)
def inference_cost_is_unchanged(
    context: dg.AssetCheckExecutionContext, project: Project
) -> dg.AssetCheckResult:
    """Check that the student with distillation predicts at the same cost as the student alone."""
    from lgad_pipeline.evaluation.inference_parity import differences, forward_seconds

    paths = fetch_inputs(context, project, "student_alone", "student_lgad")
    deviations = differences(paths.student_alone, paths.student_lgad)
    alone, lgad = (1000 * seconds for seconds in forward_seconds(paths.student_alone, paths.student_lgad))
    return dg.AssetCheckResult(
        passed=not deviations,
        description="; ".join(deviations) or "Both students differ in the values of their weights only.",
        metadata={
            "partition": str(context.partition_key),
            "milliseconds per image on the CPU": f"{lgad:.1f}; student alone {alone:.1f}",
        },
    )


def _trained_together(
    context: dg.AssetCheckExecutionContext, project: Project, role: str
) -> dg.AssetCheckResult | None:
    """Return a passing result for a teacher that is trained together with the student, else None."""
    _, recipe = dataset_and_recipe(context)
    if role != "teacher" or project.recipe(recipe).trains_teacher_first:
        return None
    return dg.AssetCheckResult(
        passed=True,
        description="The recipe trains its teacher together with the student; no teacher is stored.",
        metadata={"partition": str(context.partition_key)},
    )


def _history(context: dg.AssetCheckExecutionContext, project: Project, role: str) -> "pd.DataFrame":
    import pandas as pd

    paths = fetch_inputs(context, project, role)
    return pd.read_parquet(paths.network(role) / "history.parquet")
