from dataclasses import replace

import numpy as np
import pytest

from lgad_pipeline.synthetic.camera import FRAME_WIDTH, Camera
from lgad_pipeline.synthetic.layout import sample_layout
from lgad_pipeline.synthetic.line_paint import draw_line
from lgad_pipeline.synthetic.render import annotate, lane_points
from lgad_pipeline.synthetic.road import Ground, Shape

CAMERA = Camera(focal=900.0, centre_x=800.0, horizon=275.0, height=1.25)


def test_a_lane_on_a_flat_straight_road_is_the_pinholes_straight_line() -> None:
    # A ground point at distance z shows on row 275 + 900 * 1.25 / z, so z = 1125 / (y - 275), and a
    # line 1.75 m to the right is on column 800 + 900 * 1.75 / z = 800 + 1.4 (y - 275).
    points = lane_points(Ground(CAMERA, Shape()), 1.75, top=300.0)
    assert points[:, 1].tolist() == [float(y) for y in range(590, 300, -10)]
    np.testing.assert_allclose(points[:, 0], 800 + 1.4 * (points[:, 1] - 275), atol=0.02)


def test_a_lane_that_leaves_the_frame_keeps_one_point_beyond() -> None:
    points = lane_points(Ground(CAMERA, Shape()), 5.25, top=300.0)
    assert points[0, 0] > FRAME_WIDTH - 1
    assert (points[1:, 0] < FRAME_WIDTH).all()


def test_a_bend_moves_a_lane_along_its_parabola() -> None:
    # With a bend that never straightens, the middle runs along k z^2 / 2; u is measured along the normal,
    # which the column sees as u sqrt(1 + (k z)^2).
    k = 1 / 400
    ground = Ground(CAMERA, Shape(curvature=k, bend=1e12))
    z = 1125 / (400 - 275)
    expected = 800 + 900 * (k * z**2 / 2 + 1.75 * np.sqrt(1 + (k * z) ** 2)) / z
    points = lane_points(ground, 1.75, top=300.0)
    assert points[points[:, 1] == 400][0, 0] == pytest.approx(expected, abs=0.02)


def test_a_roll_turns_the_lanes_with_the_frame() -> None:
    level = lane_points(Ground(CAMERA, Shape()), 1.75, top=320.0)
    rolled_camera = Camera(900.0, 800.0, 275.0, 1.25, roll=1.5)
    rolled = lane_points(Ground(rolled_camera, Shape()), 1.75, top=320.0)
    matrix = rolled_camera.roll_matrix()
    moved = level @ matrix[:, :2].T + matrix[:, 2]
    expected = np.interp(rolled[3:-3, 1], moved[::-1, 1], moved[::-1, 0])
    np.testing.assert_allclose(rolled[3:-3, 0], expected, atol=0.05)


def test_lanes_are_annotated_inside_their_paint() -> None:
    rng = np.random.default_rng(3)
    for _ in range(20):
        layout = sample_layout(rng, "normal")
        ground = Ground(
            CAMERA, Shape(offset=float(rng.uniform(-0.4, 0.4)), curvature=float(rng.normal(0, 1e-3)))
        )
        lanes = annotate(ground, layout, margin=12.0)
        assert 2 <= len(lanes) <= 4
        assert {name.split()[-2] for _, name in lanes} <= {"solid", "dashed"}
        for annotated in layout.annotated:
            solid = replace(annotated, kind="solid", twin=0.0, width=0.15, strength=1.0)
            mask = np.zeros((len(ground.rows), FRAME_WIDTH), np.uint8)
            draw_line(mask, ground, solid)
            points = lane_points(ground, annotated.u, ground.vanishing + 12)
            inside = (points[:, 0] > 0) & (points[:, 0] < FRAME_WIDTH - 1) & (points[:, 1] < 590)
            x, y = np.round(points[inside]).astype(int).T
            assert (mask[y - ground.top, x] > 0).all()
