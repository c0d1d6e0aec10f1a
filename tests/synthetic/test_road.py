from lgad_pipeline.synthetic.camera import Camera
from lgad_pipeline.synthetic.road import Ground, Shape

CAMERA = Camera(focal=900.0, centre_x=800.0, horizon=275.0, height=1.25)


def test_a_crest_hides_the_ground_behind_it() -> None:
    falling = Ground(CAMERA, Shape(grade=-1.2e-3, rise=150.0))
    assert falling.vanishing > CAMERA.horizon
    assert falling.hidden(300.0)
    assert not falling.hidden(15.0)
    rising = Ground(CAMERA, Shape(grade=1e-3))
    assert rising.vanishing < CAMERA.horizon
