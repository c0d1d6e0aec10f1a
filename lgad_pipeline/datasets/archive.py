"""Unpacking of downloaded archives, which are treated as untrusted input."""

import errno
import json
import os
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from lgad_pipeline.atomic_files import atomic_path, remove_left_overs, write_text
from lgad_pipeline.datasets.archive_files import Archive, Parts, archives_in
from lgad_pipeline.datasets.archive_members import DAMAGES, MEMBER_LIMIT, ArchiveError, Member, members
from lgad_pipeline.datasets.images import IMAGE_SUFFIXES
from lgad_pipeline.datasets.safe_io import read_inside
from lgad_pipeline.errors import LgadError
from lgad_pipeline.lanes.frame_list import relative_frame
from lgad_pipeline.lanes.lane_files import Rejected
from lgad_pipeline.progress import Progress

_NOTES = ".unpacked"
_SUFFIXES = (*IMAGE_SUFFIXES, ".txt")
_NAME_LIMIT = 200  # bytes of one path component; leaves space for the name of a temporary file next to it
_CLASHES = (errno.EEXIST, errno.ENOTDIR, errno.EISDIR, errno.ENOTEMPTY)
_MACOS = ("._", "__MACOSX", ".DS_Store")  # prefixes of the files that macOS adds to archives


@dataclass(frozen=True)
class Unpacked:
    """Result of unpacking a folder of archives.

    Attributes:
        files: number of files unpacked from the archives, those of earlier runs included.
        rejected: archives and members that were not unpacked; `file` is the archive's name, `line` is None,
            `reason` says what was not unpacked and why.
        whole: True if every archive was read to its end, none cut off, damaged or hostile.
    """

    files: int
    rejected: list[Rejected]
    whole: bool


def unpack(source: Path, output: Path, progress: Progress | None = None) -> Unpacked:
    """Unpack every archive of a folder into `output`: frames, label maps, lane files and lists.

    Reads tar archives, gzip-compressed or not, and zip archives, whole or in parts. They are unpacked in the
    order of their names, but `annotations*` last, because CULane's corrects lane files next to the frames. An
    existing file with the same bytes is kept; one with other bytes is replaced atomically. Each completed
    archive is recorded, so that a killed run resumes at the archive that it was unpacking, and a second run
    unpacks nothing.

    Rejects links, devices, absolute paths, paths that lead out of `output`, and files other than images and
    texts. An archive that unpacks to more than a hundred times its own size, or is damaged, is unpacked up to
    that point.

    Args:
        source: directory of the archives.
        output: directory to unpack into; may be `source`.
        progress: callback, called as progress(bytes read, bytes of all archives).

    Returns:
        The number of unpacked files, and the archives and members that were rejected.

    Raises:
        LgadError: there is no archive, or `output` cannot be written to.
    """
    if source.is_file():
        raise LgadError(f"{source} is a file; name the folder of the downloaded archives, {source.parent}.")
    if not source.is_dir():
        raise LgadError(f"There is no folder {source}; name the folder of the downloaded archives.")
    archives = archives_in(source)
    if not archives:
        raise LgadError(
            f"{source} holds no .tar.gz, .tgz, .tar or .zip; name the folder of the downloaded archives."
        )
    stamps = [_stamp(archive) for archive in archives]
    total = sum(size for stamp in stamps for size, _ in stamp)
    files, rejected, whole, fresh, before = 0, [], True, True, 0
    for archive, stamp in zip(archives, stamps, strict=True):
        note = output / _NOTES / f"{archive.name}.json"
        noted = _noted(note, stamp) if fresh else None
        fault = archive.fault
        if noted is not None:
            count, refused = noted
        elif fault:
            count, refused = 0, []
        else:
            if fresh:
                # A later archive may correct files of this one, so all later archives are unpacked again.
                fresh = False
                remove_left_overs(output.rglob(".*.part"))
            note.unlink(missing_ok=True)
            count, refused, fault = _unpack_one(archive, output, before, total, progress)
            if not fault:
                write_text(note, json.dumps({"stamp": stamp, "files": count, "rejected": refused}) + "\n")
        if fault:
            whole = False
            rejected.append(Rejected(archive.name, None, fault))
        files += count
        rejected += [Rejected(archive.name, None, reason) for reason in refused]
        before += sum(size for size, _ in stamp)
        if progress is not None:
            progress(before, total)
    return Unpacked(files, rejected, whole)


def _stamp(archive: Archive) -> list[list[int]]:
    """Return (size in bytes, modification time in ns) of each part."""
    return [[status.st_size, status.st_mtime_ns] for status in map(Path.stat, archive.paths)]


def _noted(note: Path, stamp: list[list[int]]) -> tuple[int, list[str]] | None:
    """Return the recorded file count and reasons of a completed archive; None if it has changed since."""
    try:
        content = json.loads(note.read_text(encoding="utf-8"))
        return (content["files"], content["rejected"]) if content["stamp"] == stamp else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _unpack_one(
    archive: Archive, output: Path, before: int, total: int, progress: Progress | None
) -> tuple[int, list[str], str]:
    """Unpack one archive.

    Returns:
        The number of files unpacked, the reasons of rejected members, and the reason why the archive was not
        read to its end; empty if it was.
    """
    count, refused, of_macos = 0, [], 0
    fault = ""
    with Parts(archive.paths) as parts:
        try:
            for member in members(parts):
                if _is_of_macos(member.name):
                    of_macos += not member.folder
                    continue
                reason = _unpack_member(member, output)
                if reason:
                    refused.append(f"{_shown(member.name)} {reason}")
                elif not member.folder:
                    count += 1
                if progress is not None:
                    progress(before + parts.tell(), total)
        except ArchiveError as error:
            fault = str(error)
        except DAMAGES as error:
            fault = f"is cut off or damaged ({error}); download it again"
    if of_macos:
        refused.append(
            f"holds {of_macos} files that macOS added (._*, __MACOSX, .DS_Store); they are left out"
        )
    return count, refused, fault


def _is_of_macos(name: str) -> bool:
    return any(part.startswith(_MACOS) for part in PurePosixPath(name.replace("\\", "/")).parts)


def _unpack_member(member: Member, output: Path) -> str:
    """Write one member below `output`; return the reason if it was rejected, else an empty text."""
    if member.folder:
        return ""  # The folder is created with its first file.
    if not member.regular:
        return "is a link, a device or no plain file"
    try:
        path = PurePosixPath(relative_frame(member.name))
    except ValueError:
        return "leads out of the folder or holds control characters"
    if member.name.startswith(("/", "\\")):
        return "leads out of the folder by an absolute path"
    if path.suffix.lower() not in _SUFFIXES or max(len(part.encode()) for part in path.parts) > _NAME_LIMIT:
        return f"is called like no {', '.join(_SUFFIXES)} file"
    if member.size > MEMBER_LIMIT:
        raise ArchiveError(
            f"holds {member.size} bytes as {_shown(member.name)}, more than any frame; download it again"
        )
    content = member.read()
    if len(content) != member.size:
        raise EOFError(f"{_shown(member.name)} is not whole")
    target = output / path
    if not Path(os.path.realpath(target.parent)).is_relative_to(os.path.realpath(output)):
        return "leads out of the folder by a link that is there"
    try:
        if not _is_there(output, str(path), content):
            with atomic_path(target) as temporary:
                temporary.write_bytes(content)
    except OSError as error:
        if error.errno not in _CLASHES:
            raise
        return "has the name of a folder that is there, or is in a folder with the name of a file"
    return ""


def _is_there(output: Path, path: str, content: bytes) -> bool:
    try:
        return read_inside(output, path, len(content)) == content
    except (OSError, LgadError):
        return False


def _shown(name: str) -> str:
    """Return a member's name with control and non-ASCII characters escaped, at most 200 characters."""
    return name.encode("unicode_escape").decode()[:200]
