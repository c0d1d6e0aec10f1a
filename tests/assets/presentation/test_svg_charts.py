import xml.etree.ElementTree as ET

import numpy as np

from assets.presentation.svg_charts import BarGroup, curves, grouped_bars

SVG = "{http://www.w3.org/2000/svg}"


def bars(svg: str) -> list[float]:
    rows = [rect for rect in ET.fromstring(svg).iter(f"{SVG}rect") if rect.find(f"{SVG}title") is not None]
    return [float(rect.attrib["width"]) for rect in rows]


def test_bars_are_as_long_as_their_values():
    svg = grouped_bars([BarGroup("night", {"student_alone": 0.25, "student_lgad": 0.5})])
    alone, lgad = bars(svg)
    assert np.isclose(lgad, 2 * alone, atol=0.2)


def test_group_with_a_note_has_no_bar_and_is_escaped():
    svg = grouped_bars([BarGroup("a < b", {"student_alone": None}, note="5 & 6")])
    assert bars(svg) == []
    assert [text.text for text in ET.fromstring(svg).iter(f"{SVG}text")][-2:] == ["a < b", "5 & 6"]


def test_curve_falls_on_the_page_as_its_values_fall():
    svg = curves({"teacher": ([0, 1, 2], [3.0, 2.0, 1.0])}, "loss")
    points = next(ET.fromstring(svg).iter(f"{SVG}polyline")).attrib["points"].split()
    x, y = np.array([[float(value) for value in point.split(",")] for point in points]).T
    assert np.allclose(np.diff(x), x[1] - x[0]) and np.allclose(np.diff(y), y[1] - y[0], atol=0.2)
    assert y[1] > y[0]  # SVG counts downwards


def test_curve_leaves_out_what_is_not_finite_and_takes_long_ones():
    svg = curves({"teacher": (list(range(5000)), [np.nan, *np.linspace(9, 1, 4999)])}, "loss")
    points = next(ET.fromstring(svg).iter(f"{SVG}polyline")).attrib["points"]
    assert "nan" not in points and len(points.split()) == 400


def test_no_values_yet():
    assert "no values yet" in curves({"teacher": ([], [])}, "loss")


def test_logarithmic_axis_has_round_ticks():
    svg = curves({"teacher": ([0, 100], [1.79, 0.0622])}, "loss")
    texts = [text.text for text in ET.fromstring(svg).iter(f"{SVG}text")]
    assert texts[2:6] == ["0.1", "0.2", "0.5", "1"]
