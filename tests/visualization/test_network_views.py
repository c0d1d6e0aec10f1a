"""Pictures of a network whose maps are smaller than the frame."""

import numpy as np
import torch

from lgad_pipeline.config.network import NetworkSpec
from lgad_pipeline.distillation.teacher import teacher_spec
from lgad_pipeline.networks.checkpoint import save_network
from lgad_pipeline.networks.registry import build_network
from lgad_pipeline.visualization.network_views import draw_probabilities, teacher_views
from lgad_pipeline.visualization.overlays import draw_label_map, slot_colour


def test_teacher_of_every_second_row_is_drawn_at_the_size_of_the_frame(tmp_path) -> None:
    torch.manual_seed(0)
    spec = teacher_spec(NetworkSpec(image_size=(32, 64), width=0.25), stride=2)
    save_network(tmp_path / "teacher", build_network(spec), spec=spec)
    image = np.zeros((32, 64, 3), np.uint8)
    views = teacher_views(tmp_path / "teacher", image, np.ones((32, 64), np.uint8))
    assert views.slots == 4 and views.probabilities.shape == (32, 64, 3)
    assert {picture.shape for picture in views.attention.values()} == {(32, 64, 3)}


def test_smaller_maps_are_enlarged() -> None:
    image = np.zeros((2, 4, 3), np.uint8)
    picture = draw_label_map(image, np.array([[0, 1]], np.uint8), opacity=1.0)
    assert (picture[:, :2] == 0).all() and (picture[:, 2:] == slot_colour(1)).all()
    probable = draw_probabilities(image, np.ones((1, 1, 1), np.float32))
    assert (probable == slot_colour(1)).all()
