"""Archives written for the tests of unpacking."""

import io
import tarfile
import zipfile
from pathlib import Path

SIZE = (118, 328)


def tree(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def member(name: str, content: bytes = b"1 2 3 4 \n", **fields: object) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.size = len(content)
    for key, value in fields.items():
        setattr(info, key, value)
    return info, content


def write_archive(path: Path, *members: tuple[tarfile.TarInfo, bytes]) -> None:
    with tarfile.open(path, "w:gz") as tar:
        for info, content in members:
            tar.addfile(info, io.BytesIO(content))


def as_tar(root: Path) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        for path in sorted(root.rglob("*.*")):
            tar.add(path, path.relative_to(root), recursive=False)
    return stream.getvalue()


def as_zip(root: Path, prefix: str = "") -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(root.rglob("*.*")):
            if path.is_file():
                archive.write(path, f"{prefix}{path.relative_to(root)}")
    return stream.getvalue()


def in_parts(name: str, content: bytes, endings: list[str]) -> dict[str, bytes]:
    size = -(-len(content) // len(endings))
    return {f"{name}{end}": content[i * size : (i + 1) * size] for i, end in enumerate(endings)}


def hostile_zip(*infos: tuple[zipfile.ZipInfo, bytes]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for info, content in infos:
            archive.writestr(info, content, zipfile.ZIP_DEFLATED)
    return stream.getvalue()
