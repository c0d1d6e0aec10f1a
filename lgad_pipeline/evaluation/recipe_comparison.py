"""Comparison of recipes on the same test frames: F1, gain, and lead over the first recipe."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from lgad_pipeline.config.roles import STUDENTS
from lgad_pipeline.errors import LgadError
from lgad_pipeline.evaluation.bootstrap import f1_interval, paired_f1_difference
from lgad_pipeline.evaluation.student_scores import StudentComparison, frame_counts, read_comparison
from lgad_pipeline.evaluation.types import IOU, Interval


@dataclass(frozen=True)
class RecipeScores:
    """Scores of the students of one recipe on the test frames.

    Attributes:
        recipe: name of the recipe.
        comparison: scores of both students.
        f1: F1 of each student with its 95 % interval (bootstrap over test frames).
        lead: F1 of the student with LGAD minus that of the first recipe (paired bootstrap); None for the
            first recipe.
    """

    recipe: str
    comparison: StudentComparison
    f1: Mapping[str, Interval]
    lead: Interval | None


def compare_recipes(folders: Mapping[str, Path]) -> tuple[list[RecipeScores], dict[str, str]]:
    """Compare all recipes that have scores on the same test frames as the first one.

    Args:
        folders: recipe -> directory of its score files (`score_students`).

    Returns:
        The scores of each compared recipe, and for each recipe that is left out the reason.
    """
    results: list[RecipeScores] = []
    left_out: dict[str, str] = {}
    first = None
    for recipe, folder in folders.items():
        try:
            comparison = read_comparison(folder)
            counts = {student: frame_counts(folder, student) for student in STUDENTS}
            lead = (
                None if first is None else paired_f1_difference(first, counts["student_lgad"], threshold=IOU)
            )
        except FileNotFoundError:
            left_out[recipe] = "has no scores yet"
            continue
        except LgadError:
            left_out[recipe] = "scored on other frames or annotations"
            continue
        first = counts["student_lgad"] if first is None else first
        f1 = {student: f1_interval(table, IOU) for student, table in counts.items()}
        results.append(RecipeScores(recipe, comparison, f1, lead))
    return results, left_out
