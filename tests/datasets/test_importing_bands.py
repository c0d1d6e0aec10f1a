import numpy as np
import pytest

from lgad_pipeline.datasets.importing.bands import centre_line
from lgad_pipeline.datasets.reader import AnnotationError

WIDTH = 640


def turned(points: list, by: int) -> list:
    return points[by:] + points[:by]


def either_way(line: np.ndarray) -> list:
    line = line if line[0, 1] >= line[-1, 1] else line[::-1]
    return line.round(6).tolist()


@pytest.mark.parametrize("start", range(4))
@pytest.mark.parametrize("backwards", [False, True])
def test_a_thin_quadrilateral_becomes_the_line_between_the_middles_of_its_ends(start, backwards):
    corners = turned([[100, 350], [110, 350], [255, 190], [250, 190]], start)
    line = centre_line(np.array(corners[::-1] if backwards else corners), WIDTH)
    assert either_way(line) == [[105, 350], [252.5, 190]]


@pytest.mark.parametrize(
    ("corners", "expected"),
    [
        # Nearly level, with level ends: row by row its middle runs from (10, 300) to (310, 200).
        ([[0, 300], [20, 300], [320, 200], [300, 200]], [[10, 300], [310, 200]]),
        # Level.
        ([[50, 300], [600, 300], [600, 310], [50, 310]], [[50, 305], [600, 305]]),
        # The corners of one end in the wrong order.
        ([[100, 350], [110, 350], [250, 190], [255, 190]], [[105, 350], [252.5, 190]]),
        # Pointed at the far end.
        ([[100, 350], [110, 350], [255, 190]], [[105, 350], [255, 190]]),
        # A corner on one side alone: it is opposite the middle of the other side.
        ([[100, 350], [110, 350], [112, 270], [110, 190], [100, 190]], [[105, 350], [106, 270], [105, 190]]),
    ],
)
def test_bands_with_straight_sides(corners, expected):
    assert sorted(centre_line(np.array(corners), WIDTH).round(6).tolist()) == sorted(expected)


def test_a_curved_band_becomes_the_arc_in_its_middle():
    angle = np.linspace(0, np.pi / 2, 10)
    arc = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    line = centre_line(np.vstack([200 * arc, 190 * arc[::-1]]), WIDTH)
    assert line == pytest.approx(195 * arc) or line == pytest.approx(195 * arc[::-1])


def test_a_band_that_narrows_and_bends():
    rows = np.array([350, 310, 270, 230, 190.0])
    left = 100 + (350 - rows) ** 1.3 / 4
    width = 12 - (350 - rows) / 20
    outline = np.vstack([np.stack([left, rows], 1), np.stack([left + width, rows], 1)[::-1]])
    line = np.array(either_way(centre_line(outline, WIDTH)))
    assert np.interp(rows, line[::-1, 1], line[::-1, 0]) == pytest.approx(left + width / 2, abs=0.05)


@pytest.mark.parametrize("bend", [0, 20, 80])
@pytest.mark.parametrize("count", [3, 4, 12, 40])
def test_a_line_that_the_polygon_tool_closed_stays_the_line(bend, count):
    share = np.linspace(0, 1, count)
    drawn = np.stack([100 + 200 * share + bend * share**2, 350 - 160 * share], 1)
    line = centre_line(drawn, WIDTH)
    assert line == pytest.approx(drawn) or line == pytest.approx(drawn[::-1])


def test_an_outline_of_many_corners_is_simplified_by_less_than_a_pixel():
    share = np.linspace(0, 1, 400)[:, None]
    left = np.array([100, 350]) + share * np.array([150, -160])
    outline = np.vstack([left, left[::-1] + np.array([10, 0])])
    line = np.array(either_way(centre_line(outline, WIDTH)))
    assert np.interp([340, 270, 200], line[::-1, 1], line[::-1, 0]) == pytest.approx(
        [105 + 150 * (350 - row) / 160 for row in (340, 270, 200)], abs=1
    )


@pytest.mark.parametrize(
    ("corners", "words"),
    [
        ([[0, 0], [100, 0], [100, 100], [0, 100]], "100 px long and 100 px wide, which is not a band"),
        ([[100, 200], [120, 180], [200, 180], [220, 200], [220, 250], [100, 250]], "not a band"),
        ([[100, 350], [150, 350], [150, 50], [100, 50]], "50 px wide on average, more than the 40 px"),
        ([[1, 1], [2, 2]], "fewer than three corners"),
        ([[1, 1], [1, 1], [1, 1]], "fewer than three corners"),
    ],
)
def test_polygons_that_are_no_band_are_named(corners, words):
    with pytest.raises(AnnotationError, match=words):
        centre_line(np.array(corners), WIDTH)


def test_a_polygon_that_folds_back_on_itself_is_rejected():
    with pytest.raises(AnnotationError, match="folds back on itself"):
        centre_line(np.array([[95, 350], [255, 190], [105, 350], [245, 190]]), WIDTH)
