"""Find lanes in a folder of frames, and write lane files and pictures.

Run it: `python examples/predict_folder.py` with a made-up network and made-up frames, or with your own:
`python examples/predict_folder.py FRAMES MODEL OUTPUT`. MODEL is the folder of a trained student.
"""

import sys
import tempfile
from pathlib import Path

import cv2
from made_up_road import draw_frame, write_lane_file

from lgad_pipeline import DecodeConfig, LanePredictor, NetworkSpec, View, build_network, write_predictor
from lgad_pipeline.datasets.images import read_image
from lgad_pipeline.visualization.overlays import draw_lanes


def predict_folder(frames: Path, model: Path, output: Path) -> None:
    """Predict the lanes of every JPEG in `frames`; a frame may have any size."""
    predictor = LanePredictor.load(model)  # device="cuda" for a GPU
    output.mkdir(parents=True, exist_ok=True)
    for path in sorted(frames.glob("*.jpg")):
        frame = read_image(path)  # uint8 (H, W, 3), RGB
        lanes = predictor.predict([frame])[0]
        write_lane_file(output / f"{path.stem}.lines.txt", [lane.points for lane in lanes])
        cv2.imwrite(str(output / path.name), draw_lanes(frame, lanes)[..., ::-1])
        print(f"{path.name}: slots {[lane.slot for lane in lanes]}")


def make_up_input(folder: Path) -> tuple[Path, Path]:
    """Write three frames, and an untrained network whose thresholds accept every lane."""
    from lgad_pipeline.networks.checkpoint import save_network

    frames, model = folder / "frames", folder / "model"
    frames.mkdir()
    for number in range(3):
        cv2.imwrite(str(frames / f"{number}.jpg"), draw_frame(number))
    spec = NetworkSpec(name="enet", image_size=(32, 88), width=0.25)
    save_network(model, build_network(spec), spec=spec)
    view = View(frame_size=(590, 1640), image_size=spec.image_size, crop_top=240)
    write_predictor(model, view, decode_config=DecodeConfig(existence_threshold=0, peak_threshold=0))
    return frames, model


if __name__ == "__main__":
    if len(sys.argv) == 4:
        predict_folder(*map(Path, sys.argv[1:]))
    else:
        with tempfile.TemporaryDirectory() as temporary:
            predict_folder(*make_up_input(Path(temporary)), Path(temporary) / "output")
