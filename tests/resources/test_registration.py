"""Versions of one training: each has the files and the code that were scored; a real MLflow store."""

from pathlib import Path
from unittest.mock import Mock

import cv2
import mlflow.pyfunc
import numpy as np
import pytest
import torch

from lgad_pipeline.config.decoding import DecodeConfig
from lgad_pipeline.config.network import NetworkSpec
from lgad_pipeline.inference.predictor import read_predictor, write_predictor
from lgad_pipeline.networks.checkpoint import save_network
from lgad_pipeline.networks.registry import build_network
from lgad_pipeline.view import View
from resources.mlflow.registry import register
from resources.mlflow.resource import default_tracking
from resources.mlflow.versions import network_of

NAME = "roads-enet"
VIEW = View((590, 1640), (48, 128), 240)


def test_other_settings_of_decoding_and_other_code_are_other_versions_of_a_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    tracking, network = default_tracking(tmp_path), tmp_path / "network"
    spec = NetworkSpec(image_size=VIEW.image_size, width=0.25)
    torch.manual_seed(0)
    save_network(network, build_network(spec), spec=spec)
    (tmp_path / "student.onnx").write_bytes(b"")
    run = tracking.client.create_run(tracking.experiment("roads"), start_time=1000).info.run_id
    tracking.client.set_terminated(run, end_time=2000)

    def version(threshold: float, code: str) -> str:
        write_predictor(network, VIEW, decode_config=DecodeConfig(existence_threshold=threshold))
        return register(
            tracking,
            NAME,
            folder=network,
            graph=tmp_path / "student.onnx",
            run_id=run,
            fingerprint="one",
            code=code,
            example=cv2.imencode(".jpg", np.full((590, 1640, 3), 90, np.uint8))[1].tobytes(),
            tags={"test_f1": f"{threshold}"},
            card="",
            owner="me",
        )

    with monkeypatch.context() as away, pytest.raises(RuntimeError):
        away.setattr(mlflow.pyfunc, "log_model", Mock(side_effect=RuntimeError))
        version(0.25, "first")
    assert tracking.client.get_run(run).info.status == "FINISHED", "an attempt that failed changes nothing"
    assert [version(0.25, "first"), version(0.9, "first"), version(0.9, "second")] == ["1", "2", "3"]
    assert version(0.25, "first") == "1", "a student is registered once"
    for number, threshold in (("1", 0.25), ("2", 0.9)):
        with network_of(tracking, NAME, version=number) as registered:
            assert read_predictor(registered)[1].existence_threshold == threshold
        assert tracking.client.get_model_version(NAME, number).tags["test_f1"] == f"{threshold}"
    info = tracking.client.get_run(run).info
    assert (info.status, info.end_time) == ("FINISHED", 2000), "the training has not run again"
    aliases = tracking.client.get_registered_model(NAME).aliases
    assert {name: str(number) for name, number in aliases.items()} == {"challenger": "1"}
