import numpy as np
import pytest

from lgad_pipeline.synthetic.camera import FRAME_WIDTH, Camera
from lgad_pipeline.synthetic.layout import Line
from lgad_pipeline.synthetic.line_paint import draw_line
from lgad_pipeline.synthetic.road import Ground, Shape

CAMERA = Camera(focal=900.0, centre_x=800.0, horizon=275.0, height=1.25)


def line(u: float, **changes: object) -> Line:
    fields = {
        "kind": "solid",
        "yellow": False,
        "twin": 0.0,
        "width": 0.15,
        "dash": (4.0, 9.0, 0.0),
        "strength": 1.0,
    }
    return Line(u=u, **{**fields, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize("u", [-5.2, -1.7, 0.4, 1.9, 5.3])
def test_a_solid_line_covers_its_area_of_the_frame(u: float) -> None:
    ground = Ground(CAMERA, Shape(curvature=1 / 900, heading=0.01))
    mask = np.zeros((len(ground.rows), FRAME_WIDTH), np.uint8)
    draw_line(mask, ground, line(u))
    columns = ground.columns(u)
    width = 0.15 * ground.scale * ground.stretch
    whole = (columns - width - 8 > 0) & (columns + width + 8 < FRAME_WIDTH)
    # The covered pixels of a row add up to the width of the line there, however thin it is...
    np.testing.assert_allclose(mask.sum(1)[whole] / 255, width[whole], rtol=0.08, atol=0.12)
    # ...and their centre is the line's centre.
    bright = whole & (width > 1)
    centre = (mask * np.arange(FRAME_WIDTH)).sum(1)[bright] / mask.sum(1)[bright]
    np.testing.assert_allclose(centre, columns[bright], atol=0.3)


def test_a_dashed_line_is_painted_where_its_dashes_are() -> None:
    ground = Ground(CAMERA, Shape())
    mask = np.zeros((len(ground.rows), FRAME_WIDTH), np.uint8)
    draw_line(mask, ground, line(1.75, kind="dashed"))
    painted = mask.max(1) > 128
    for row, z in ((590 - ground.top - 1, 3.58), (int(275 + 1125 / 6.5) - ground.top, 6.5)):
        assert painted[row] == (z % 9 < 4)
    near = ground.z < 30
    wanted = ground.z[near] % 9 < 4
    assert (painted[near] == wanted).mean() > 0.97
