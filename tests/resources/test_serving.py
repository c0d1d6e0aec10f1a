"""The registered model as people load it: in Python, and over HTTP from `mlflow models serve`."""

import base64
import io
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import time
import urllib.error
import urllib.request
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import mlflow
import mlflow.artifacts
import numpy as np
import pytest
import torch
from mlflow.pyfunc.model import PythonModelContext
from mlflow.pyfunc.scoring_server import predictions_to_json

from lgad_pipeline.config.decoding import DecodeConfig
from lgad_pipeline.config.network import NetworkSpec
from lgad_pipeline.inference.predictor import LanePredictor, write_predictor
from lgad_pipeline.networks.checkpoint import save_network
from lgad_pipeline.networks.registry import build_network
from lgad_pipeline.view import View
from resources.mlflow.registry import register
from resources.mlflow.resource import default_tracking
from resources.mlflow.served_model import LaneModel
from resources.mlflow.versions import CHAMPION

MODEL = f"models:/roads-enet@{CHAMPION}"
# What the place where a model is loaded need not have; mlflow brings pandas, pyarrow and pydantic.
ABSENT = """
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("dagster", "lightning_fabric", "matplotlib", "assets", "resources"):
            raise ImportError(f"{name} is not there")
sys.meta_path.insert(0, Absent())
"""


def jpeg(frame: np.ndarray) -> bytes:
    return cv2.imencode(".jpg", frame[..., ::-1])[1].tobytes()


def bomb() -> bytes:
    """A PNG of a few hundred bytes that claims 100,000 x 100,000 pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 100_000, 100_000, 8, 2, 0, 0, 0)
    data = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 99)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + data


def black(height: int, width: int) -> bytes:
    return cv2.imencode(".png", np.zeros((height, width), np.uint8))[1].tobytes()


def turned(data: bytes, orientation: int) -> bytes:
    """A JPEG with an EXIF orientation."""
    tag = b"\x01\x12\x00\x03\x00\x00\x00\x01" + orientation.to_bytes(2) + b"\0\0"
    exif = b"Exif\0\0MM\0\x2a\0\0\0\x08\0\x01" + tag + b"\0\0\0\0"
    return data[:2] + b"\xff\xe1" + (len(exif) + 2).to_bytes(2) + exif + data[2:]


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Path:
    """A store with a champion that finds lanes everywhere: random weights, thresholds at zero."""
    folder = tmp_path_factory.mktemp("store")
    tracking = default_tracking(folder)
    network = folder / "network"
    spec = NetworkSpec(image_size=(48, 128), width=0.25)
    torch.manual_seed(0)
    save_network(network, build_network(spec), spec=spec)
    view = View((590, 1640), spec.image_size, 240)
    write_predictor(network, view, decode_config=DecodeConfig(existence_threshold=0, peak_threshold=0))
    (folder / "student.onnx").write_bytes(b"")
    run = tracking.client.create_run(tracking.experiment("roads")).info.run_id
    version = register(
        tracking,
        "roads-enet",
        folder=network,
        graph=folder / "student.onnx",
        run_id=run,
        fingerprint="one",
        code="first",
        example=jpeg(np.full((590, 1640, 3), 90, np.uint8)),
        tags={},
        card="",
        owner="me",
    )
    tracking.client.set_registered_model_alias("roads-enet", CHAMPION, version)
    return folder


@pytest.fixture(scope="module")
def frames() -> list[np.ndarray]:
    random = np.random.default_rng(0)
    return [
        cv2.blur(random.integers(0, 256, (h, w, 3), np.uint8), (9, 9)) for h, w in ((590, 1640), (360, 640))
    ]


def test_arrays_bytes_and_base64_of_any_size_give_lanes_in_their_pixels(store, frames):
    default_tracking(store).point_mlflow_here()
    model = mlflow.pyfunc.load_model(MODEL)
    found = model.predict(frames)
    assert [len(frame.lanes) for frame in found] == [4, 4]
    alone = model.predict(frames[:1])
    assert model.predict(frames[0]) == alone
    for one, of_two in zip(alone[0].lanes, found[0].lanes, strict=True):  # a batch of two rounds otherwise
        assert one.slot == of_two.slot and one.existence == pytest.approx(of_two.existence, abs=1e-4)
        assert one.confidence == pytest.approx(of_two.confidence, abs=1e-3)
        np.testing.assert_allclose(one.points, of_two.points, atol=0.1)
    files = [cv2.imencode(".png", frame[..., ::-1])[1].tobytes() for frame in frames]
    assert model.predict(files) == found
    assert model.predict([base64.b64encode(data).decode() for data in files]) == found
    for frame, (height, width) in zip(found, ((590, 1640), (360, 640)), strict=True):
        points = np.concatenate([lane.points for lane in frame.lanes])
        assert points.min() >= -0.5 and points[:, 0].max() < width and points[:, 1].max() <= height
        assert points[:, 1].max() > 0.9 * height
        assert all(0 <= lane.existence <= 1 and 0 <= lane.confidence <= 1 for lane in frame.lanes)
    path = store / "frame.png"
    path.write_bytes(files[0])
    assert model.predict([path]) == model.predict(path) == model.predict([files[0]])
    with pytest.raises(Exception, match="text that is not base64; give a file as Path"):
        model.predict([str(path)])
    with pytest.raises(Exception, match=r"Frame 1 cannot be read .*nowhere\.jpg"):
        model.predict([store / "nowhere.jpg"])
    stored = cv2.imdecode(np.frombuffer(jpeg(frames[1]), np.uint8), cv2.IMREAD_COLOR_RGB)
    assert stored is not None
    shown = np.ascontiguousarray(stored[::-1, ::-1])
    assert model.predict([turned(jpeg(frames[1]), 3)]) == model.predict([shown])
    assert model.metadata.signature.inputs is not None
    local = Path(mlflow.artifacts.download_artifacts(MODEL))
    assert not [path for path in local.rglob("*") if path.suffix in (".pkl", ".pickle", ".pt", ".pth")]


@pytest.mark.parametrize("types", [(), ("solid", "dashed")])
def test_lanes_have_types_if_the_network_predicts_them(tmp_path, frames, types):
    spec = NetworkSpec(image_size=(48, 128), width=0.25, lane_types=types)
    save_network(tmp_path, build_network(spec), spec=spec)
    view = View((590, 1640), spec.image_size, 240)
    write_predictor(tmp_path, view, decode_config=DecodeConfig(existence_threshold=0, peak_threshold=0))
    model = LaneModel()
    model.load_context(PythonModelContext({"network": str(tmp_path)}, None))
    [found] = model.predict(frames[:1])
    [expected] = LanePredictor.load(tmp_path).predict(frames[:1])
    assert [(lane.type, lane.type_probability) for lane in found.lanes] == [
        (lane.type, lane.type_probability) for lane in expected
    ]
    answer = io.StringIO()
    predictions_to_json([found], answer)  # as the server does
    [frame] = json.loads(answer.getvalue())["predictions"]
    keys = {"slot", "existence", "confidence", "points", *(("type", "type_probability") if types else ())}
    assert len(frame["lanes"]) == 4 and all(lane.keys() == keys for lane in frame["lanes"])
    assert not types or all(lane["type"] in types for lane in frame["lanes"])


def test_downloaded_version_is_a_folder_that_lgad_predict_reads(store, frames, tmp_path):
    default_tracking(store).point_mlflow_here()
    downloaded = Path(mlflow.artifacts.download_artifacts(MODEL, dst_path=str(tmp_path / "champion")))
    picture = tmp_path / "a.png"
    cv2.imwrite(str(picture), frames[0])
    output, model = tmp_path / "out", downloaded / "artifacts" / "network"
    command = [sys.executable, "-c", "from lgad_pipeline.cli.main import main; main()", "predict"]
    subprocess.run([*command, picture, "--model", model, "--output", output], check=True)
    assert len((output / "a.lines.txt").read_text().splitlines()) == 4


@contextmanager
def served(model: str, folder: Path, *, python: str, path: str = "", uri: str = "") -> Iterator[str]:
    """Address of a server of a model, which the interpreter `python` runs."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = os.environ | {
        "MLFLOW_TRACKING_URI": uri,
        "PYTHONPATH": path,
        "MLFLOW_SCORING_SERVER_REQUEST_TIMEOUT": "600",  # a busy machine may be slow
        "PATH": f"{Path(python).parent}:{os.environ['PATH']}",  # mlflow calls uvicorn by name
    }
    place = ["--env-manager", "local", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    with (folder / "log").open("w") as log:
        server = subprocess.Popen(
            [python, "-m", "mlflow", "models", "serve", "-m", model, *place],
            env=environment,
            cwd=folder,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        for _ in range(6000):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            assert server.poll() is None, (folder / "log").read_text()
            time.sleep(0.1)
        yield f"http://127.0.0.1:{port}/invocations"
    finally:
        if server.poll() is None:
            os.killpg(server.pid, signal.SIGKILL)
        server.wait()


@pytest.fixture(scope="module")
def address(store, tmp_path_factory):
    absent = tmp_path_factory.mktemp("absent")
    (absent / "sitecustomize.py").write_text(ABSENT)
    uri = default_tracking(store).uri
    with served(MODEL, absent, python=sys.executable, path=str(absent), uri=uri) as address:
        yield address


def ask(address: str, body: Any, kind: str = "application/json") -> tuple[int, str]:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    request = urllib.request.Request(address, data, {"Content-Type": kind})
    try:
        with urllib.request.urlopen(request, timeout=300) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def test_server_finds_lanes_refuses_what_is_no_frame_and_lives(address, frames):
    good = {"inputs": [base64.b64encode(jpeg(frame)).decode() for frame in frames]}
    status, answer = ask(address, good)
    assert status == 200 and [len(frame["lanes"]) for frame in json.loads(answer)["predictions"]] == [4, 4]
    whole = jpeg(frames[0])

    def image(data: bytes) -> dict[str, Any]:
        return {"inputs": [base64.b64encode(data).decode()]}

    bad: list[tuple[Any, str]] = [
        (b"", "JSON"),
        (b"{", "JSON"),
        ([1, 2], "list"),
        ({"pictures": []}, "inputs"),
        ({"inputs": "no base64!"}, "Frame 1 is a text that is not base64"),
        ({"inputs": {"a": 1}}, "not a list of frames"),
        ({"inputs": None}, "not a list of frames"),
        ({"inputs": [7]}, "Frame 1 is of type int"),
        ({"inputs": [None]}, "Frame 1 is of type NoneType"),
        ({"inputs": [good["inputs"][0], [[1, 2]]]}, "Frame 2 is of type list"),
        (image(b""), "Frame 1 is empty"),
        (image(b"GIF89a"), "Frame 1 is a GIF image"),
        (image(whole[: len(whole) // 2]), "cut off"),
        (image(bomb()), "100000 x 100000 px"),
        (image(jpeg(np.zeros((8, 8, 3), np.uint8))), "8 x 8 px"),
        (image(whole + bytes(33 * 2**20)), "32 MB are allowed"),
        ({"inputs": [str(Path(__file__).with_name("frame.jpg"))]}, "give a file as Path"),
        ({"inputs": ["/etc/passwd/"]}, "neither a JPEG nor a PNG"),  # valid base64, and never opened
        ({"inputs": [base64.b64encode(black(7000, 7000)).decode()] * 3}, "147 megapixels together; 100 are"),
    ]
    for body, reason in bad:
        status, answer = ask(address, body)
        assert status == 400 and reason in answer, (str(body)[:80], status, answer[:300])
        assert len(answer) < 3000
    assert ask(address, good, "image/jpeg")[0] == 415
    assert ask(address, good) == ask(address, good) and ask(address, good)[0] == 200


@pytest.mark.nights
def test_environment_of_an_image_serves_the_model_without_desktop_libraries(store, frames, tmp_path):
    """`mlflow models build-docker` installs the requirements of the model, and serves it with them alone."""
    default_tracking(store).point_mlflow_here()
    model = Path(mlflow.artifacts.download_artifacts(MODEL, dst_path=str(tmp_path / "model")))
    here = mlflow.pyfunc.load_model(str(model)).predict(frames)
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "env"], check=True)
    python = str(tmp_path / "env" / "bin" / "python")
    install = [python, "-m", "pip", "install", "--quiet", "--requirement", model / "requirements.txt"]
    subprocess.run(install, check=True)
    loaded = "import cv2; print(open('/proc/self/maps').read())"
    libraries = subprocess.run([python, "-c", loaded], check=True, capture_output=True, text=True).stdout
    assert "cv2" in libraries and "libGL.so" not in libraries and "libxcb" not in libraries
    body = {
        "inputs": [base64.b64encode(cv2.imencode(".png", f[..., ::-1])[1].tobytes()).decode() for f in frames]
    }
    with served(str(model), tmp_path, python=python) as address:
        status, answer = ask(address, body)
    assert status == 200
    for expected, found in zip(here, json.loads(answer)["predictions"], strict=True):
        assert len(found["lanes"]) == 4
        for one, other in zip(expected.lanes, found["lanes"], strict=True):
            np.testing.assert_allclose(other["points"], one.points, atol=0.1)
