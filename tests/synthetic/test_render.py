import cv2
import numpy as np
import pytest

from lgad_pipeline.config.splits import SCENARIOS, Scenario
from lgad_pipeline.synthetic.render import render


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_every_scenario_renders_a_frame_with_its_lanes(scenario: Scenario) -> None:
    scene = render(1, 5, scenario)
    assert scene.image.shape == (590, 1640, 3)
    assert scene.image.dtype == np.uint8
    assert scene.image.std() > 5
    if scenario == "crossroad":
        assert scene.lanes == []
        return
    assert 2 <= len(scene.lanes) <= 4
    for lane in scene.lanes:
        assert (np.diff(lane[:, 1]) == -10).all()
        assert (lane[:, 1] % 10 == 0).all()
        assert lane[0, 1] <= 590
        inside = (lane[1:-1, 0] >= 0) & (lane[1:-1, 0] <= 1639)
        assert inside.all()


def test_a_frame_depends_on_seed_and_index_alone() -> None:
    first = render(3, 8, "crowd")
    render(3, 9, "night")
    again = render(3, 8, "crowd")
    np.testing.assert_array_equal(first.image, again.image)
    for a, b in zip(first.lanes, again.lanes, strict=True):
        np.testing.assert_array_equal(a, b)
    other = render(4, 8, "crowd")
    assert not np.array_equal(first.image, other.image)


def test_night_is_dark_and_dazzle_is_blown_out() -> None:
    def brightness(scenario: Scenario) -> list[np.ndarray]:
        return [cv2.cvtColor(render(0, i, scenario).image, cv2.COLOR_BGR2GRAY)[::4, ::4] for i in range(4)]

    day, night, dazzle = (brightness(name) for name in ("normal", "night", "dazzle"))
    assert np.mean(night) < 0.7 * np.mean(day)
    # The glare is brighter than its surroundings by far: a large patch near white.
    assert np.mean([np.percentile(frame, 98) for frame in dazzle]) > 200
