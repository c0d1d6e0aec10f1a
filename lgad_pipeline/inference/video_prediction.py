"""Prediction for a video, a camera or a stream: JSON lines with time stamps, and an annotated video."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from time import monotonic

import cv2
import numpy as np

from lgad_pipeline.errors import LgadError, os_fault
from lgad_pipeline.inference.frame_predictor import FramePredictor, Lane
from lgad_pipeline.inference.json_lines import frame_record
from lgad_pipeline.inference.lane_tracks import LaneTracker
from lgad_pipeline.inference.video_reader import VideoFrame, VideoReader, ffmpeg_path
from lgad_pipeline.progress import Progress

_BATCH = 8
_MOST_TICKS = 65_535  # of a second, in MPEG-4
_MOST_SKIPPED = 250  # frames of an annotated video that are written for one frame


@dataclass(frozen=True)
class VideoSummary:
    """Result of a prediction.

    Attributes:
        frames: number of frames with a line of JSON.
        lanes: number of lanes in them.
        seconds: time that reading, prediction and writing took together.
    """

    frames: int
    lanes: int
    seconds: float

    @property
    def rate(self) -> float:
        """Number of frames per second."""
        return self.frames / self.seconds if self.seconds else 0.0


def predict_video(
    predictor: FramePredictor,
    video: VideoReader,
    *,
    json_lines: Path,
    annotated: Path | None = None,
    draw: Callable[[np.ndarray, Sequence[Lane]], np.ndarray] | None = None,
    smooth: bool = False,
    seconds: float | None = None,
    progress: Progress | None = None,
) -> VideoSummary:
    """Find the lanes in the frames of a video and write them while they are found.

    Reading, the network, and drawing with encoding run at the same time. Ctrl+C ends the prediction of a live
    source; its results are complete up to there.

    Args:
        predictor: trained network that finds the lanes.
        video: source of the frames.
        json_lines: file to write, one line per frame: frame, time, lanes; see `json_lines.frame_record`.
        annotated: MP4 file to write, or None.
        draw: draws lanes over a frame, uint8 (H, W, 3) RGB; needed for `annotated`.
        smooth: filter the lanes over time, see `LaneTracker`.
        seconds: end after this time of the source; None for its end.
        progress: called with (frames done, frames in all, 0 if unknown).

    Raises:
        LgadError: a file cannot be written, or `annotated` is given without `draw`.
    """
    if annotated and draw is None:
        raise LgadError(f"{annotated} needs a function that draws lanes; give the argument draw.")
    tracker = LaneTracker(video.size, predictor.decode_config.row_step) if smooth else None
    started = monotonic()
    frames = lanes = 0
    with ExitStack() as stack:
        with _writing(json_lines):
            lines = stack.enter_context(json_lines.open("w", encoding="utf-8"))
        writer = stack.enter_context(_AnnotatedVideo(annotated, video, draw)) if annotated and draw else None
        stack.enter_context(suppress(KeyboardInterrupt) if video.live else ExitStack())
        for batch in _batches(video.frames(), 1 if video.live else _BATCH, seconds):
            prepared = [predictor.prepare(frame.image) for frame in batch]
            found = predictor.predict_prepared(prepared)
            if tracker is not None:
                found = [
                    list(tracker.update(one, frame.time)) for one, frame in zip(found, batch, strict=True)
                ]
            with _writing(json_lines):
                for frame, one in zip(batch, found, strict=True):
                    lines.write(frame_record(frame.number, one, time=frame.time))
                lines.flush()
            lanes += sum(map(len, found))
            if writer is not None:
                writer.add(batch, found)
            frames += len(batch)
            if progress is not None:
                progress(frames, video.count)
    return VideoSummary(frames, lanes, monotonic() - started)


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise os_fault(error, path, "written") from error


def _batches(frames: Iterator[VideoFrame], size: int, seconds: float | None) -> Iterator[list[VideoFrame]]:
    while batch := list(islice(frames, size)):
        inside = [frame for frame in batch if seconds is None or frame.time < seconds]
        if inside:
            yield inside
        if len(inside) < len(batch):
            return


def encodable_rate(rate: float) -> float:
    """Round a rate, frames per second, to one that MPEG-4 can state: its fraction has terms below 65,536."""
    digits = next((digits for digits in (3, 2, 1) if rate * 10**digits < _MOST_TICKS), 0)
    return min(round(rate, digits), _MOST_TICKS)


class _AnnotatedVideo:
    """Writer of an annotated video, in a thread of its own; a context manager.

    Args:
        path: MP4 file to write.
        video: source, for the size and the rate of the frames.
        draw: draws lanes over a frame.
    """

    def __init__(
        self, path: Path, video: VideoReader, draw: Callable[[np.ndarray, Sequence[Lane]], np.ndarray]
    ) -> None:
        height, width = video.size
        code = cv2.VideoWriter.fourcc(*"mp4v")
        self._rate = encodable_rate(video.rate)
        self._writer = cv2.VideoWriter(ffmpeg_path(path), cv2.CAP_FFMPEG, code, self._rate, (width, height))
        if not self._writer.isOpened():
            raise LgadError(
                f"{path} cannot be written as a video of {width} x {height} px with {self._rate:g} frames a "
                "second; choose another folder, or leave --pictures out."
            )
        self._draw = draw
        self._video = video
        self._next = 0  # number of the next picture
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="lgad-video-writer")
        self._pending: Future[None] | None = None

    def __enter__(self) -> "_AnnotatedVideo":
        return self

    def add(self, frames: Sequence[VideoFrame], lanes: Sequence[Sequence[Lane]]) -> None:
        """Add frames; returns when those of the call before are written, so that memory is bounded."""
        if self._pending is not None:
            self._pending.result()
        self._pending = self._pool.submit(self._write, frames, lanes)

    def _write(self, frames: Sequence[VideoFrame], lanes: Sequence[Sequence[Lane]]) -> None:
        for frame, found in zip(frames, lanes, strict=True):
            picture = np.ascontiguousarray(self._draw(frame.image, found)[..., ::-1])
            # A frame is repeated for those that were skipped before it, or for a gap in a variable rate, so
            # that the video keeps its speed.
            due = frame.number if self._video.live else round(frame.time * self._rate)
            for _ in range(min(max(due - self._next, 0), _MOST_SKIPPED) + 1):
                self._writer.write(picture)
            self._next = max(due, self._next) + 1

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(wait=True)
        self._writer.release()
        if self._pending is not None:
            self._pending.result()
