from pathlib import Path

import cv2
import numpy as np
import torch

from lgad_pipeline.inference.commands import predict
from lgad_pipeline.inference.predictor import write_predictor
from lgad_pipeline.lanes.config import DecodeConfig
from lgad_pipeline.lanes.view import View
from lgad_pipeline.models.registry import build
from lgad_pipeline.models.spec import NetworkSpec
from lgad_pipeline.models.store import save_network


def test_a_frame_that_cannot_be_used_is_named_and_the_rest_goes_on(tmp_path: Path, capsys) -> None:
    spec = NetworkSpec(image_size=(16, 32), width=0.25)
    torch.manual_seed(0)
    save_network(tmp_path / "model", build(spec), spec)
    write_predictor(tmp_path / "model", View((48, 96), (16, 32), 0), DecodeConfig())
    frames = tmp_path / "frames"
    frames.mkdir()
    whole = cv2.imencode(".jpg", np.full((48, 96, 3), 90, np.uint8))[1].tobytes()
    other = cv2.imencode(".jpg", np.full((50, 96, 3), 90, np.uint8))[1].tobytes()
    for name, data in (("cut", whole[:-60]), ("good", whole), ("size", other), ("text", b"no picture")):
        (frames / f"{name}.jpg").write_bytes(data)
    predict(frames, tmp_path / "model", tmp_path / "out", pictures=True)
    written = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert written == ["good.lanes.jpg", "good.lines.txt"]
    told = " ".join(capsys.readouterr().out.split())
    assert "1 lane files" in told
    assert "cut.jpg: is cut off before its end" in told
    assert "size.jpg: A picture is 96 x 50 px where 96 x 48 px are expected" in told
    assert "text.jpg: is neither a JPEG nor a PNG image" in told
