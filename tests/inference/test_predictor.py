import shutil
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from lgad_pipeline.config.decoding import DecodeConfig
from lgad_pipeline.config.distillation import MimickingPath
from lgad_pipeline.config.network import NetworkSpec
from lgad_pipeline.data.shard_split import Sample
from lgad_pipeline.distillation.teacher import teacher_spec
from lgad_pipeline.errors import LgadError
from lgad_pipeline.inference.frame_predictor import Lane
from lgad_pipeline.inference.predictor import LanePredictor, read_predictor, write_predictor
from lgad_pipeline.networks.checkpoint import save_network
from lgad_pipeline.networks.layers import LaneOutput
from lgad_pipeline.networks.registry import build_network
from lgad_pipeline.view import View
from lgad_pipeline.visualization.attention_sheet import attention_sheet, network_attention
from lgad_pipeline.visualization.overlays import (
    SLOT_COLOURS,
    contact_sheet,
    draw_attention,
    draw_label_map,
    draw_lanes,
    write_png,
)

VIEW = View((590, 1640), (64, 176), 240)


class RedIsTheLeftLane(torch.nn.Module):
    """Knows what it looks for: the redness of a pixel, after normalization, speaks for slot 2."""

    def __init__(self, in_channels: int, slots: int, image_size: tuple[int, int], width: float) -> None:
        super().__init__()
        self.slots = slots
        self.gain = torch.nn.Parameter(torch.tensor(10.0))

    def forward(self, image: torch.Tensor) -> LaneOutput:
        redness = image[:, 0] - image[:, 1] - 0.5
        logits = torch.full((len(image), self.slots + 1, *image.shape[-2:]), -50.0)
        logits[:, 0] = 0
        logits[:, 2] = self.gain * redness
        existence = torch.full((len(image), self.slots), -9.0)
        existence[:, 1] = torch.where((redness > 0).flatten(1).any(1), 9.0, -9.0)
        return LaneOutput(logits, existence)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    spec = NetworkSpec(name=f"{__name__}:RedIsTheLeftLane", image_size=VIEW.image_size)
    save_network(tmp_path, build_network(spec), spec=spec)
    write_predictor(tmp_path, VIEW, decode_config=DecodeConfig())
    return tmp_path


def road(with_lane: bool) -> tuple[np.ndarray, np.ndarray]:
    y = np.arange(589, 320, -10, dtype=np.float32)
    lane = np.stack([700 - 0.6 * (589 - y) * -1, y], 1)
    frame = np.full((590, 1640, 3), 90, np.uint8)
    if with_lane:
        cv2.polylines(frame, [lane.astype(np.int32)[:, None]], False, (250, 60, 60), 28)
    return frame, lane


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        (lambda frame: [frame / 255], r"float64 \(590, 1640, 3\)"),
        (lambda frame: [(frame / 255).astype(np.float32)], r"float32 \(590, 1640, 3\)"),
        (lambda frame: [frame.astype(np.uint16) * 257], r"uint16 \(590, 1640, 3\)"),
        (lambda frame: [frame.transpose(2, 0, 1)], r"uint8 \(3, 590, 1640\)"),
        (lambda frame: [frame[..., 0]], r"uint8 \(590, 1640\)"),
        (lambda frame: [np.dstack([frame, frame[..., 0]])], r"uint8 \(590, 1640, 4\)"),
        (lambda frame: frame, r"uint8 \(1640, 3\)"),
        (lambda frame: [frame, None], "NoneType"),  # of cv2.imread
        (lambda frame: [frame[:0]], r"empty, \(0, 1640, 3\)"),
    ],
)
def test_frames_of_another_kind_are_an_error(folder: Path, change, kind: str) -> None:
    with pytest.raises(LgadError, match=f"^A frame is {kind}"):
        LanePredictor.load(folder).predict(change(road(True)[0]))


def test_images_of_another_kind_are_an_error(folder: Path) -> None:
    predictor = LanePredictor.load(folder)
    image = predictor.prepare(road(True)[0]).image
    planes = torch.from_numpy(image).permute(2, 0, 1)[None]
    assert [lane.slot for lane in predictor.predict_images(planes)[0]] == [2]
    others: list[Any] = [planes / 255, planes[0], planes[..., 1:], torch.from_numpy(image)[None], image[None]]
    for images in others:
        for call in (predictor.predict_images, predictor.probabilities):
            with pytest.raises(
                LgadError, match=r"^The images are .*; give a tensor, uint8 \(B, 3, 64, 176\)"
            ):
                call(images)


def test_predictor_finds_the_lane_in_frame_pixels(folder: Path) -> None:
    frame, lane = road(True)
    found, nothing = LanePredictor.load(folder).predict([frame, road(False)[0]])
    assert nothing == []
    assert [which.slot for which in found] == [2]
    points = found[0].points
    assert points.dtype == np.float32 and np.all(np.diff(points[:, 1]) < 0)
    inside = points[(points[:, 1] < 580) & (points[:, 1] > 340)]
    expected = np.interp(-inside[:, 1], -lane[:, 1], lane[:, 0])
    assert len(inside) > 10 and np.abs(inside[:, 0] - expected).max() < 6  # a column is 9.3 px
    assert 0 < found[0].confidence <= 1


def test_frames_of_another_size_give_lanes_in_their_own_pixels(folder: Path) -> None:
    frame = road(True)[0]
    predictor = LanePredictor.load(folder)
    assert predictor.predict([]) == []
    half = cv2.resize(frame, (820, 295), interpolation=cv2.INTER_AREA)
    [whole], [small] = predictor.predict([frame, half])
    assert predictor.predict([half])[0][0].points.tolist() == small.points.tolist()
    expected = np.interp(-2 * small.points[:, 1], -whole.points[:, 1], whole.points[:, 0])
    assert np.abs(2 * small.points[:, 0] - expected).max() < 10
    assert small.existence == pytest.approx(1 / (1 + np.exp(-9)))


def test_a_folder_without_predictor_json_is_one_sentence(folder: Path) -> None:
    (folder / "predictor.json").write_text("{")
    with pytest.raises(LgadError, match=r"predictor\.json is damaged"):
        LanePredictor.load(folder)


def test_a_directory_that_is_no_student_is_named_with_the_student_next_to_it(folder: Path) -> None:
    root = folder / "models"
    for name, channels in (("teacher", 5), ("other", 3)):
        spec = NetworkSpec(in_channels=channels, image_size=(16, 32), width=0.25)
        save_network(root / name, build_network(spec), spec=spec)
    with pytest.raises(
        LgadError, match="teacher holds a teacher, which reads label maps and no frames; name the "
    ):
        LanePredictor.load(root / "teacher")
    with pytest.raises(
        LgadError, match=r"other holds no predictor\.json, which every trained student has; name the"
    ):
        LanePredictor.load(root / "other")
    (root / "student_lgad").mkdir()
    shutil.copy(folder / "predictor.json", root / "student_lgad")
    # A project writes predictor.json for its teachers, too.
    shutil.copy(folder / "predictor.json", root / "teacher")
    for read in (LanePredictor.load, read_predictor):
        with pytest.raises(LgadError, match=r"name the directory of a student, /.*/models/student_lgad\.$"):
            read(root / "teacher")


@pytest.mark.parametrize("device", ["gpu", "GPU", "cuda0", "0", "meta", ""])
def test_a_word_that_is_no_device_is_one_sentence(folder: Path, device: str) -> None:
    expected = f"{device!r} is not a device; give cpu, cuda for a GPU or cuda:1 for the second GPU."
    with pytest.raises(LgadError) as error:
        LanePredictor.load(folder, device)
    assert str(error.value) == expected


def test_lanes_are_drawn_in_the_colour_of_their_slot() -> None:
    frame = np.zeros((100, 200, 3), np.uint8)
    points = np.array([[150, 99], [150, 0]], np.float32)
    picture = draw_lanes(frame, [Lane(3, points, 1.0)], width=7)
    assert tuple(picture[50, 150]) == SLOT_COLOURS[2]
    assert not frame.any() and not picture[50, :140].any()


def test_label_map_leaves_the_background_alone() -> None:
    image = np.full((2, 2, 3), 100, np.uint8)
    picture = draw_label_map(image, np.array([[0, 1], [0, 0]], np.uint8), opacity=1.0)
    assert tuple(picture[0, 1]) == SLOT_COLOURS[0]
    assert (picture[1] == 100).all()


def test_attention_is_brightest_where_it_is_highest() -> None:
    attention = np.zeros((4, 8), np.float32)
    attention[:, 6] = 5
    picture = draw_attention(np.zeros((40, 80, 3), np.uint8), attention).sum(axis=2)
    assert picture[20].argmax() // 10 == 6
    assert not np.isnan(draw_attention(np.zeros((4, 4, 3), np.uint8), np.zeros((2, 2)))).any()


def test_contact_sheet_lays_out_rows(tmp_path: Path) -> None:
    red, blue = (np.full((50, 100, 3), colour, np.uint8) for colour in ((255, 0, 0), (0, 0, 255)))
    sheet = contact_sheet([red, blue, red], 2, width=60)
    gap = 4
    assert sheet.shape == (2 * (30 + gap) + gap, 2 * (60 + gap) + gap, 3)
    assert tuple(sheet[20, 20]) == (255, 0, 0) and tuple(sheet[20, 90]) == (0, 0, 255)
    assert tuple(sheet[50, 90]) == (255, 255, 255)
    captioned = contact_sheet(
        [red, blue], 2, captions=["a very long caption that has to shrink to fit", "b"], width=60
    )
    assert captioned.shape[0] > 30 + 2 * gap and captioned[40:].min() < 128
    write_png(tmp_path / "sheet.png", sheet)
    assert np.array_equal(np.asarray(cv2.imread(str(tmp_path / "sheet.png")))[..., ::-1], sheet)


def test_attention_sheet_has_a_row_a_layer_and_a_column_a_network(tmp_path: Path) -> None:
    spec = NetworkSpec(image_size=(32, 88), width=0.25)
    for name, chosen in (("teacher", teacher_spec(spec)), ("alone", spec), ("lgad", spec)):
        save_network(tmp_path / name, build_network(chosen), spec=chosen)
    sample = Sample(
        "a.jpg",
        np.full((32, 88, 3), 80, np.uint8),
        np.zeros((32, 88), np.uint8),
        np.zeros(4, bool),
        None,
    )
    students = {"alone": tmp_path / "alone", "LGAD": tmp_path / "lgad"}
    layers = [("encoder.stage2", "encoder.stage2"), ("encoder.stage1", "decoder.stage4")]
    paths = [MimickingPath(student=ours, teacher=theirs) for ours, theirs in layers]
    sheet = attention_sheet(sample, tmp_path / "teacher", students=students, paths=paths)
    assert sheet.shape == contact_sheet([sample.image] * 9, 3, captions=["a"] * 9).shape


def test_network_attention_is_the_sum_of_squares() -> None:
    layer = torch.nn.Conv2d(1, 2, 1, bias=False)
    torch.nn.init.constant_(layer.weight, 2.0)
    planes = torch.tensor([[[[1.0, 3.0]]]])
    assert network_attention(torch.nn.Sequential(layer), planes, ["0"])["0"].tolist() == [[8.0, 72.0]]
