"""Tracks of "CVAT for video 1.1": the shapes of one object in the frames of a video."""

from dataclasses import dataclass, field
from typing import NamedTuple

from lgad_pipeline.datasets.importing.points import Shape
from lgad_pipeline.datasets.reader import AnnotationError

_MOST_FRAMES = 10_000_000  # limit on the frame numbers of a video
_MOST_FILLED = 200_000  # maximum number of shapes of a file that are interpolated


class _Step(NamedTuple):
    frame: int
    outside: bool
    shape: Shape
    line: int


@dataclass
class TrackedFrame:
    """A frame of a video that a track names.

    Attributes:
        number: number of the frame in the video, from 0.
        subset: subset of the CVAT project; empty where there is none.
        line: first line of the file that names the frame.
        task: task of the project whose tracks name the frame; empty where the export states none.
        shapes: shapes of the tracks that are visible in the frame.
    """

    number: int
    subset: str
    line: int
    task: str = ""
    shapes: list[Shape] = field(default_factory=list)


class Tracks:
    """Collector of the shapes of tracks by frame.

    CVAT writes a shape for each frame of a track, interpolated where the annotator set none, and a shape with
    `outside="1"` where the object leaves the view. It writes a shape of one frame as a track that is outside
    in the next frame; nothing states that the next frame was annotated, so it does not count as named. If
    frames are missing between two shapes of a track, the points are interpolated linearly, as CVAT does with
    shapes of equally many points. Frames that no track names are not imported, because nothing states that
    they were annotated.

    Attributes:
        label: label of the open track.
        name: name of the open track in messages.
        steps: distances between the annotated frames of the video that the tasks of the export state.
    """

    def __init__(self) -> None:
        self.label = self.name = self._subset = self._task = ""
        self.steps: set[int] = set()
        self._frames: dict[tuple[str, int], TrackedFrame] = {}
        self._last: _Step | None = None
        self._filled = self._since = 0

    def open(self, values: dict[str, str]) -> None:
        """Begin a track.

        Args:
            values: attributes of the XML element; `label`, `id`, `subset` and `task_id` are used.
        """
        self.label, self.name = values.get("label", ""), f"track {values.get('id', '')}"
        self._subset, self._task, self._last = values.get("subset", ""), values.get("task_id", ""), None

    def add(self, values: dict[str, str], shape: Shape, line: int) -> None:
        """Add the shape of a frame to the open track.

        Args:
            values: attributes of the XML element; `frame` and `outside` are used.
            shape: shape of the track in this frame.
            line: line of the element in the file, from 1.

        Raises:
            AnnotationError: the frame's number is missing or not valid, too many frames are missing, or a
                track of another task has a frame of the same number.
        """
        number = values.get("frame", "")
        if not (number.isascii() and number.isdecimal() and int(number[:9]) < _MOST_FRAMES):
            raise AnnotationError(
                f"has a shape without the number of its frame in line {line}; export it again"
            )
        step, before = _Step(int(number[:9]), values.get("outside") == "1", shape, line), self._last
        if before is None or before.outside:
            self._since = step.frame
        else:
            self._fill(before, step)
        if not (step.outside and step.frame == self._since + self._distance):
            self._put(step)
        self._last = step

    def frames(self) -> list[TrackedFrame]:
        """Return every frame that a track names or spans, sorted by subset and number."""
        return [self._frames[key] for key in sorted(self._frames)]

    @property
    def _distance(self) -> int:
        """Distance between the annotated frames of the video."""
        return next(iter(self.steps)) if len(self.steps) == 1 else 1

    def _put(self, step: _Step) -> None:
        key = (self._subset, step.frame)
        frame = self._frames.setdefault(key, TrackedFrame(step.frame, self._subset, step.line, self._task))
        if frame.task != self._task:
            raise AnnotationError(
                f"has tracks of the tasks {frame.task} and {self._task} in frames of one number, first in "
                f"line {step.line}, so that it is not clear which image is meant; export each task alone, "
                "or export 'CVAT for images 1.1'"
            )
        if not step.outside:
            frame.shapes.append(step.shape)

    def _fill(self, before: _Step, after: _Step) -> None:
        """Add interpolated shapes to the frames between two shapes of the open track."""
        first, last = before.shape, after.shape
        gap = after.frame - before.frame
        for frame in range(before.frame + self._distance, after.frame, self._distance):
            self._filled += 1
            if self._filled > _MOST_FILLED:
                raise AnnotationError(
                    f"leaves out more than {_MOST_FILLED:,} shapes of its tracks; export it again"
                )
            share = (frame - before.frame) / gap
            if after.outside:
                shape = first
            elif first.fault or len(first.points) != len(last.points):
                shape = first._replace(
                    fault="is not stated in this frame and cannot be interpolated; export the track again"
                )
            else:
                shape = first._replace(points=(1 - share) * first.points + share * last.points)
            self._put(_Step(frame, False, shape, before.line))
