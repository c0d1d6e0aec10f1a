import re

import numpy as np

from assets.presentation.report_page import AttentionRow, Picture, Report, render
from lgad_pipeline.evaluation.student_scores import ScoreRow
from lgad_pipeline.evaluation.types import Counts, Interval

PICTURE = Picture(np.full((40, 100, 3), 90, np.uint8), "frame <1>")
ROWS = [
    ScoreRow("total", 20, Counts(5, 5, 5), Counts(10, 8, 4)),
    ScoreRow("crossroad", 2, Counts(0, 3, 0), Counts(0, 1, 0)),
]


def page(**changes) -> str:
    content: dict = {
        "dataset": "roads",
        "recipe": "enet",
        "date": "today",
        "scores": ROWS,
        "gain": Interval(0.1, -0.01, 0.2),
        "model": "roads-enet",
        "version": "7",
        "decision": "Version 7 becomes champion.",
        "samples": [PICTURE],
        "attention": [AttentionRow("stage2", PICTURE, PICTURE, PICTURE, PICTURE)],
        "curves": {"loss": {"teacher": ([1, 2], [2.0, 1.0])}},
        "data_counts": {"train": {"frames": 10, "lanes": 25}},
        "scenario_counts": {},
        "rejected": 0,
        "facts": {"tracking": "sqlite:///x.db"},
        "links": {"run": "http://localhost:3000/runs/1"},
        "champion": True,
    }
    return render(Report(**{**content, **changes}))


def test_numbers_are_on_the_page():
    html = page()
    text = re.sub(r"\s+", " ", re.sub(r"<style.*?</style>|<[^>]+>", " ", html, flags=re.DOTALL))
    assert "0.625" in text and "+12.5" in text and "−1.0" in text
    assert "roads-enet v7" in text and "2.50" in text
    assert "3 false positives alone, 1 with LGAD" in text


def test_text_from_outside_is_escaped():
    assert "frame &lt;1&gt;" in page() and "<b>x" not in page(decision="<b>x")


def test_nothing_is_loaded_from_elsewhere():
    assert not re.findall(r"""(?:src|@import|url\()\s*=?["'(]?(?!data:)https?:""", page())


def test_gain_without_lanes_is_left_open():
    assert ROWS[1].gain is None and ROWS[0].gain == 0.125
