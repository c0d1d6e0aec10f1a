"""A kind of data set of your own: frames listed in a CSV file, lanes in JSON files, registered under a name.

lgad.yaml names the class by its import path instead: `kind: "own_dataset_kind:CsvReader"`.

Run it: `python examples/own_dataset_kind.py`
"""

import csv
import json
import tempfile
from pathlib import Path

import cv2
import numpy as np
from made_up_road import FRAME_SIZE, SPLITS, draw_frame, lanes_of

from lgad_pipeline import AnnotationError, FrameEntry, Rejected, assign_lane_slots, ingest, register_dataset


@register_dataset("csv")
class CsvReader:
    """Reader of `frames.csv` with the columns split, frame and annotation."""

    def list_frames(self, root: Path, rejected: list) -> list[FrameEntry]:
        """Return every listed frame; lines that cannot be used are added to `rejected`."""
        entries = []
        with (root / "frames.csv").open(encoding="utf-8", newline="") as file:
            for number, row in enumerate(csv.reader(file), 1):
                if len(row) == 3 and row[0] in SPLITS:
                    split, frame, annotation = row
                    entries.append(FrameEntry(frame, split, annotation, "frames.csv", number))
                else:
                    reason = "is not a line of split, frame and annotation; correct it"
                    rejected.append(Rejected("frames.csv", number, reason))
        return entries

    def parse_annotation(self, annotation: bytes) -> list[np.ndarray]:
        """Return the lanes of one annotation file, float32 (N, 2) each, (x, y) in frame pixels."""
        try:
            return [np.array(lane, np.float32).reshape(-1, 2) for lane in json.loads(annotation)]
        except ValueError as error:
            raise AnnotationError("is not a list of lanes; correct it") from error


def write_data_set(root: Path) -> None:
    """Write frames and annotations in the layout that the reader reads, and one broken line."""
    lines = []
    for split, numbers in SPLITS.items():
        for number in numbers:
            cv2.imwrite(str(root / f"{number}.jpg"), draw_frame(number))
            lanes = [lane.tolist() for lane in lanes_of(number)]
            (root / f"{number}.json").write_text(json.dumps(lanes))
            lines.append(f"{split},{number}.jpg,{number}.json")
    (root / "frames.csv").write_text("\n".join([*lines, "train,11.jpg"]) + "\n")


def main(root: Path) -> None:
    """Read the data set and assign its lanes to slots; from here on a kind makes no difference."""
    write_data_set(root)
    ingestion = ingest(root, FRAME_SIZE, kind="csv")
    print(ingestion.frames.groupby("split").size().to_dict())
    print(ingestion.rejected.to_string(index=False))
    labels = assign_lane_slots(ingestion.frames)
    print("slots of the first frame:", [bool(flag) for flag in labels["existence"][0]])


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as temporary:
        main(Path(temporary))
