"""Unpacking of downloaded archives, which are treated as untrusted input."""

import errno
import os
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path, PurePosixPath

from lgad_pipeline.atomic_files import atomic_path, remove_left_overs
from lgad_pipeline.datasets.archive_files import Archive, Parts, archives_in, corrects_others
from lgad_pipeline.datasets.archive_members import DAMAGES, MEMBER_LIMIT, ArchiveError, Member, members
from lgad_pipeline.datasets.archive_records import (
    RECORDS,
    complete,
    completed,
    invalidate,
    stamp_of,
    written_digests,
)
from lgad_pipeline.datasets.images import IMAGE_SUFFIXES
from lgad_pipeline.datasets.safe_io import read_inside
from lgad_pipeline.errors import LgadError
from lgad_pipeline.lanes.file_names import LONGEST_NAME
from lgad_pipeline.lanes.frame_list import relative_frame
from lgad_pipeline.lanes.lane_files import Rejected
from lgad_pipeline.progress import Progress
from lgad_pipeline.wording import counted

_SUFFIXES = (*IMAGE_SUFFIXES, ".txt")
_ARCHIVES = (".gz", ".tgz", ".tar", ".zip")
_CLASHES = (errno.EEXIST, errno.ENOTDIR, errno.EISDIR, errno.ENOTEMPTY)
_MACOS = ("._", "__MACOSX", ".DS_Store")  # prefixes of the files that macOS adds to archives


@dataclass(frozen=True)
class Unpacked:
    """Result of unpacking a folder of archives.

    Attributes:
        files: number of different files in the archives that were unpacked, in this run or in an earlier one.
        rejected: archives and members that were not unpacked; `file` is the archive's name, `line` is None,
            `reason` says what was not unpacked and why.
        whole: True if every archive was read to its end, none cut off, damaged or hostile.
        notes: sentences on files that were replaced by files with other content, and on changed files that
            were kept.
    """

    files: int
    rejected: list[Rejected]
    whole: bool
    notes: list[str] = field(default_factory=list)


@dataclass
class _Unpacking:
    """State of a run.

    Attributes:
        output: directory to unpack into.
        members: path below `output` -> the archive that it was unpacked from, and the digest of its content.
        written: path below `output` -> digests of the contents that archives had for it in earlier runs.
        replaced: paths of the files that the current archive replaced by other content.
        kept: paths of the files of the current archive that are kept, because they were changed.
    """

    output: Path
    members: dict[str, tuple[str, int]] = field(default_factory=dict)
    written: dict[str, set[int]] = field(default_factory=dict)
    replaced: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)


def unpack(source: Path, output: Path, *, progress: Progress | None = None) -> Unpacked:
    """Unpack every archive of a folder into `output`: frames, label maps, lane files and lists.

    Reads tar archives, gzip-compressed or not, and zip archives, whole or in parts. They are unpacked in the
    order of their names, but `annotations*` last, because CULane's corrects lane files next to the frames. An
    existing file with the same bytes is kept; one with other bytes is replaced atomically, and a note says
    so. A file that was changed after an earlier run unpacked it, such as a corrected lane file, is kept. Each
    completed archive is recorded, so that a killed run resumes at the archive that it was unpacking, and a
    second run unpacks nothing.

    Rejects links, devices, absolute paths, paths that lead out of `output`, and files other than images and
    texts. If two members have the same path and other content, the first is kept and the second is rejected,
    unless its archive is `annotations*`. An archive that unpacks to more than a hundred times its own size,
    or is damaged, is unpacked up to that point.

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
    stamps = [stamp_of(archive) for archive in archives]
    total = sum(size for stamp in stamps for size, _ in stamp)
    run = _Unpacking(output, written=written_digests(output))
    rejected, notes, whole, fresh, before = [], [], True, True, 0
    for archive, stamp in zip(archives, stamps, strict=True):
        record = output / RECORDS / f"{archive.name}.json"
        noted = completed(record, stamp) if fresh else None
        fault = archive.fault
        if noted is not None:
            found, refused = noted
            run.members.update((path, (archive.name, digest)) for path, digest in found.items())
        elif fault:
            refused = []
        else:
            if fresh:
                # A later archive may correct files of this one, so all later archives are unpacked again.
                fresh = False
                remove_left_overs(output.rglob(".*.part"))
            invalidate(record)
            found, refused, clashes, fault = _unpack_one(archive, run, before, total, progress)
            if not fault:
                complete(record, None if clashes else stamp, members=found, reasons=refused)
            refused = [*refused, *clashes]
            notes += _notes_on_files(archive, run)
        if fault:
            whole = False
            rejected.append(Rejected(archive.name, None, fault))
        rejected += [Rejected(archive.name, None, reason) for reason in refused]
        before += sum(size for size, _ in stamp)
        if progress is not None:
            progress(before, total)
    return Unpacked(len(run.members), rejected, whole, notes)


def _notes_on_files(archive: Archive, run: _Unpacking) -> list[str]:
    """Return sentences on the files that the archive replaced or left as they are, and forget them."""
    replaced, kept = run.replaced, list(dict.fromkeys(run.kept))  # an archive may hold a path twice
    run.replaced, run.kept = [], []
    notes = []
    if replaced:
        files = counted(len(replaced), "file")
        notes.append(
            f"{archive.name} replaced {files} that had other content, such as {_shown(replaced[0])}."
        )
    if kept:
        files, several = f"{counted(len(kept), 'file')} of {archive.name}", len(kept) > 1
        notes.append(
            f"{files} {'were' if several else 'was'} changed after being unpacked and "
            f"{'are' if several else 'is'} kept, such as {_shown(kept[0])}; to unpack it again, "
            f"delete it and {run.output / RECORDS / archive.name}.json."
        )
    return notes


def _unpack_one(
    archive: Archive, run: _Unpacking, before: int, total: int, progress: Progress | None
) -> tuple[dict[str, int], list[str], list[str], str]:
    """Unpack one archive.

    Returns:
        The unpacked members (path below the output -> digest of the content), the reasons of rejected
        members, those of members that clash with another one, and the reason why the archive was not read to
        its end; empty if it was.
    """
    found, refused, clashes, of_macos = {}, [], [], 0
    fault = ""
    with Parts(archive.paths) as parts:
        try:
            for member in members(parts):
                if _is_of_macos(member.name):
                    of_macos += not member.folder
                elif not member.folder:  # A folder is created with its first file.
                    try:
                        path, digest = _unpack_member(member, archive.name, run)
                        found[path] = digest
                    except _Clash as error:
                        clashes.append(f"{_shown(member.name)} {error}")
                    except _Refused as error:
                        refused.append(f"{_shown(member.name)} {error}")
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
    return found, refused, clashes, fault


class _Refused(Exception):
    """A member that is not unpacked; the message is the reason, a predicate."""


class _Clash(_Refused):
    """A member that another one of the same path and other content keeps from being unpacked."""


def _is_of_macos(name: str) -> bool:
    return any(part.startswith(_MACOS) for part in PurePosixPath(name.replace("\\", "/")).parts)


def _unpack_member(member: Member, archive: str, run: _Unpacking) -> tuple[str, int]:
    """Write one member below the output; return its path there and the digest of its content.

    Raises:
        _Refused: the member is rejected.
    """
    path, target = _destination(member, run.output)
    if member.size > MEMBER_LIMIT:
        raise ArchiveError(
            f"holds {member.size} bytes as {_shown(member.name)}, more than any frame; download it again"
        )
    content = member.read()
    if len(content) != member.size:
        raise EOFError(f"{_shown(member.name)} is cut off")
    digest = _digest(content)
    try:
        before = _content(run.output, path)
        written = run.written.get(path)
        if before != content and before is not None and written and _digest(before) not in written:
            run.kept.append(path)
        elif before != content:
            known, exists = run.members.get(path), os.path.lexists(target)
            if exists and known and known[1] != digest:
                _refuse_clash(known[0], archive)
            with atomic_path(target) as temporary:
                temporary.write_bytes(content)
            if exists:
                run.replaced.append(path)
    except OSError as error:
        if error.errno not in _CLASHES:
            raise
        raise _Refused(
            "has the name of a folder that is there, or is in a folder with the name of a file"
        ) from error
    run.members[path] = archive, digest
    run.written.setdefault(path, set()).add(digest)
    return path, digest


def _destination(member: Member, output: Path) -> tuple[str, Path]:
    """Return the path of a member relative to the output, and below it.

    Raises:
        _Refused: the member is not a plain image or text, or leads out of the output.
    """
    if not member.regular:
        raise _Refused("is a link, a device or another special file")
    name = PurePosixPath(member.name.replace("\\", "/"))
    if name.suffix.lower() in _ARCHIVES:
        raise _Refused(
            "is an archive inside this one; unpack this one with its own program, then unpack what it held"
        )
    if max((len(part.encode(errors="replace")) for part in name.parts), default=0) > LONGEST_NAME:
        raise _Refused(f"has a name of more than {LONGEST_NAME} bytes")
    if name.suffix.lower() not in _SUFFIXES:
        raise _Refused(f"does not end in {', '.join(_SUFFIXES)}")
    try:
        path = PurePosixPath(relative_frame(member.name))
    except ValueError as error:
        raise _Refused("leads out of the folder or holds control characters") from error
    if member.name.startswith(("/", "\\")):
        raise _Refused("leads out of the folder by an absolute path")
    target = output / path
    if not Path(os.path.realpath(target.parent)).is_relative_to(os.path.realpath(output)):
        raise _Refused("leads out of the folder by a link that is there")
    return str(path), target


def _refuse_clash(first: str, archive: str) -> None:
    """Refuse a member with other content than the first one of its path; accept a correction of it."""
    if first == archive:
        raise _Clash("is in this archive twice with other content; the first is kept, check which is right")
    if corrects_others(first) or not corrects_others(archive):
        raise _Clash(
            f"has other content than in {first}, which is kept; delete the archive that is wrong, and unpack "
            "again"
        )


def _digest(content: bytes) -> int:
    return int.from_bytes(blake2b(content, digest_size=8).digest())


def _content(output: Path, path: str) -> bytes | None:
    """Return the content of a file that is there; None if there is none that can be read."""
    try:
        return read_inside(output, path, limit=MEMBER_LIMIT)
    except (OSError, LgadError):
        return None


def _shown(name: str) -> str:
    """Return a member's name with control and non-ASCII characters escaped, at most 200 characters."""
    return name.encode("unicode_escape").decode()[:200]
