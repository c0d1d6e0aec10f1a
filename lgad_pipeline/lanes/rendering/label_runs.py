"""Label maps of many frames as runs of equal values, with the same pixels as `label_map.label_map`."""

from collections.abc import Sequence

import numpy as np

from lgad_pipeline.lanes.rendering.line_masks import Spans, lane_spans
from lgad_pipeline.lanes.rendering.run_length_png import LabelRuns
from lgad_pipeline.lanes.slots import SlotLanes
from lgad_pipeline.lanes.spline import Ragged, sample_steps


def draw_label_runs(
    frames: Sequence[SlotLanes], frame_size: tuple[int, int], *, lane_width: int
) -> LabelRuns:
    """Draw the label maps of frames as runs.

    Args:
        frames: lanes of each frame by slot; all frames have the same label rows.
        frame_size: size of all frames (H, W), pixels.
        lane_width: thickness of the lines, frame pixels.
    """
    xs = np.stack([lanes.xs for lanes in frames])  # (frames, slots, rows)
    existence = np.stack([lanes.existence for lanes in frames])
    valid = ~np.isnan(xs) & existence[..., None]
    rows = np.broadcast_to(np.stack([lanes.rows for lanes in frames])[:, None], xs.shape)
    points = np.stack([xs[valid], rows[valid]], axis=1).astype(np.float32)
    offsets = np.concatenate([[0], np.cumsum(valid.sum(axis=2)[existence])])
    spans = lane_spans(sample_steps(Ragged(points, offsets)), frame_size, lane_width=lane_width)
    frame, slot = np.nonzero(existence)
    return _merge_layers(spans, frame[spans.lane], slot[spans.lane] + 1)


def _merge_layers(spans: Spans, frame: np.ndarray, value: np.ndarray) -> LabelRuns:
    """Merge layers to runs; later layers of a frame cover earlier ones.

    Args:
        spans: layers of all lanes, (K, H).
        frame: index of the frame of each layer, int64 (K,), ascending.
        value: value of each layer (slot number 1..4), int64 (K,).
    """
    rank = np.arange(len(frame)) - np.searchsorted(frame, frame)
    layers = int(rank.max(initial=0)) + 1
    shape = (int(frame.max(initial=0)) + 1, spans.start.shape[1])
    start, stop = np.zeros((2, layers, *shape), np.int32)
    start[rank, frame], stop[rank, frame] = spans.start, spans.stop
    values = np.zeros((layers, shape[0]), np.int8)
    values[rank, frame] = value
    picture, row = np.nonzero((start < stop).any(axis=0))
    start, stop, values = start[:, picture, row], stop[:, picture, row], values[:, picture]
    stop = np.maximum(start, stop)
    column = np.sort(np.concatenate([start, stop]), axis=0)  # (2 layers, rows)
    after = np.zeros(column.shape, np.int8)
    for low, high, layer_value in zip(start, stop, values, strict=True):
        np.copyto(after, layer_value, where=(low <= column) & (column < high))
    before = np.concatenate([np.zeros_like(after[:1]), after[:-1]])
    index, edge = np.nonzero((after != before).T)
    edges = column[edge, index].astype(np.int64)
    return LabelRuns(picture[index], row[index], edges, after[edge, index].astype(np.int64))
