"""`lgad predict`: lanes of frames and videos.

Modules that load torch are imported inside the functions, so that the other commands start quickly.
"""

import os
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lgad_pipeline.config.network import allow_networks
from lgad_pipeline.console import progress_bar, say
from lgad_pipeline.errors import LgadError, SystemFault
from lgad_pipeline.wording import counted

if TYPE_CHECKING:
    import numpy as np

    from lgad_pipeline.inference.frame_predictor import FramePredictor, Lane
    from lgad_pipeline.inference.prediction_folder import PredictionFolder
    from lgad_pipeline.inference.sources import RejectedFrames, Sources
    from lgad_pipeline.inference.video_reader import VideoReader

_ALL_FRAMES = "frames"
"""Name of the result that holds the JSON lines of all frames."""

TrustedCode = Annotated[
    list[str] | None,
    typer.Option(
        "--trust-network-code",
        metavar="MODULE:CLASS",
        help="Allow the model directory to name this network class of another package; its code is run.",
    ),
]


def predict(
    source: Annotated[
        str,
        typer.Argument(
            help="Directory of frames, a frame, a video, a pattern such as 'day/*.jpg', the index of a "
            "camera, or the address of a stream."
        ),
    ],
    model: Annotated[
        Path, typer.Option(help="Directory of a trained student, such as student_lgad, or an ONNX file.")
    ],
    output: Annotated[
        Path, typer.Option(help="Directory to write: a lane file per frame, JSON lines for a video.")
    ],
    frame_list: Annotated[
        Path | None,
        typer.Option("--list", help="List of frames; without it, every image below the directory."),
    ] = None,
    pictures: Annotated[
        bool, typer.Option(help="Also write each frame, or the video, with its lanes drawn.")
    ] = False,
    json_lines: Annotated[
        bool, typer.Option("--json-lines", help="Also write the lanes of frames as JSON lines.")
    ] = False,
    smooth: Annotated[
        bool, typer.Option("--smooth", help="Filter the lanes of a video over time, and number them.")
    ] = False,
    seconds: Annotated[
        float | None, typer.Option(min=0.01, help="Stop after this many seconds of a video.")
    ] = None,
    overwrite: Annotated[
        bool,
        typer.Option(
            "--overwrite",
            help="Replace files that lgad predict did not write, and results of others of the same name.",
        ),
    ] = False,
    device: Annotated[str, typer.Option(help="Device of the network: auto, cpu or cuda.")] = "auto",
    trusted: TrustedCode = None,
) -> None:
    """Find the lanes in frames of any size, or in a video.

    A frame gets a lane file in CULane's format, a video a file of JSON lines with time stamps. If the network
    predicts types of lanes, a frame also gets a file of types, a line for each lane.
    """
    from lgad_pipeline.inference import prediction_journal as journal
    from lgad_pipeline.inference.prediction_folder import PredictionFolder, model_fingerprint
    from lgad_pipeline.inference.sources import RejectedFrames, find_sources
    from lgad_pipeline.inference.video_reader import result_name

    rejected = RejectedFrames()
    try:
        found = find_sources(str(source), frame_list, rejected=rejected)
    except LgadError:
        _say_errors(rejected.sentences())
        raise
    _say_errors(found.notes)
    if (smooth or seconds is not None) and not found.videos:
        option = "--smooth" if smooth else "--seconds"
        raise LgadError(
            f"{source} holds frames and no video, which {option} needs; make a video of the frames, or leave "
            f"{option} out."
        )
    _silence_opencv()
    videos = _readable_videos(found)
    first = list(islice(videos, 1))  # an error if there is none, before anything is written
    allow_networks(*(trusted or ()))
    predictor = _load_predictor(model, device)
    results = PredictionFolder(output, model_fingerprint(model), frames=found.root, overwrite=overwrite)
    types = [journal.TYPE_FILE] if predictor.lane_types else []
    results.choose_names(found.frames, [journal.LANE_FILE, *types, *([journal.PICTURE] if pictures else [])])
    results.choose_names([_ALL_FRAMES] if json_lines and found.frames else [], [journal.JSON_LINES])
    endings = [journal.JSON_LINES, *([journal.VIDEO] if pictures else [])]
    results.choose_names([result_name(video, found.root) for video in found.videos], endings)
    if results.foreign:
        say(
            f"--overwrite: {output} holds {len(results.foreign)} files of others, such as "
            f"{results.foreign[0]}; those with the name of a result are replaced.",
            error=True,
        )
    with results:
        written = 0
        for video in chain(first, videos):
            try:
                _predict_video(predictor, video, results, pictures=pictures, smooth=smooth, seconds=seconds)
                written += 1
            except LgadError as error:
                if isinstance(error, SystemFault) or len(found.videos) + len(found.frames) == 1:
                    raise
                results.keep(video.name)
                say(f"rejected: {video.name}: {error}", error=True)
        if found.videos and not written and not found.frames:
            raise LgadError("No video can be predicted; see the reasons above.")
        done = _predict_frames(predictor, found, results, rejected, pictures, json_lines)
    removed = results.finish()
    _say_errors(rejected.sentences())
    if removed:
        say(f"{removed} files that another model had written removed from {output}", error=True)
    if outdated := results.outdated:
        files = f"{counted(len(outdated), 'earlier result')} of rejected frames"
        say(f"{files} removed from {output}, such as {outdated[0]}", error=True)
    if found.frames and not done:
        frames = counted(len(found.frames), "frame")
        kept = f", and {output} keeps its earlier results" if (output / journal.JOURNAL).exists() else ""
        raise LgadError(f"No lane file was written, since no frame can be used ({frames}){kept}.")


def _readable_videos(found: "Sources") -> "Iterator[VideoReader]":
    """Open one video after the other, because each needs a decoder; reject those that cannot be read.

    Raises:
        LgadError: there is no video that can be read, and no frame.
    """
    from lgad_pipeline.inference.video_reader import VideoReader

    alone = len(found.videos) + len(found.frames) == 1
    rejected = 0
    for source in found.videos:
        try:
            yield VideoReader(source, found.root)
        except LgadError as error:
            if alone:
                raise
            say(f"rejected: {error}", error=True)
            rejected += 1
    if rejected and rejected == len(found.videos) and not found.frames:
        raise LgadError(f"None of the {rejected} videos can be read; see the reasons above.")


def _predict_frames(
    predictor: "FramePredictor",
    found: "Sources",
    results: "PredictionFolder",
    rejected: "RejectedFrames",
    pictures: bool,
    json_lines: bool,
) -> int:
    """Predict the frames of a source, and return the number of those that can be used."""
    from lgad_pipeline.inference.folder_prediction import predict_folder
    from lgad_pipeline.inference.input_frames import distortion
    from lgad_pipeline.inference.json_lines import frame_record, records_of_other_frames
    from lgad_pipeline.inference.prediction_journal import JSON_LINES

    if not found.frames:
        return 0
    records: list[str] = []
    with progress_bar(f"Finding lanes in {counted(len(found.frames), 'frame')}") as progress:
        sizes = predict_folder(
            predictor,
            found.root,
            names=found.frames,
            output=results,
            rejected=rejected,
            draw=_lane_picture if pictures else None,
            record=(lambda frame, lanes: records.append(frame_record(frame, lanes))) if json_lines else None,
            progress=progress,
        )
    if records:
        if earlier := results.earlier(_ALL_FRAMES, JSON_LINES):
            records = records_of_other_frames(earlier, set(found.frames)) + records
        with results.writing(_ALL_FRAMES, JSON_LINES) as path:
            path.write_text("".join(records), encoding="utf-8")
    for size, count in sizes.items():
        if warning := distortion(size, predictor.view):
            say(f"warning: {count} frame{'s' * (count > 1)}: {warning}", error=True)
    done = sum(sizes.values())
    lanes = f"{results.lanes} lane{'s' * (results.lanes != 1)}"
    if done:
        files = f"{done} lane file{'s' * (done > 1)}"
        say(f"{files} below {results.folder}, {lanes} in {'them' if done > 1 else 'it'}")
    return done


def _predict_video(
    predictor: "FramePredictor",
    video: "VideoReader",
    results: "PredictionFolder",
    *,
    pictures: bool,
    smooth: bool,
    seconds: float | None,
) -> None:
    """Predict a video, and say what was written and how fast."""
    from lgad_pipeline.inference.input_frames import distortion
    from lgad_pipeline.inference.prediction_journal import JSON_LINES, VIDEO
    from lgad_pipeline.inference.video_prediction import predict_video
    from lgad_pipeline.visualization.overlays import draw_lanes

    if warning := distortion(video.size, predictor.view):
        say(f"warning: {video.name}: {warning}", error=True)
    ends = " (Ctrl+C ends it)" if video.live else ""
    endings = [JSON_LINES, *([VIDEO] if pictures else [])]
    with ExitStack() as stack:
        progress = stack.enter_context(progress_bar(f"Finding lanes in {video.name}{ends}"))
        json_lines, *annotated = [
            stack.enter_context(results.writing(video.name, ending, in_place=video.live))
            for ending in endings
        ]
        summary = predict_video(
            predictor,
            video,
            json_lines=json_lines,
            annotated=annotated[0] if annotated else None,
            draw=draw_lanes,
            smooth=smooth,
            seconds=seconds,
            progress=progress,
        )
    if seconds is None and video.is_cut_off:
        say(
            f"warning: {video.name} states {video.count} frames, and {video.read} could be read; it may "
            "be damaged.",
            error=True,
        )
    if video.skipped:
        say(
            f"{video.name}: {video.skipped} frames were skipped, because they arrived while others were "
            "processed.",
            error=True,
        )
    files = " and ".join(results.name(video.name, ending) for ending in endings)
    say(
        f"{files} below {results.folder}: {summary.frames} frames, {summary.lanes} lanes, "
        f"{summary.rate:.1f} frames/s"
    )


def _load_predictor(model: Path, device: str) -> "FramePredictor":
    """Load a directory of a trained network with torch, or an ONNX file with ONNX Runtime."""
    if model.suffix.lower() == ".onnx":
        if device not in ("auto", "cpu"):
            raise LgadError(f"{model} runs on the CPU; leave --device out, or give the model directory.")
        from lgad_pipeline.inference.onnx_predictor import OnnxPredictor

        return OnnxPredictor.load(model)
    from lgad_pipeline.inference.predictor import LanePredictor

    return LanePredictor.load(model, device)


def _lane_picture(frame: "np.ndarray", lanes: list["Lane"]) -> bytes:
    """Draw lanes over a frame and encode the picture as JPEG."""
    import cv2

    from lgad_pipeline.visualization.overlays import draw_lanes

    return cv2.imencode(".jpg", draw_lanes(frame, lanes)[..., ::-1])[1].tobytes()


def _silence_opencv() -> None:
    """Turn off messages of OpenCV and FFmpeg on videos that they cannot read; `VideoReader` raises them."""
    import cv2

    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)


def _say_errors(sentences: Iterable[str]) -> None:
    for sentence in sentences:
        say(sentence, error=True)
