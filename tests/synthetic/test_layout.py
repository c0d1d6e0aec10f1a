import numpy as np

from lgad_pipeline.synthetic.layout import sample_layout


def test_the_car_drives_between_its_two_lines() -> None:
    rng = np.random.default_rng(4)
    for _ in range(200):
        layout = sample_layout(rng, "normal")
        assert layout.lines[layout.ego_left].u < 0 < layout.lines[layout.ego_left + 1].u
        assert 2 <= len(layout.annotated) <= 4
        us = [entry.u for entry in layout.lines]
        assert us == sorted(us)
