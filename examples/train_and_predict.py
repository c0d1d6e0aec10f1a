"""From frames and lane files to a trained teacher, a student with LGAD, its lanes and its ONNX graph.

The same steps as the Dagster project, without Dagster and MLflow. The data and the networks are tiny: the
script takes seconds, and its student learns nothing useful.

Run it: `python examples/train_and_predict.py`
"""

import tempfile
from pathlib import Path

from made_up_road import FRAME_SIZE, draw_frame, write_road

from lgad_pipeline import (
    AugmentationConfig,
    DecodeConfig,
    DistillationSpec,
    Lane,
    LanePredictor,
    LgadError,
    NetworkSpec,
    OnnxPredictor,
    OptimizerConfig,
    ShardSet,
    TrainingConfig,
    TrainingResult,
    View,
    assign_lane_slots,
    export_onnx,
    ingest,
    load_network,
    pack_shards,
    train_student,
    train_teacher,
    write_predictor,
)

IMAGE_SIZE = (32, 88)  # height, width that the networks see, pixels
NETWORK = NetworkSpec(name="enet", image_size=IMAGE_SIZE, width=0.25)
TRAINING = TrainingConfig(steps=4, batch_size=2, threads=1, optimizer=OptimizerConfig(warmup_steps=1))


def pack(root: Path, view: View) -> ShardSet:
    """Read a data set, assign its lanes to slots and pack frames and label maps into shards."""
    ingestion = ingest(root, FRAME_SIZE)
    for rejected in ingestion.rejected.itertuples():
        print(f"rejected: {rejected.file}, line {rejected.line}: {rejected.reason}")
    labels = assign_lane_slots(ingestion.frames)
    output = root / "shards"
    return pack_shards(ingestion.frames, labels, root=root, output=output, view=view, lane_width=40)


def train(shards: Path, models: Path) -> TrainingResult:
    """Train a teacher on label maps, then a student that mimics its attention."""
    augmentation = AugmentationConfig(rotation=0)
    teacher = train_teacher(
        TRAINING, NETWORK, shards=shards, folder=models / "teacher", augmentation=augmentation
    )
    return train_student(
        TRAINING,
        NETWORK,
        shards=shards,
        folder=models / "student",
        augmentation=augmentation,
        distillation=DistillationSpec(teacher=teacher.folder),
    )


def main(folder: Path) -> None:
    """Run every step below `folder`."""
    root = write_road(folder / "road")
    view = View(FRAME_SIZE, IMAGE_SIZE, crop_top=240)
    shards = pack(root, view)
    print("frames per split:", {name: len(split) for name, split in shards.splits.items()})

    student = train(root / "shards", folder / "models")
    network, spec = load_network(student.folder)
    print(f"{spec.name}: {sum(weights.numel() for weights in network.parameters())} weights")

    # The student is hardly trained, so that no probability passes the default thresholds.
    write_predictor(student.folder, view, decode_config=DecodeConfig(existence_threshold=0, peak_threshold=0))
    lanes: list[Lane] = LanePredictor.load(student.folder).predict([draw_frame(0)])[0]
    for lane in lanes:
        print(f"slot {lane.slot}: {len(lane.points)} points, confidence {lane.confidence:.2f}")

    export_onnx(student.folder, folder / "student.onnx", row_maxima=True)
    by_onnx_runtime = OnnxPredictor.load(folder / "student.onnx").predict([draw_frame(0)])[0]
    print(f"ONNX Runtime finds {len(by_onnx_runtime)} lanes, torch {len(lanes)}")
    print(f"student.onnx: {(folder / 'student.onnx').stat().st_size} bytes")

    try:
        load_network(folder / "no_such_folder")
    except LgadError as error:  # every error that a user can correct, with its remedy
        print(error)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as temporary:
        main(Path(temporary))
