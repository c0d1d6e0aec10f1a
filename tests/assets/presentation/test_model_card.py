from assets.presentation.model_card import model_card
from lgad_pipeline.evaluation.student_scores import ScoreRow, StudentComparison
from lgad_pipeline.evaluation.types import Counts, Interval
from lgad_pipeline.settings import Recipe, SyntheticDataset

TAGS: dict[str, str] = dict.fromkeys(
    ("dataset", "data_fingerprint", "recipe", "git_commit", "dagster.run_id", "dagster.run"), "x"
)


def test_card_states_the_slots_of_the_data_set():
    counts, gain = Counts(1, 0, 0), Interval(0.0, 0.0, 0.0)
    card = model_card(
        SyntheticDataset.model_validate({"kind": "synthetic", "slots": 6}),
        Recipe.model_validate({"teacher": {}, "student": {}}),
        StudentComparison([ScoreRow("total", 1, counts, counts)], {}, gain),
        intervals={"total": gain},
        tags=TAGS,
        run_id="run",
    )
    assert card.startswith(
        "Finds up to 6 lanes (left 3, left 2, left, right, right 2, right 3) in a camera frame."
    )
