"""Model card of a registered version."""

from collections.abc import Mapping

from assets.presentation.metadata import markdown_table
from assets.scores import Comparison
from lgad_pipeline.evaluation.types import Interval
from lgad_pipeline.settings import AnyDataset, FolderDataset, Recipe

_UNSTATED = (
    "not stated (`licence:` of the data set in lgad.yaml). CULane and TuSimple are published for research "
    "use, which binds models trained on them, too."
)


def model_card(
    dataset: AnyDataset,
    recipe: Recipe,
    comparison: Comparison,
    intervals: Mapping[str, Interval],
    tags: Mapping[str, str],
    run_id: str,
) -> str:
    """Model card of a version: purpose, data, recipe, scores; markdown.

    Args:
        dataset: Entry of lgad.yaml.
        recipe: Entry of lgad.yaml.
        comparison: Scores of the student with and without distillation.
        intervals: Bootstrap interval of the student's F1, by scenario.
        tags: Tags of the version.
        run_id: Id of the student's MLflow run, which keeps the pictures.
    """
    gain = comparison.gain_text
    gain = "Neither student finds a lane" if comparison.total.nothing_found else f"Distillation gained {gain}"
    height, width = dataset.image_size
    licence = (
        dataset.licence or _UNSTATED if isinstance(dataset, FolderDataset) else "rendered by this project."
    )
    rows = [
        {
            "scenario": row.scenario,
            "frames": row.frames,
            "F1": row.lgad.f1,
            "95 %": "–" if row.lgad.f1 is None else _range(intervals[row.scenario]),
            "F1 without LGAD": row.alone.f1,
            "false lanes": row.lgad.fp,
        }
        for row in comparison.rows
    ]
    return f"""Finds up to four lanes (far left, left, right, far right) in a camera frame.

**Input** frames of any size, uint8 (H, W, 3) RGB or JPEG and PNG bytes; over HTTP as base64. **Output**
lanes as points (x, y) in the frame's pixels, with slot, existence and confidence.

**Data** `{tags["dataset"]}`, fingerprint `{tags["data_fingerprint"]}`. Licence of the frames: {licence}

**Recipe** `{tags["recipe"]}`: {recipe.network.name} at {width} x {height} px, {recipe.student.steps} steps of
{recipe.student.batch_size} frames, with label-guided attention distillation. Commit
`{tags["git_commit"][:14]}`, Dagster run [{tags["dagster.run_id"][:8]}]({tags["dagster.run"]}).

**Scores** CULane's F1 at IoU 0.5 on test frames, with bootstrap intervals over frames. {gain}.

{_spaced(markdown_table(rows))}

![Lanes found on test frames](get-artifact?path=lanes.png&run_uuid={run_id})
"""


def _range(interval: Interval) -> str:
    return f"{interval.low:.3f} to {interval.high:.3f}"


def _spaced(table: str) -> str:
    """A markdown table with space between its columns, of which MLflow's pages leave none."""
    lines = table.split("\n")
    return "\n".join(line if "---" in line else line.replace(" |", "&emsp;|") for line in lines)
