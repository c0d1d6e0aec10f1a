"""Prediction with ONNX Runtime: the lanes of torch, without torch, in Python and in C++."""

import json
import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from lgad_pipeline.cli.inference import predict
from lgad_pipeline.config.decoding import DecodeConfig
from lgad_pipeline.config.network import NetworkSpec
from lgad_pipeline.errors import LgadError
from lgad_pipeline.inference.onnx_export import export_onnx
from lgad_pipeline.inference.onnx_predictor import OnnxPredictor, _view
from lgad_pipeline.inference.predictor import LanePredictor, write_predictor
from lgad_pipeline.networks.checkpoint import save_network
from lgad_pipeline.networks.registry import build_network
from lgad_pipeline.view import View

ROOT = Path(__file__).parents[2]
VIEW = View((590, 1640), (64, 176), 240)


def changed_metadata(
    graph: Path, output: Path, model: onnx.ModelProto | None = None, **changes: object
) -> Path:
    """Write a graph, or another model with its metadata, with changed settings of decoding."""
    metadata = {entry.key: entry.value for entry in onnx.load(graph).metadata_props}
    metadata["lgad.decode"] = json.dumps({**json.loads(metadata["lgad.decode"]), **changes})
    model = model or onnx.load(graph)
    del model.metadata_props[:]
    onnx.helper.set_model_props(model, metadata)
    onnx.save(model, output)
    return output


def save(folder: Path, network: torch.nn.Module, spec: NetworkSpec, decode_config: DecodeConfig) -> Path:
    save_network(folder, network, spec=spec)
    write_predictor(folder, VIEW, decode_config=decode_config)
    return folder


@pytest.fixture(scope="module")
def red(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with a network of which the lanes are known, and its graph with row maxima."""
    spec = NetworkSpec(name="tests.support.networks:RedIsTheLeftLane", image_size=VIEW.image_size)
    folder = tmp_path_factory.mktemp("red")
    save(folder / "net", build_network(spec), spec, DecodeConfig(row_step=5))
    export_onnx(folder / "net", folder / "student.onnx", row_maxima=True)
    return folder


def road(height: int = 590, width: int = 1640, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return a frame with a red lane, uint8 RGB, and its points, bottom first."""
    rng = np.random.default_rng(seed)
    y = np.arange(height - 1, 0.55 * height, -height / 60)
    x = width * rng.uniform(0.3, 0.5) + rng.uniform(0.2, 0.5) * (height - 1 - y)
    frame = rng.integers(60, 90, (height, width, 3), np.uint8)
    points = np.rint(np.stack([x, y], 1)).astype(np.int32)
    cv2.polylines(frame, [points[:, None]], False, (250, 60, 60), round(width / 60))
    return frame, np.stack([x, y], 1)


@pytest.fixture(scope="module")
def graphs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A network with weights as after a training, its graph, and its graph with row maxima."""
    spec = NetworkSpec(image_size=VIEW.image_size, width=0.25)
    torch.manual_seed(0)
    network = build_network(spec)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
            torch.nn.init.normal_(module.bias, std=0.3)
    folder = tmp_path_factory.mktemp("graphs")
    save(folder, network, spec, DecodeConfig())
    export_onnx(folder, folder / "rows.onnx", row_maxima=True)
    onnx.utils.extract_model(
        folder / "rows.onnx", folder / "maps.onnx", ["image"], ["probabilities", "existence"]
    )
    changed_metadata(folder / "rows.onnx", folder / "maps.onnx", onnx.load(folder / "maps.onnx"))
    return {"network": folder, "rows": folder / "rows.onnx", "maps": folder / "maps.onnx"}


@pytest.mark.parametrize("method", ["centroid", "official"])
@pytest.mark.parametrize("outputs", ["rows", "maps"])
def test_lanes_equal_those_of_torch(graphs, method, outputs):
    accepts_all = DecodeConfig(method=method, existence_threshold=0, peak_threshold=0.1)
    by_torch = LanePredictor.load(graphs["network"])
    by_torch.decode_config = accepts_all
    loaded = OnnxPredictor.load(graphs[outputs], threads=1)
    assert loaded.view == VIEW and DecodeConfig(**vars(loaded.decode_config)) == DecodeConfig()
    by_onnx = OnnxPredictor(loaded.session, loaded.view, decode_config=accepts_all)
    frames = [road(*size, seed)[0] for seed in range(10) for size in ((590, 1640), (300, 800))]
    apart = []
    for expected, found in zip(by_torch.predict(frames), by_onnx.predict(frames), strict=True):
        assert [lane.slot for lane in found] == [lane.slot for lane in expected]
        for lane, other in zip(expected, found, strict=True):
            assert other.points.dtype == np.float32 and other.points.shape == lane.points.shape
            assert other.confidence == pytest.approx(lane.confidence, abs=1e-3)
            assert other.existence == pytest.approx(lane.existence, abs=1e-3)
            apart.append(np.abs(lane.points - other.points).max())
    assert len(apart) >= 20
    assert max(apart) < 0.5, max(apart)


def test_the_lane_is_found_in_frames_of_any_size(red):
    predictor = OnnxPredictor.load(red / "student.onnx")
    assert predictor.predict([]) == []
    for size in ((590, 1640), (295, 820), (720, 1280)):
        frame, points = road(*size)
        [[lane]] = predictor.predict([frame])
        inside = (lane.points[:, 1] < 0.98 * size[0]) & (lane.points[:, 1] > 0.6 * size[0])
        expected = np.interp(-lane.points[inside, 1], -points[:, 1], points[:, 0])
        assert lane.slot == 2 and inside.sum() > 10
        assert np.abs(lane.points[inside, 0] - expected).max() < size[1] / 176  # a column of the map


BLOCK_OTHER_PACKAGES = """
import sys

allowed = {"numpy", "cv2", "onnxruntime", "lgad_pipeline", "flatbuffers", "google", "packaging"}

class OnlyAllowed:  # the packages that `pip install numpy opencv-python-headless onnxruntime` installs
    def find_spec(self, name, path=None, target=None):
        top = name.partition(".")[0]
        if top in allowed or top in sys.stdlib_module_names or top.startswith("_"):
            return None
        raise ImportError(f"{name} is not installed here")

sys.meta_path.insert(0, OnlyAllowed())
"""


def test_prediction_needs_neither_torch_nor_pydantic(red, tmp_path):
    cv2.imwrite(str(tmp_path / "frame.png"), road()[0][..., ::-1])
    code = BLOCK_OTHER_PACKAGES + (
        "from pathlib import Path\n"
        "import cv2\n"
        "from lgad_pipeline import OnnxPredictor\n"
        f"predictor = OnnxPredictor.load(Path({str(red / 'student.onnx')!r}))\n"
        f"[[lane]] = predictor.predict([cv2.imread({str(tmp_path / 'frame.png')!r})[..., ::-1]])\n"
        "print(lane.slot, len(lane.points))\n"
        "print(sorted({'torch', 'pydantic', 'pandas', 'scipy'} & set(sys.modules)))\n"
    )
    finished = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr
    slot, blocked = finished.stdout.splitlines()
    assert slot.startswith("2 ") and blocked == "[]"


def printed_lanes(output: str) -> list[tuple[int, np.ndarray]]:
    rows = [list(map(float, line.split())) for line in output.splitlines()]
    return [(int(slot), np.array(points).reshape(-1, 2)) for slot, _, *points in rows]


def run_sample(command: list[str]) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def python_sample(graph: Path, picture: Path) -> list[tuple[int, np.ndarray]]:
    script = str(ROOT / "examples/deploy/lanes.py")
    return printed_lanes(run_sample([sys.executable, script, str(graph), str(picture)]))


def test_the_python_sample_finds_the_lane(red, tmp_path):
    frame, points = road(295, 820)
    cv2.imwrite(str(tmp_path / "frame.png"), frame[..., ::-1])
    [(slot, found)] = python_sample(red / "student.onnx", tmp_path / "frame.png")
    expected = np.interp(-found[:, 1], -points[:, 1], points[:, 0])
    inside = (found[:, 1] < 285) & (found[:, 1] > 180)
    assert slot == 2 and inside.sum() > 20
    assert np.abs(found[inside, 0] - expected[inside]).max() < 820 / 176


def test_the_cpp_sample_prints_what_the_python_sample_prints(red, tmp_path):
    import onnxruntime

    headers = Path(os.environ.get("ONNXRUNTIME_INCLUDE", "/usr/include/onnxruntime"))
    libraries = list((Path(onnxruntime.__file__).parent / "capi").glob("libonnxruntime.so.*"))
    if not (headers / "onnxruntime_cxx_api.h").is_file() or not libraries:
        pytest.skip("needs the headers of ONNX Runtime; name their folder in ONNXRUNTIME_INCLUDE")
    for name in ("libonnxruntime.so", "libonnxruntime.so.1"):
        (tmp_path / name).symlink_to(libraries[0])
    source, program = str(ROOT / "examples/deploy/lanes.cpp"), str(tmp_path / "lanes")
    options = ["-std=c++17", "-Wall", "-Wextra", "-Werror", "-isystem", str(headers)]
    library = [f"-Wl,-rpath,{tmp_path}", f"-L{tmp_path}", "-lonnxruntime"]
    subprocess.run(["c++", *options, source, *library, "-o", program], check=True)
    for number, size in enumerate(((590, 1640), (295, 820), (720, 1280))):
        picture = tmp_path / f"{number}.ppm"
        cv2.imwrite(str(picture), road(*size, number)[0][..., ::-1])
        [(slot, expected)] = python_sample(red / "student.onnx", picture)
        [(found_slot, found)] = printed_lanes(run_sample([program, str(red / "student.onnx"), str(picture)]))
        assert found_slot == slot and found.shape == expected.shape
        assert np.abs(found - expected).max() < 0.5
    failed = subprocess.run([program, "no.onnx", "no.ppm"], capture_output=True, text=True, check=False)
    assert failed.returncode == 1 and "no.onnx" in failed.stderr


def test_the_command_predicts_with_a_graph(red, tmp_path, capsys):
    (tmp_path / "in").mkdir()
    cv2.imwrite(str(tmp_path / "in" / "a.jpg"), road()[0][..., ::-1])
    predict(tmp_path / "in", red / "student.onnx", tmp_path / "by_onnx")
    assert "1 lane file" in capsys.readouterr().out
    with pytest.raises(LgadError, match="runs on the CPU; leave --device out"):
        predict(tmp_path / "in", red / "student.onnx", tmp_path / "out", device="cuda")


@pytest.mark.filterwarnings("ignore:Specified provider")
def test_providers_that_are_not_there_are_an_error_unless_another_is(red):
    absent = next(
        name for name in onnxruntime.get_all_providers() if name not in onnxruntime.get_available_providers()
    )
    for providers in ([absent], [(absent, {"device_id": 0})]):
        with pytest.raises(LgadError, match=f"ONNX Runtime cannot use {absent} here; install a package"):
            OnnxPredictor.load(red / "student.onnx", providers=providers)
    both = OnnxPredictor.load(red / "student.onnx", providers=[absent, "CPUExecutionProvider"])
    assert both.predict([road()[0]])[0][0].slot == 2


def test_a_graph_that_cannot_be_used_is_one_sentence(red, tmp_path):
    with pytest.raises(LgadError, match=r"no\.onnx is not a file; write the graph with lgad export"):
        OnnxPredictor.load(tmp_path / "no.onnx")
    (tmp_path / "text.onnx").write_text("text")
    with pytest.raises(LgadError, match=r"text\.onnx cannot be loaded by ONNX Runtime"):
        OnnxPredictor.load(tmp_path / "text.onnx")
    graph = changed_metadata(red / "student.onnx", tmp_path / "a.onnx", row_step=1e-7)
    with pytest.raises(LgadError, match=r"no usable metadata.*row_step 1e-07 is out of bounds"):
        OnnxPredictor.load(graph)
    for key, value in (("row_step", "10"), ("row_step", 10**400), ("least_rows", 2.5), ("to_bottom", 1)):
        graph = changed_metadata(red / "student.onnx", tmp_path / "a.onnx", None, **{key: value})
        with pytest.raises(LgadError, match=f"no usable metadata.*{key} .* is out of bounds"):
            OnnxPredictor.load(graph)
    for size in ([float("inf"), 1640], [590, -1640]):
        with pytest.raises((ValueError, OverflowError)):
            _view({"frame_size": size, "image_size": [80, 256], "crop_top": 0}, (1, 3, 80, 256))
    graph = changed_metadata(red / "student.onnx", tmp_path / "b.onnx", method="magic")
    with pytest.raises(LgadError, match="method 'magic' is unknown"):
        OnnxPredictor.load(graph)
    model = onnx.load(red / "student.onnx")
    del model.metadata_props[:]
    onnx.save(model, tmp_path / "c.onnx")
    with pytest.raises(LgadError, match=r"c\.onnx has no usable metadata lgad\.view"):
        OnnxPredictor.load(tmp_path / "c.onnx")
