"""Directory of predictions that never replaces files which were not written by `lgad predict`."""

import json
import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from hashlib import blake2b, file_digest
from pathlib import Path
from threading import Lock
from typing import Any, Self

from lgad_pipeline.atomic_files import atomic_path, locked, remove_left_overs, write_text
from lgad_pipeline.config.model_files import NETWORK, PREDICTOR, WEIGHTS
from lgad_pipeline.errors import LgadError, os_fault
from lgad_pipeline.inference.prediction_journal import JOURNAL, LANE_FILE, PICTURE, TYPE_FILE, read_journal
from lgad_pipeline.lanes.lane_files import safe_stem

_NOT_OURS = ("Thumbs.db", "desktop.ini")


def model_fingerprint(model: Path) -> str:
    """Return the BLAKE2b-128 of a model, hexadecimal.

    Args:
        model: directory of a trained network, whose settings of decoding are included, or ONNX file.
    """
    digest = blake2b(digest_size=16)
    for path in [model] if model.is_file() else [model / name for name in (NETWORK, PREDICTOR, WEIGHTS)]:
        digest.update(path.read_bytes())
    return digest.hexdigest()


class PredictionFolder:
    """Lane files, pictures and results of videos below a directory, listed in a journal (predictions.jsonl).

    A line of the journal holds `file`, `frame`, `source` (absolute path of the frame or video), `digest`
    (BLAKE2b-128; empty for the results of a live source that is read) and `model`. It is written before its
    file, so that it covers the files of a run that was killed. The directory is locked until `finish` or the
    end of the process, because each of two processes would remove the other's lines.

    Args:
        folder: directory of the results; created if missing.
        model: fingerprint of the model; `finish` removes results of another model.
        frames: directory of the frames.
        overwrite: allow replacing files that were not written by `lgad predict`, and results of other frames
            or videos of the same name.

    Attributes:
        lanes: number of lanes written.
        outdated: names of the earlier results that `finish` removed, because their frames have none now.

    Raises:
        LgadError: the folder is a file, cannot be written, is in use by another process, or holds files of
            others that would be replaced.
    """

    def __init__(self, folder: Path, model: str, *, frames: Path, overwrite: bool = False) -> None:
        self.folder, self.model, self.overwrite = folder, model, overwrite
        if folder.exists() and not folder.is_dir():
            raise LgadError(f"{folder} is a file; name a folder as the output.")
        self._in_use = ExitStack()
        if (folder / JOURNAL).exists():  # another folder may be refused, and is left as it is
            self._in_use.enter_context(locked(folder, wait=False))
        entries = read_journal(folder / JOURNAL)
        self._known = {name: found[-1] for name, found in entries.items()}
        self._earlier = {name: found[:-1] for name, found in entries.items()}
        self._root = os.path.realpath(frames)
        earlier = [entry for entry in self._known.values() if entry["model"] == model]
        self._names = {entry["frame"]: entry["stem"] for entry in earlier}
        self._sources = {entry["frame"]: entry["source"] for entry in earlier}
        self._written: set[str] = set()
        self._requested: set[str] = set()
        self.outdated: list[str] = []
        self._lock = Lock()
        self.lanes = 0
        self._foreign = sorted(self._files_of_others(frames))
        if self._foreign and not overwrite:
            raise self._refusal(self._foreign)
        self._made = not folder.exists()
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._in_use.enter_context(locked(folder, wait=False))
            if self._known:
                self._write_journal()  # a run that was killed may have left half a line at its end
            remove_left_overs(folder.rglob(".*.part*"))
            self._journal = (folder / JOURNAL).open("a", encoding="utf-8")
        except OSError as error:
            raise os_fault(error, folder, "written") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):  # what could not be flushed has been reported
            self._journal.close()

    @property
    def foreign(self) -> list[str]:
        """Files of others that may be replaced, as `overwrite` allows."""
        return self._foreign

    def choose_names(self, frames: Sequence[str], endings: Sequence[str]) -> None:
        """Choose the names of the results, and check that no file of others has one of them.

        Args:
            frames: paths of the frames below their directory, or names of videos.
            endings: endings of the results of each of them, such as `LANE_FILE` and `PICTURE`.

        The result of `a.jpg` is `a.lines.txt`. Where `a.png` is there, too, both keep their ending:
        `a.jpg.lines.txt` and `a.png.lines.txt`. Names of an earlier run stay.

        Raises:
            LgadError: a file of others, or the result of another frame or video of that name, would be
                replaced.
        """
        replaced = next((frame for frame in frames if self._is_of_other_source(frame)), None)
        if replaced is not None and not self.overwrite:
            raise LgadError(
                f"{self.folder} holds the result of {self._sources[replaced]}, which that of "
                f"{self._source(replaced)} would replace; name another output folder, or give --overwrite."
            )
        self._requested.update(frames)
        every = list(dict.fromkeys([*self._names, *frames]))
        shared = Counter(name for frame in every for name in {safe_stem(frame), frame})
        for frame in frames:
            self._names.setdefault(frame, frame if shared[safe_stem(frame)] > 1 else safe_stem(frame))
        targets = (self.name(frame, ending) for frame in frames for ending in endings)
        occupied = [name for name in targets if name not in self._known and (self.folder / name).exists()]
        if occupied and not self.overwrite:
            raise self._refusal(occupied)
        self._foreign = sorted({*self._foreign, *occupied})

    def write(
        self, frame: str, lanes: bytes, picture: bytes | None = None, *, types: bytes | None = None
    ) -> None:
        """Write the result of a frame; `choose_names` has been called with it. Safe in several threads.

        Args:
            frame: path of the frame.
            lanes: content of its lane file.
            picture: content of its picture; None for none.
            types: content of its file of lane types; None for none.
        """
        with self._lock:
            self.lanes += lanes.count(b"\n")
        for ending, content in ((LANE_FILE, lanes), (TYPE_FILE, types), (PICTURE, picture)):
            if content is None:
                continue
            name = self._register(frame, ending, blake2b(content, digest_size=16).hexdigest())
            with atomic_path(self.folder / name, durable=False) as temporary:
                temporary.write_bytes(content)

    @contextmanager
    def writing(self, frame: str, ending: str, *, in_place: bool = False) -> Iterator[Path]:
        """Yield the path to write a result to, which replaces the earlier one when the block has ended.

        An error in the block keeps the earlier result.

        Args:
            frame: path of the frame, or name of the video; `choose_names` has been called with it.
            ending: ending of the result.
            in_place: replace the earlier result at the start, and keep what was written before an error, as
                for a live source, which cannot be read again.
        """
        path = self.folder / self.name(frame, ending)
        if not in_place:
            with atomic_path(path, suffix=path.suffix) as temporary:
                yield temporary
                self._register(frame, ending, _digest(temporary))
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        self._register(frame, ending, digest="")
        try:
            yield path
        finally:
            if path.is_file():
                self._register(frame, ending, _digest(path))

    def keep(self, frame: str) -> None:
        """Keep the earlier results of a frame or video that has none now, which `finish` would remove."""
        self._requested.discard(frame)

    def earlier(self, frame: str, ending: str) -> Path | None:
        """Return the path of a result that this model wrote in an earlier run; None without it."""
        name = self.name(frame, ending)
        path, entry = self.folder / name, self._known.get(name)
        return path if entry and entry["model"] == self.model and path.is_file() else None

    def name(self, frame: str, ending: str) -> str:
        """Return the name of a result below the directory; `choose_names` has been called with it."""
        return self._names[frame] + ending

    def _register(self, frame: str, ending: str, digest: str) -> str:
        """Add a result to the journal, before the file has its name, and return the name."""
        name = self.name(frame, ending)
        entry = {
            "file": name,
            "frame": frame,
            "source": self._source(frame),
            "stem": self._names[frame],
            "digest": digest,
            "model": self.model,
        }
        with self._lock:
            self._known[name] = entry
            self._note(entry)
            self._written.add(name)
        return name

    def _source(self, frame: str) -> str:
        """Return the absolute path of a frame or a video."""
        return f"{self._root}/{frame}"

    def _is_of_other_source(self, frame: str) -> bool:
        """Return True if the earlier result of a name is of another file that still exists."""
        earlier, source = self._sources.get(frame), self._source(frame)
        if not earlier or earlier == source or not Path(earlier).is_file():
            return False
        return not (Path(source).exists() and Path(source).samefile(earlier))

    def finish(self) -> int:
        """Remove results of other models and of frames without a result now, and rewrite the journal.

        Call it after the last result; a run that failed keeps the earlier results, and a file that was
        changed since it was written is kept.

        Returns:
            Number of files of other models removed.
        """
        of_others: list[str] = []
        for name in self._written:
            self._earlier.pop(name, None)
        if self._written:  # without new results the old ones are kept
            rejected = self._requested - {self._known[name]["frame"] for name in self._written}
            of_others = self._remove(lambda entry: entry["model"] != self.model)
            self.outdated = self._remove(lambda entry: entry["frame"] in rejected)
        if self._known:
            self._write_journal()
        else:
            (self.folder / JOURNAL).unlink(missing_ok=True)
        self._in_use.close()
        if self._made and {path.name for path in self.folder.iterdir()} == {".lock"}:
            shutil.rmtree(self.folder)
        return len(of_others)

    def _remove(self, condition: Callable[[dict[str, Any]], bool]) -> list[str]:
        """Remove results from the journal, and their files except changed ones; return the files removed."""
        named = [name for name, entry in self._known.items() if condition(entry)]
        removed = [name for name in named if self._is_own(name, self.folder / name)]
        for name in removed:
            (self.folder / name).unlink(missing_ok=True)
        for name in named:
            del self._known[name]
        return removed

    def _note(self, entry: dict[str, Any]) -> None:
        try:
            self._journal.write(json.dumps(entry) + "\n")
            self._journal.flush()
        except OSError as error:
            raise os_fault(error, self.folder / JOURNAL, "written") from error

    def _write_journal(self) -> None:
        entries = (
            entry for name, last in self._known.items() for entry in (*self._earlier.get(name, ()), last)
        )
        write_text(self.folder / JOURNAL, "".join(json.dumps(entry) + "\n" for entry in entries))

    def _files_of_others(self, frames: Path) -> Iterator[str]:
        """Yield the files that `lgad predict` did not write or that were changed since.

        With a journal only files of lanes and of their types count. The frames may be inside the directory,
        or around it.
        """
        own_folder = (self.folder / JOURNAL).is_file()
        folder, source = self.folder.resolve(), frames.resolve()
        among_frames = folder.is_relative_to(source)
        for path in _files(self.folder):
            name = path.relative_to(self.folder).as_posix()
            if name == JOURNAL:
                continue
            if name.endswith((LANE_FILE, TYPE_FILE)):
                if not self._is_own(name, path):
                    yield name
            # Path.resolve raises an error for a loop of links, so realpath is used.
            elif not (own_folder or among_frames or Path(os.path.realpath(path)).is_relative_to(source)):
                yield name

    def _is_own(self, name: str, path: Path) -> bool:
        entry = self._known.get(name)
        entries = [] if entry is None else [*self._earlier.get(name, ()), entry]
        try:
            return bool(entries) and _digest(path) in {entry["digest"] for entry in entries}
        except OSError:
            return False

    def _refusal(self, names: Sequence[str]) -> LgadError:
        count = f"{len(names)} file{'s' * (len(names) > 1)}"
        example = next((name for name in names if name.endswith(LANE_FILE)), names[0])
        lanes = " (lane files may be annotations)" if example.endswith(LANE_FILE) else ""
        return LgadError(
            f"{self.folder} holds {count} that lgad predict did not write or that changed since, such as "
            f"{example}{lanes}; name another output folder, or give --overwrite."
        )


def _files(folder: Path) -> Iterator[Path]:
    for parent, _, names in os.walk(folder):
        for name in names:
            if not name.startswith(".") and name not in _NOT_OURS:
                yield Path(parent, name)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return file_digest(file, lambda: blake2b(digest_size=16)).hexdigest()
