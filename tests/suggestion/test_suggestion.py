"""Frames to label next: measures against hand calculation, the choice, and the command."""

import csv
import os
from math import log
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from lgad_pipeline import DecodeConfig, LanePredictor, NetworkSpec, View, build_network
from lgad_pipeline.cli.main import app
from lgad_pipeline.config.network import allow_networks
from lgad_pipeline.errors import LgadError
from lgad_pipeline.inference.predictor import write_predictor
from lgad_pipeline.inference.sources import RejectedFrames, find_sources
from lgad_pipeline.networks.checkpoint import save_network
from lgad_pipeline.suggestion.measures import FrameMeasures, disagreement, measure, uncertainty
from lgad_pipeline.suggestion.ranking import choose


def maps(*pixels: tuple[float, ...]) -> torch.Tensor:
    """Return probability maps (1, 4, 1, W) from the probabilities of the slots of each pixel."""
    return torch.tensor(pixels).T[None, :, None, :]


def test_uncertainty_is_the_entropy_weighted_by_the_probability_of_a_lane():
    certain, half, empty = (0.0, 1.0, 0.0, 0.0), (0.0, 0.5, 0.0, 0.0), (0.0, 0.0, 0.0, 0.0)
    assert uncertainty(maps(certain, empty)).item() == pytest.approx(0)
    # (1 * 0 + 0.5 * ln 2 / ln 5) / 1.5
    expected = 0.5 * log(2) / log(5) / 1.5
    assert uncertainty(maps(certain, half, empty)).item() == pytest.approx(expected, abs=1e-6)
    assert uncertainty(maps((0.2, 0.2, 0.2, 0.2))).item() == pytest.approx(1, abs=1e-6)
    assert uncertainty(maps(empty)).item() == 0


def test_disagreement_is_the_share_that_is_placed_differently():
    left, right = (1.0, 0.0, 0.0, 0.0), (0.0, 1.0, 0.0, 0.0)
    assert disagreement(maps(left), maps(left)).item() == 0
    assert disagreement(maps(left), maps(right)).item() == 1
    assert disagreement(maps((0.6, 0, 0, 0)), maps((0.2, 0, 0, 0))).item() == pytest.approx(0.5)


def measures(values: list[tuple[float, float, float]], hashes: list[int] | None = None) -> FrameMeasures:
    columns = np.array(values, float).reshape(-1, 3).T
    names = hashes or [index * 0x1111111111111111 for index in range(1, len(values) + 1)]
    texts: list[str | None] = [f"{name:016x}" * 4 for name in names]
    return FrameMeasures(columns[0], columns[1], columns[2][:, None], texts)


def test_the_choice_follows_the_mean_of_three_ranks():
    # The labelled frame is at 0 of the only feature.
    pool = measures([(0.1, 0.1, 1), (0.9, 0.2, 2), (0.5, 0.9, 9), (0.2, 0.3, 8.9), (0.3, 0.8, -5)])
    known = measures([(0, 0, 0)], [0xABCDEF])
    chosen = choose(pool, known, 3).chosen
    # Ranks of frame 2: uncertainty 3 of 4 are smaller, disagreement 4 of 4, novelty 4 of 4.
    assert chosen[0].index == 2 and chosen[0][1:] == pytest.approx((11 / 12, 0.75, 1, 1))
    # Frame 3 resembles frame 2 now: its novelty fell from rank 3/4 to 0, so frame 4 is next (2/4, 3/4, 2/4).
    assert chosen[1].index == 4 and chosen[1].score == pytest.approx(7 / 12)
    assert [each.index for each in choose(pool, known, 99).chosen] != sorted(range(5))


def test_nearly_the_same_picture_is_never_chosen_twice():
    hashes = [7, 7, 1 << 20, 0xF0F0F0F0F0F0F0F0, 0xABCDEF]
    pool = measures([(value, value, value) for value in (0.9, 0.8, 0.1, 0.2, 1.0)], hashes)
    choice = choose(pool, measures([(0, 0, 0)], [0xABCDEF]), 5)
    # 7 and 1 << 20 differ in 4 x 4 bits, more than NEAR; frames 1 and 4 repeat 0 and the labelled one.
    assert {each.index for each in choice.chosen} == {0, 2, 3} and choice.repeats == 2
    pool.hashes[:3] = [None, None, None]  # a picture without structure repeats none
    choice = choose(pool, measures([(0, 0, 0)], [0xABCDEF]), 5)
    assert {each.index for each in choice.chosen} == {0, 1, 2, 3} and choice.repeats == 1


@pytest.fixture
def student(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    spec = NetworkSpec(name="enet", image_size=(32, 88), width=0.25)
    save_network(tmp_path / "student", build_network(spec), spec=spec)
    decode = DecodeConfig(existence_threshold=0, peak_threshold=0)
    write_predictor(tmp_path / "student", View((118, 328), (32, 88), 40), decode_config=decode)
    return tmp_path / "student"


def picture(path: Path, seed: int, brighter: int = 0) -> None:
    small = np.random.default_rng(seed).integers(0, 200, (12, 24, 3), np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), cv2.resize(small, (328, 118)) + np.uint8(brighter))


def test_flips_and_second_students_disagree(student):
    predictor = LanePredictor.load(student, "cpu")
    image = np.random.default_rng(0).integers(0, 255, (32, 88, 3), np.uint8)
    alone = measure(predictor, iter([image]), "encoder.stage3")
    same = measure(predictor, iter([image]), "encoder.stage3", other=predictor)
    assert alone.disagreement[0] > 0 and same.disagreement[0] == pytest.approx(alone.disagreement[0] / 2)
    assert alone.features.shape == (1, 2 * 32)
    spec = NetworkSpec(name="enet", image_size=(32, 88), width=0.25, slots=6)
    six = LanePredictor(build_network(spec), predictor.view, decode_config=DecodeConfig(), device="cpu")
    with pytest.raises(
        LgadError, match="two students have 4 and 6 lane slots; give students of one data set"
    ):
        measure(predictor, iter([image]), "encoder.stage3", other=six)


@pytest.mark.parametrize("tool", ["labelme", "cvat"])
def test_the_command_writes_what_the_import_reads(student, tmp_path, tool, monkeypatch, capsys):
    allow_networks("enet")
    for number in range(6):
        picture(tmp_path / f"new/drive/{number}.jpg", number)
    picture(tmp_path / "new/drive/3 again.png", 3, brighter=10)
    (tmp_path / "new/damaged.jpg").write_bytes(b"\xff\xd8 no picture")
    picture(tmp_path / "new/drive/5.png", 50)
    picture(tmp_path / "7.jpg", 7)
    (tmp_path / "7.jpg").rename(tmp_path / "new" / os.fsdecode(b"\xb3\xb5.jpg"))
    for number in (4, 90):
        picture(tmp_path / f"labelled/{number}.jpg", number)
    output = tmp_path / "out"
    arguments = [
        tmp_path / "new",
        "--model",
        student,
        "--labelled",
        tmp_path / "labelled",
        "--output",
        output,
    ]
    app(["suggest", *map(str, arguments), "--count", "20", "--format", tool], standalone_mode=False)
    printed = capsys.readouterr()
    assert (
        "5 of 7 frames suggested, compared with 2" in printed.out and "2 show a picture again" in printed.out
    )
    assert "damaged.jpg" in printed.err and "not UTF-8, which no annotation can hold" in printed.err
    assert "drive/5.png: would have the annotation file of drive/5.jpg" in printed.err
    rows = list(csv.DictReader((output / "suggestions.csv").open()))
    frames = {row["frame"] for row in rows}
    assert len(frames) == 5 and "drive/4.jpg" not in frames
    assert len({"drive/3.jpg", "drive/3 again.png"} & frames) == 1
    assert cv2.imread(str(output / "suggestions.jpg")) is not None
    # The contact sheet of an earlier call is no frame; a picture of its name without the table is one.
    (tmp_path / "other").mkdir()
    (tmp_path / "other/suggestions.jpg").write_bytes((output / "suggestions.jpg").read_bytes())
    found_sources = find_sources(str(tmp_path), None, rejected=RejectedFrames()).frames
    assert "other/suggestions.jpg" in found_sources and "out/suggestions.jpg" not in found_sources
    from lgad_pipeline.datasets.importing import cvat, labelme
    from lgad_pipeline.datasets.importing.source import Source

    found = list((labelme if tool == "labelme" else cvat).read(Source(output), []))
    assert len(found) == 5 and all(each.predicted for each in found)
    assert any(each.shapes for each in found)
