"""Archives in the forms in which browsers, sites and systems leave them; archives of zip."""

import gzip
import stat
import zipfile

import numpy as np
import pytest

from lgad_pipeline.cli.datasets import unpack_archives
from lgad_pipeline.data.ingestion import ingest
from lgad_pipeline.datasets.archive import unpack
from lgad_pipeline.errors import LgadError
from tests.datasets.archive_files import (
    SIZE,
    as_tar,
    as_zip,
    hostile_zip,
    in_parts,
    member,
    tree,
    write_archive,
)

FORMS = {
    "gunzipped by the browser": lambda root: {"driver_1.tar.gz": as_tar(root)},
    "tar": lambda root: {"driver_1.tar": as_tar(root)},
    "tgz": lambda root: {"driver_1.tgz": gzip.compress(as_tar(root))},
    "copy": lambda root: {f"driver_1{copy}.tar.gz": gzip.compress(as_tar(root)) for copy in ("", " (1)")},
    "zip": lambda root: {"CULane.zip": as_zip(root)},
    "zip called tar.gz": lambda root: {"CULane.tar.gz": as_zip(root)},
    "parts by number": lambda root: in_parts("d.tar.gz", gzip.compress(as_tar(root)), [".00", ".01", ".02"]),
    "parts from 1": lambda root: in_parts("d.zip", as_zip(root), [".001", ".002"]),
    "parts by letters": lambda root: in_parts("d.tar", as_tar(root), [".partaa", ".partab", ".partac"]),
    "many parts": lambda root: in_parts(
        "d.tar.gz", gzip.compress(as_tar(root)), [f".{n}" for n in range(12)]
    ),
}


@pytest.mark.parametrize("form", FORMS)
def test_archives_are_unpacked_as_browsers_and_sites_leave_them(write_tree, tmp_path, form):
    root, source = write_tree(), tmp_path / "source"
    source.mkdir()
    files = FORMS[form](root)
    for name, content in files.items():
        (source / name).write_bytes(content)
    done = unpack(source, tmp_path / "out")
    assert done.whole and done.rejected == []
    found = {name: content for name, content in tree(tmp_path / "out").items() if ".unpacked" not in name}
    assert found == tree(root)
    assert len(ingest(tmp_path / "out", SIZE).frames) == 10
    (tmp_path / "out/list/test.txt").unlink()
    assert unpack(source, tmp_path / "out") == done and not (tmp_path / "out/list/test.txt").exists()


def test_names_of_windows_and_files_of_macos(tmp_path):
    (tmp_path / "source").mkdir()
    names = [".\\driver_1\\05.MP4\\0.txt", "driver_1/05.MP4/._0.txt", "._driver_1", "driver_1/.DS_Store"]
    write_archive(tmp_path / "source/x.tar.gz", *map(member, [*names, "__MACOSX/driver_1/._x.jpg"]))
    done = unpack(tmp_path / "source", tmp_path / "out")
    assert done.whole and done.files == 1
    assert done.rejected == [
        ("x.tar.gz", None, "holds 4 files that macOS added (._*, __MACOSX, .DS_Store); they are left out")
    ]
    assert set(tree(tmp_path / "out")) == {"driver_1/05.MP4/0.txt", ".unpacked/x.tar.gz.json"}


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.tar.gz", b"<!DOCTYPE html><title>Sign in</title>", "is a web page, not an archive"),
        ("a.zip", b"", "is not a tar, gzip or zip file"),
        ("a.tar", b"x" * 600, "is not a tar, gzip or zip file"),
        ("a.tar.gz.crdownload", b"\x1f\x8b", "is a download that was not finished"),
        ("a.tar.gz.part", b"\x1f\x8b", "is a download that was not finished"),
        ("a.7z", b"7z\xbc\xaf", "unpack it with its own program"),
        ("a.tar.gz.02", b"\x1f\x8b", "lacks part 1"),
        ("a.tar.gz", gzip.compress(b"no tar", mtime=0), "is cut off or damaged"),
    ],
)
def test_a_file_that_is_no_archive_is_an_error_of_one_sentence(tmp_path, name, content, words):
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / name).write_bytes(content)
    done = unpack(tmp_path / "source", tmp_path / "out")
    assert not done.whole and done.files == 0
    ((file, _, reason),) = done.rejected
    assert file.startswith(name[:5]) and words in reason and ";" in reason
    with pytest.raises(LgadError, match="correct it as said above"):  # a download is not always the remedy
        unpack_archives(tmp_path / "source", tmp_path / "out")


@pytest.mark.parametrize("form", ["tar", "zip", "tgz", "parts by number"])
def test_an_archive_cut_off_anywhere_is_never_whole(write_tree, tmp_path, form):
    root, source = write_tree(), tmp_path / "source"
    source.mkdir()
    files = FORMS[form](root)
    last = sorted(files)[-1]
    for name, content in files.items():
        (source / name).write_bytes(content)
    for length in (*range(0, len(files[last]) - 1024, len(files[last]) // 7), 512, 10240):
        (source / last).write_bytes(files[last][:length])
        assert not unpack(source, tmp_path / "out").whole


def zip_member(name: str, content: bytes = b"1", mode: int = 0) -> tuple[zipfile.ZipInfo, bytes]:
    info = zipfile.ZipInfo(name)
    info.external_attr = mode << 16
    return info, content


def test_hostile_members_of_a_zip_are_rejected_alone(tmp_path):
    (tmp_path / "source").mkdir()
    members = [
        zip_member("good.txt"),
        zip_member("../out.txt"),
        zip_member("..\\out.txt"),
        zip_member("/tmp/lgad-out.txt"),
        zip_member("C:\\out.txt"),
        zip_member("link.jpg", b"/etc/passwd", stat.S_IFLNK | 0o777),
        zip_member("run.sh"),
        zip_member("last.txt", b"1", stat.S_IFREG | 0o644),
    ]
    (tmp_path / "source/x.zip").write_bytes(hostile_zip(*members))
    done = unpack(tmp_path / "source", tmp_path / "out")
    assert done.whole and done.files == 2 and len(done.rejected) == 6
    assert set(tree(tmp_path / "out")) == {"good.txt", "last.txt", ".unpacked/x.zip.json"}
    assert not (tmp_path / "out.txt").exists()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (hostile_zip(zip_member("zeros.jpg", bytes(20 << 20))), "more than 100 times its size"),
        (
            hostile_zip(zip_member("noise.jpg", np.random.default_rng(0).bytes(33 << 20))),
            "more than any frame",
        ),
        (
            hostile_zip(zip_member("a.txt")).replace(
                b"PK\x01\x02\x14\x03\x14\0\0", b"PK\x01\x02\x14\x03\x14\0\x01"
            ),
            "is encrypted",
        ),
    ],
)
def test_a_zip_that_asks_for_too_much_is_left(tmp_path, content, words):
    (tmp_path / "source").mkdir()
    (tmp_path / "source/x.zip").write_bytes(content)
    done = unpack(tmp_path / "source", tmp_path / "out")
    assert not done.whole and words in done.rejected[0][2] and tree(tmp_path / "out") == {}
