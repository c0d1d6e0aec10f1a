"""Model card of a registered version."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from assets.presentation.metadata import markdown_table
from lgad_pipeline.config.slots import slot_names
from lgad_pipeline.evaluation.types import Interval
from lgad_pipeline.settings import AnyDataset, FolderDataset, Recipe

if TYPE_CHECKING:
    from lgad_pipeline.evaluation.student_scores import StudentComparison

_UNSTATED = (
    "not stated (`licence:` of the data set in lgad.yaml). CULane and TuSimple are published for research "
    "use only; this applies to models trained on them, too."
)


def model_card(
    dataset: AnyDataset,
    recipe: Recipe,
    comparison: "StudentComparison",
    *,
    intervals: Mapping[str, Interval],
    tags: Mapping[str, str],
    run_id: str,
) -> str:
    """Write the model card of a version in markdown: purpose, data, recipe, scores.

    Args:
        dataset: settings of the data set.
        recipe: settings of the recipe.
        comparison: scores of the student with and without distillation.
        intervals: F1 of the student with its bootstrap interval, by scenario.
        tags: tags of the version.
        run_id: id of the student's MLflow run, which has the pictures.
    """
    gain = "Neither student finds a lane"
    if comparison.finds_lanes:
        gain = f"Gain of distillation: {comparison.gain_text}"
    height, width = dataset.image_size
    licence = (
        dataset.licence or _UNSTATED if isinstance(dataset, FolderDataset) else "rendered by this project."
    )
    rows = [
        {
            "scenario": row.scenario,
            "frames": row.frames,
            "F1": row.f1_lgad,
            "95 %": "–" if row.f1_lgad is None else _range(intervals[row.scenario]),
            "F1 without LGAD": row.f1_alone,
            "false lanes": row.lgad.fp,
        }
        for row in comparison.rows
    ]
    start = f"fine-tuned from `{tags['init']}`, " if "init" in tags else ""
    return f"""Finds up to {dataset.slots} lanes ({", ".join(slot_names(dataset.slots))}) in a camera frame.

**Input** frames of any size, uint8 (H, W, 3) RGB or JPEG and PNG bytes; over HTTP as base64. **Output**
lanes as points (x, y) in the frame's pixels, with slot, existence and confidence.

**Data** `{tags["dataset"]}`, fingerprint `{tags["data_fingerprint"]}`. Licence of the frames: {licence}

**Recipe** `{tags["recipe"]}`: {recipe.network.name} at {width} x {height} px, {recipe.student.steps} steps of
{recipe.student.batch_size} frames, with label-guided attention distillation. Commit
`{tags["git_commit"][:14]}`, {start}Dagster run [{tags["dagster.run_id"][:8]}]({tags["dagster.run"]}).

**Scores** CULane's F1 at IoU 0.5 on test frames, with bootstrap intervals over frames. {gain}.

{_spaced(markdown_table(rows))}

![Predicted lanes on test frames](get-artifact?path=lanes.png&run_uuid={run_id})
"""


def _range(interval: Interval) -> str:
    return f"{interval.low:.3f} to {interval.high:.3f}"


def _spaced(table: str) -> str:
    """Add space between the columns of a markdown table, because MLflow's pages show none."""
    lines = table.split("\n")
    return "\n".join(line if "---" in line else line.replace(" |", "&emsp;|") for line in lines)
