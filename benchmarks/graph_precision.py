"""F1, size and time of a student's graph in float32, float16 and int8, on test frames of a data set.

    python benchmarks/graph_precision.py MODEL ROOT [--frames 500]

MODEL is the directory of a trained student; ROOT is a data set in CULane's layout. int8 is calibrated on 128
frames of the training list. Times are processor times of one frame on one thread, measured in turn.
"""

import argparse
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import cv2
import numpy as np

from lgad_pipeline.evaluation.culane import evaluate_culane
from lgad_pipeline.inference.onnx_export import export_onnx
from lgad_pipeline.inference.onnx_predictor import OnnxPredictor
from lgad_pipeline.inference.predictor import read_predictor
from lgad_pipeline.lanes.frame_list import read_frame_list
from lgad_pipeline.lanes.lane_files import lane_file, write_lanes

_CALIBRATION, _ROUNDS = 128, 30


def main() -> None:
    """Print a line for each precision."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("root", type=Path)
    parser.add_argument("--frames", type=int, default=500)
    options = parser.parse_args()
    view, _ = read_predictor(options.model)
    train = _spread(_frames(options.root, "train"), _CALIBRATION)
    images = np.stack([view.image(_picture(options.root, frame)) for frame in train])
    test = _spread(_frames(options.root, "test"), options.frames)
    with TemporaryDirectory() as scratch:
        predictors = {}
        for precision in ("float32", "float16", "int8"):
            graph = Path(scratch) / f"{precision}.onnx"
            export_onnx(options.model, graph, precision=precision, calibration=images)
            predictors[precision] = OnnxPredictor.load(graph, threads=1), graph.stat().st_size
        times = _times({name: predictor for name, (predictor, _) in predictors.items()}, images[:1])
        for precision, (predictor, size) in predictors.items():
            found = Path(scratch) / precision
            for frame in test:
                [lanes] = predictor.predict([_picture(options.root, frame)])
                write_lanes(lane_file(found, frame), [lane.points for lane in lanes])
            scores = evaluate_culane(
                options.root,
                found,
                lists={"test": test},
                thresholds=(0.5,),
                frame_size=view.frame_size,
                workers=1,
            )
            tp, fp, fn = (int(scores.frames[f"{name}_0.5"].sum()) for name in ("tp", "fp", "fn"))
            f1 = 2 * tp / max(1, 2 * tp + fp + fn)
            print(
                f"{precision}: F1 {100 * f1:.2f}, {size / 1e6:.2f} MB, {times[precision]:.2f} ms", flush=True
            )


def _times(predictors: dict[str, OnnxPredictor], image: np.ndarray) -> dict[str, float]:
    """Return the median processor time of the network for one image, ms."""
    planes = np.ascontiguousarray(image.transpose(0, 3, 1, 2))
    spent: dict[str, list[float]] = {name: [] for name in predictors}
    for _ in range(_ROUNDS):
        for name, predictor in predictors.items():
            start = time.process_time()
            predictor.session.run(["existence", "probabilities"], {"image": planes})
            spent[name].append(1e3 * (time.process_time() - start))
    return {name: float(np.median(values)) for name, values in spent.items()}


def _frames(root: Path, split: str) -> list[str]:
    return read_frame_list(root / "list" / f"{split}.txt", root).frames


def _spread(frames: list[str], count: int) -> list[str]:
    chosen = np.unique(np.linspace(0, len(frames) - 1, count).round().astype(int))
    return [frames[index] for index in chosen]


def _picture(root: Path, frame: str) -> np.ndarray:
    picture = cv2.imread(str(root / frame))
    if picture is None:
        raise SystemExit(f"{root / frame} cannot be read; name the root of the recordings.")
    return np.ascontiguousarray(picture[..., ::-1])


if __name__ == "__main__":
    main()
