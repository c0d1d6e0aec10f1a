import math
from pathlib import Path

import pandas as pd
import pytest

from lgad_pipeline.settings import Recipe
from lgad_pipeline.studies.compute_ratios import compute_ratios
from lgad_pipeline.studies.config import ComputeCost, GainStudy
from lgad_pipeline.studies.plan import plan

COST = ComputeCost(distilled_step=1.5, teacher_step=0.5)


def recipe() -> Recipe:
    return Recipe.model_validate(
        {
            "network": {"name": "enet"},
            "teacher": {"steps": 40, "batch_size": 8, "optimizer": {"warmup_steps": 1}},
            "student": {"steps": 200, "batch_size": 16, "optimizer": {"warmup_steps": 1}},
            "distillation": {"stop_step": 100, "start_step": 0, "warmup_steps": 0},
        }
    )


def test_compute_until_a_score_is_that_of_a_hand_calculation(tmp_path: Path) -> None:
    study = GainStudy.model_validate(
        {
            "dataset": "x",
            "recipes": ["enet"],
            "methods": ["equal-compute", "lgad"],
            "seeds": 2,
            "compute": COST,
        }
    )
    runs = plan(study, {"enet": recipe()}, output=tmp_path)
    # A teacher of 20 steps of as many frames costs 10 plain steps; 100 steps with LGAD cost 150.
    assert COST.spent(recipe(), 100) == 160 and COST.spent(recipe(), 200) == COST.equal_steps(recipe()) == 260
    scores = {
        ("equal-compute", 0): {100: 0.05, 200: 0.25, 260: 0.31},
        ("lgad", 0): {100: 0.20, 200: 0.40},
        ("equal-compute", 1): {100: 0.15, 200: 0.35, 260: 0.36},
        ("lgad", 1): {100: 0.18, 200: 0.28},
        ("alone", 0): {200: 0.9},
        ("alone", 1): {200: 0.9},
    }
    for run in runs:
        run.training.folder.mkdir(parents=True)
        values = scores[run.variant, run.seed]
        table = pd.DataFrame({"step": [50, *values], "val/miou": [math.nan, *values.values()]})
        table.to_parquet(run.training.folder / "history.parquet")
    table = compute_ratios(runs, COST)
    # 0.1 is passed before the first validation of a student; 0.28 is the highest score that all reach.
    # Seed 0: alone reaches 0.28 at 200 + 60 * 3 / 6 = 230, with LGAD at 160 + 100 * 8 / 20 = 200.
    # Seed 1: alone at 100 + 100 * 13 / 20 = 165, with LGAD at 260.
    logarithms = [math.log(230 / 200), math.log(165 / 260)]
    mean, deviation = sum(logarithms) / 2, abs(logarithms[0] - logarithms[1]) / math.sqrt(2)
    half = 12.706204736 * deviation / math.sqrt(2)
    assert table[["recipe", "variant", "level", "pairs"]].values.tolist() == [["enet", "lgad", 0.28, 2]]
    assert table.iloc[0][["ratio", "low", "high"]].tolist() == pytest.approx(
        [math.exp(mean), math.exp(mean - half), math.exp(mean + half)]
    )
    alone = [run for run in runs if run.seed == 0]
    first = compute_ratios(alone, COST)
    # Seed 0 alone: levels 0.3 (alone 250, LGAD 210) and the highest score of both, 0.31.
    assert first["level"].tolist() == [0.3, 0.31] and first["low"].isna().all()
    assert first["ratio"].tolist() == pytest.approx([250 / 210, 260 / 215])
    assert compute_ratios([run for run in alone if run.variant != "equal-compute"], COST).empty
