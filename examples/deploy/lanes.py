"""Lanes of a frame with ONNX Runtime alone: no torch, no lgad_pipeline.

Export a student with the maxima of the map rows, then run it on a frame of any size:
`lgad export MODEL student.onnx --row-maxima`
`python examples/deploy/lanes.py student.onnx frame.jpg`

A line of the output is a lane: slot, existence, then x y of each point in frame pixels, bottom first. There
is a point for each row of the network's map, without the curve that `lgad_pipeline.OnnxPredictor` fits.
"""

import json
import sys

import cv2
import numpy as np
import onnxruntime


def find_lanes(
    session: onnxruntime.InferenceSession, frame: np.ndarray
) -> list[tuple[int, float, np.ndarray]]:
    """Return slot, existence and points (N, 2) of each lane of a frame, uint8 (H, W, 3) RGB."""
    metadata = session.get_modelmeta().custom_metadata_map
    view, decode = json.loads(metadata["lgad.view"]), json.loads(metadata["lgad.decode"])
    rows, columns = view["image_size"]
    height, width = frame.shape[:2]
    top = min(round(view["crop_top"] * height / view["frame_size"][0]), height - 1)
    image = cv2.resize(frame[top:], (columns, rows), interpolation=cv2.INTER_AREA)
    planes = np.ascontiguousarray(image.transpose(2, 0, 1)[None])
    outputs = session.run(["existence", "row_centre", "row_peak"], {"image": planes})
    existence, centre, peak = (np.asarray(output) for output in outputs)
    lanes = []
    for slot in range(existence.shape[1]):
        row = np.flatnonzero(peak[0, slot] > decode["peak_threshold"])[::-1]
        if existence[0, slot] <= decode["existence_threshold"] or len(row) < decode["least_rows"]:
            continue
        x = (centre[0, slot, row] + 0.5) * width / columns - 0.5
        y = (row + 0.5) * (height - top) / rows - 0.5 + top
        lanes.append((slot + 1, float(existence[0, slot]), np.stack([x, y], axis=1)))
    return lanes


if __name__ == "__main__":
    graph, picture = sys.argv[1:]
    pixels = cv2.imread(picture)
    if pixels is None:
        sys.exit(f"{picture} is not an image; give a JPEG or PNG file.")
    for slot, exists, points in find_lanes(onnxruntime.InferenceSession(graph), pixels[..., ::-1]):
        print(slot, f"{exists:.3f}", *(f"{value:.2f}" for value in points.ravel()))
