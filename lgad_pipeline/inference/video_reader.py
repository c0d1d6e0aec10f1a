"""Frames of a video file, a camera or a stream, read in a thread of their own."""

import re
import time
from collections.abc import Generator
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path
from queue import Empty, Full, Queue
from threading import Event, Thread
from typing import NamedTuple

import cv2
import numpy as np

from lgad_pipeline.datasets.images import ImageError
from lgad_pipeline.errors import LgadError
from lgad_pipeline.inference.input_frames import check_size
from lgad_pipeline.inference.video_edits import edited_seconds

VIDEO_SUFFIXES = (".mp4", ".mov", ".avi", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg", ".ts", ".mts", ".wmv")
STREAM_SCHEMES = ("rtsp", "rtsps", "rtmp", "http", "https", "udp")
_AHEAD = 16  # frames decoded before they are requested
_TIMEOUT = 10_000  # ms, for opening a stream and for its next frame
_USUAL_RATE = 25.0  # frames/s, where the source states none
_LARGEST_RATE = 1000.0
_WITHOUT_COUNT = (".mkv", ".webm")  # OpenCV computes their count from the end of the file, sound included
_SOUND = 1.0  # s by which the sound may be longer than the frames
_FIRST_TIME = 71  # cv2.CAP_PROP_PTS of OpenCV 4.11 and later; unknown properties are 0


class VideoFrame(NamedTuple):
    """Frame of a video.

    Attributes:
        number: number of the frame in the video, from 0; frames that were skipped count.
        time: time since the first frame, seconds.
        image: uint8 (H, W, 3) RGB.
    """

    number: int
    time: float
    image: np.ndarray


def is_stream(source: str) -> bool:
    """Return True if a source is a camera index or the address of a stream.

    Raises:
        LgadError: the source is an address that no stream can have.
    """
    if source.isdecimal() and not Path(source).exists():
        return True
    scheme, separator, _ = source.partition("://")
    if not separator:
        return False
    if scheme.lower() not in STREAM_SCHEMES:
        raise LgadError(
            f"{shown(source)} is not the address of a stream; allowed are {', '.join(STREAM_SCHEMES)}, or "
            "name a file, a folder or the index of a camera."
        )
    return True


def shown(source: str) -> str:
    """Return a source for messages and files: an address without user, password and query."""
    scheme, separator, rest = source.partition("://")
    if not separator:
        return source
    place = rest.rpartition("@")[2]  # before the rest is divided: a password may hold any character
    return f"{scheme}://{re.split('[?#]', place)[0]}"


class VideoReader:
    """Reader of a video file, a camera or a stream.

    All frames of a file are returned, in the size of the first. From a source without a length (a camera, a
    live stream) frames that arrive while earlier ones are processed are skipped and counted, so that results
    do not lag behind.

    Args:
        source: path of a file, index of a camera, or address of a stream.
        root: directory above a file that its name is relative to; None for that of the file.

    Attributes:
        name: name of the source for its results, such as `clip.mp4`, `day/clip.mp4` or `camera0`.
        rate: number of frames per second that the source states, else 25.
        size: height and width (H, W) of the frames, pixels.
        count: number of frames that the source states; 0 if it states none.
        live: True for a source without a length.
        read: number of frames read.
        end: time of the last frame that was read, seconds since the first.
        skipped: number of frames of a live source that arrived while earlier ones were processed.

    Raises:
        LgadError: the source cannot be opened, or its frames are too large or too small.
    """

    def __init__(self, source: str, root: Path | None = None) -> None:
        self.source = source
        self.name = result_name(source, root)
        self.read = self.skipped = 0
        self.end = 0.0
        self._fault: Exception | None = None
        stream = is_stream(source)
        if source.isdecimal() and stream:
            self._capture = cv2.VideoCapture(int(source))
        elif stream:
            limits = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, _TIMEOUT, cv2.CAP_PROP_READ_TIMEOUT_MSEC, _TIMEOUT]
            self._capture = cv2.VideoCapture(source, cv2.CAP_FFMPEG, limits)
        else:
            # FFmpeg reads a path with a colon as the address of a protocol, unless the path is absolute.
            self._capture = cv2.VideoCapture(ffmpeg_path(Path(source)), cv2.CAP_FFMPEG)
        self._first = self._next() if self._capture.isOpened() else None
        if self._first is None:
            self._capture.release()
            raise self._unreadable()
        rate = self._capture.get(cv2.CAP_PROP_FPS)
        self.rate = rate if 0 < rate <= _LARGEST_RATE else _USUAL_RATE
        self.size = (self._first.shape[0], self._first.shape[1])
        try:
            check_size(*self.size)
        except ImageError as error:
            self._capture.release()
            raise LgadError(f"{shown(source)} {error}.") from error
        self.count = max(0, int(self._capture.get(cv2.CAP_PROP_FRAME_COUNT)))
        self.live = stream and self.count == 0
        self._stated = self._stated_seconds() if not stream else 0.0

    @property
    def is_cut_off(self) -> bool:
        """True if the file ended before its stated length.

        Where a file states no number of frames, OpenCV computes `count` from its duration and its highest
        rate; with a variable rate there are fewer frames. So the last frame's time must be early, too.
        """
        return self.read + 1 < self.count and self.end < self._stated - 2.5 / self.rate

    def _stated_seconds(self) -> float:
        """Return the time that a file states for its frames, from the first one on; call it at the first."""
        path, seconds = Path(self.source), self.count / self.rate
        if path.suffix.lower() in _WITHOUT_COUNT:
            late = self._capture.get(_FIRST_TIME)  # frames; below 0 if it is not known
            return seconds - max(0.0, late) / self.rate - _SOUND
        edited = edited_seconds(path)
        return seconds if edited is None else min(seconds, edited)

    def frames(self) -> Generator[VideoFrame]:
        """Yield the frames in order; a thread decodes ahead. Closing the iterator stops the reading.

        Raises:
            LgadError: OpenCV raised an error for a frame.
        """
        frames: Queue[VideoFrame | None] = Queue(1 if self.live else _AHEAD)
        stopped = Event()
        reader = Thread(target=self._read_all, args=(frames, stopped), name="lgad-video", daemon=True)
        reader.start()
        try:
            while (frame := frames.get()) is not None:
                yield frame
            if self._fault is not None:
                raise self._fault
        finally:
            stopped.set()
            reader.join(_TIMEOUT / 1000)
            if not reader.is_alive():
                self._capture.release()

    def _read_all(self, frames: "Queue[VideoFrame | None]", stopped: Event) -> None:
        """Decode until the end or an error, which `frames` raises in its own thread; None is the end."""
        try:
            self._decode_all(frames, stopped)
        except Exception as error:
            self._fault = error
        finally:
            self._put(frames, None, stopped)

    def _decode_all(self, frames: "Queue[VideoFrame | None]", stopped: Event) -> None:
        started = time.monotonic()
        last = 0.0
        image = self._first
        while image is not None and not stopped.is_set():
            at = time.monotonic() - started if self.live else self._capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
            if self.read and at <= last and not self.live:
                at = last + 1 / self.rate  # the file states no usable times
            last = self.end = at
            if image.shape[:2] != self.size:
                image = cv2.resize(image, self.size[::-1])  # as OpenCV does for a file whose size changes
            self._put(frames, VideoFrame(self.read, at, cv2.cvtColor(image, cv2.COLOR_BGR2RGB)), stopped)
            self.read += 1
            image = self._next()

    def _put(self, frames: "Queue[VideoFrame | None]", frame: VideoFrame | None, stopped: Event) -> None:
        while not stopped.is_set():
            with suppress(Full):
                frames.put(frame, timeout=0 if self.live and frame else 0.1)
                return
            if self.live and frame is not None:
                with suppress(Empty):
                    frames.get_nowait()
                    self.skipped += 1

    def _next(self) -> np.ndarray | None:
        try:
            done, image = self._capture.read()
        except cv2.error as error:
            reason = f" ({error.err})" if error.err else ""
            raise self._unreadable(f" after {self.read} frames{reason}") from error
        return image if done else None

    def _unreadable(self, reason: str = "") -> LgadError:
        stream = is_stream(self.source)
        convert = "convert it: ffmpeg -i VIDEO OTHER.mp4"
        remedy = "check the address and that the camera is on" if stream else convert
        return LgadError(f"{shown(self.source)} cannot be read as a video{reason}; {remedy}.")


def ffmpeg_path(path: Path) -> str:
    """Return the absolute path of a video for OpenCV, which ends the process at other bytes than UTF-8.

    Raises:
        LgadError: the path has such bytes, for instance of GBK.
    """
    absolute = str(path.absolute())
    try:
        absolute.encode()
    except UnicodeEncodeError as error:
        raise LgadError(f"{path} has a name or folder that is not UTF-8; rename it.") from error
    return absolute


def result_name(source: str, root: Path | None = None) -> str:
    """Return the name of a source for its results; see `VideoReader`."""
    if source.isdecimal() and is_stream(source):
        return f"camera{source}"
    if not is_stream(source):
        return Path(source).relative_to(root or Path(source).parent).as_posix()
    address = shown(source).partition("://")[2]
    name = re.sub(r"[^A-Za-z0-9_-]+", "_", address).strip("_")[:80] or "stream"
    if re.search("[/?#].*@", source.partition("://")[2]):  # what is shown may be that of other streams, too
        name += f"_{blake2b(source.encode(errors='replace'), digest_size=4).hexdigest()}"
    return name
