import io
import re
import tarfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from lgad_pipeline.data.ingestion import ingest
from lgad_pipeline.datasets.archive import unpack
from lgad_pipeline.errors import LgadError
from tests.datasets.archive_files import SIZE, hostile_zip, member, tree, write_archive


@pytest.fixture
def downloads(write_tree, tmp_path) -> tuple[Path, Path]:
    """A data set, and a folder with archives of it as CULane's are: old lane files next to the frames."""
    root, source = write_tree(), tmp_path / "downloads"
    source.mkdir()
    with tarfile.open(source / "driver_23_30frame.tar.gz", "w:gz") as tar:
        for path in sorted((root / "drive").rglob("*.*")):
            name = path.relative_to(root).as_posix()
            if path.suffix == ".txt":
                info, content = member(name)
                tar.addfile(info, io.BytesIO(content))
            elif path.is_file():
                tar.add(path, f"./{name}")
    with tarfile.open(source / "annotations_new.tar.gz", "w:gz") as tar:
        for path in sorted((root / "drive").rglob("*.txt")):
            tar.add(path, path.relative_to(root))
    with tarfile.open(source / "list.tar.gz", "w:gz") as tar:
        tar.add(root / "list", "list")
    return root, source


def test_archives_become_the_data_set_with_the_corrected_lane_files(downloads, tmp_path):
    root, source = downloads
    with pytest.raises(LgadError, match=r"holds archives and no list; unpack them with `lgad unpack"):
        ingest(source, SIZE)
    seen = []
    done = unpack(source, tmp_path / "out", progress=lambda *counts: seen.append(counts))
    assert done.whole and done.rejected == [] and done.files == len(tree(root))
    assert done.notes == [
        "annotations_new.tar.gz replaced 10 files that had other content, such as "
        "drive/test.MP4/00000.lines.txt."
    ]
    assert seen[-1][0] == seen[-1][1] == sum(path.stat().st_size for path in source.iterdir())
    unpacked = tree(tmp_path / "out")
    notes = {name for name in unpacked if name.startswith(".unpacked/")}
    assert len(notes) == 3 and {name: unpacked[name] for name in unpacked if name not in notes} == tree(root)
    assert len(ingest(tmp_path / "out", SIZE).frames) == 10


def test_a_second_run_does_nothing_and_a_changed_archive_is_unpacked_again(downloads, tmp_path):
    source, out = downloads[1], tmp_path / "out"
    first = unpack(source, out)
    removed = out / "drive/train.MP4/00000.jpg"
    removed.rename(tmp_path / "removed.jpg")
    again = unpack(source, out)
    assert again == replace(first, notes=[]) and not removed.exists()  # nothing was unpacked
    (tmp_path / "removed.jpg").rename(removed)
    before = tree(out)
    write_archive(source / "driver_23_30frame.tar.gz", member("drive/train.MP4/00000.lines.txt", b"old"))
    unpack(source, out)
    after = tree(out)
    # The corrected lane files come last again.
    changed = {name for name in before if before[name] != after[name]}
    assert changed == {".unpacked/driver_23_30frame.tar.gz.json"} and len(before) == len(after)


def test_a_cut_off_archive_is_named_and_unpacked_after_a_new_download(downloads, tmp_path):
    _, source = downloads
    whole = tmp_path / "whole"
    unpack(source, whole)
    path, out = source / "driver_23_30frame.tar.gz", tmp_path / "out"
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    done = unpack(source, out)
    assert not done.whole and [row[0] for row in done.rejected] == [path.name]
    assert "cut off or damaged" in done.rejected[0][2] and "download it again" in done.rejected[0][2]
    assert (out / "list/test.txt").is_file() and not (out / ".unpacked" / f"{path.name}.json").exists()
    left_over = out / "drive/test.MP4/.00000.jpg.12345.part"
    left_over.parent.mkdir(parents=True, exist_ok=True)
    left_over.write_bytes(b"half")
    path.write_bytes(content)
    assert unpack(source, out).whole
    expected, found = tree(whole), tree(out)
    assert {n: b for n, b in found.items() if not n.startswith(".unpacked")} == {
        n: b for n, b in expected.items() if not n.startswith(".unpacked")
    }


def test_of_two_members_with_one_path_and_other_content_the_first_is_kept_and_both_archives_are_named(
    tmp_path,
):
    source, out = tmp_path / "source", tmp_path / "out"
    source.mkdir()
    write_archive(source / "a.tar.gz", member("d/0.lines.txt", b"first"), member("d/1.lines.txt", b"same"))
    write_archive(source / "b.tgz", member("d\\0.lines.txt", b"second"), member("./d/1.lines.txt", b"same"))
    write_archive(
        source / "c.tar.gz", member("d/2.jpg", b"2"), member("d/2.jpg", b"two"), member("d/2.jpg", b"2")
    )
    expected = [
        (
            "b.tgz",
            None,
            "d\\\\0.lines.txt has other content than in a.tar.gz, which is kept; delete the archive that "
            "is wrong, and unpack again",
        ),
        (
            "c.tar.gz",
            None,
            "d/2.jpg is in this archive twice with other content; the first is kept, check which is right",
        ),
    ]
    for _ in range(2):  # a second run says it again
        done = unpack(source, out)
        assert done.whole and done.files == 3 and done.notes == [] and done.rejected == expected
        assert (out / "d/0.lines.txt").read_bytes() == b"first" and (out / "d/2.jpg").read_bytes() == b"2"
    (source / "a.tar.gz").unlink()  # the remedy
    done = unpack(source, out)
    assert [row.file for row in done.rejected] == ["c.tar.gz"]
    assert done.notes == ["b.tgz replaced 1 file that had other content, such as d/0.lines.txt."]
    assert (out / "d/0.lines.txt").read_bytes() == b"second"


def test_a_changed_file_that_an_archive_holds_twice_counts_once(tmp_path):
    source, out = tmp_path / "source", tmp_path / "out"
    source.mkdir()
    twice = [member("d/0.lines.txt", b"first"), member("d/0.lines.txt", b"second")]
    write_archive(source / "a.tar.gz", *twice)
    unpack(source, out)
    (out / "d/0.lines.txt").write_bytes(b"by hand")
    (source / "a.tar.gz").touch()
    (note,) = unpack(source, out).notes
    assert note.startswith("1 file of a.tar.gz was changed after being unpacked")
    assert (out / "d/0.lines.txt").read_bytes() == b"by hand"


def test_an_archive_unpacked_in_an_earlier_run_is_compared_by_what_it_held(tmp_path):
    source, out = tmp_path / "source", tmp_path / "out"
    source.mkdir()
    write_archive(source / "a.tar.gz", member("d/0.lines.txt", b"old"))
    write_archive(source / "annotations_new.tar.gz", member("d/0.lines.txt", b"corrected"))
    assert unpack(source, out).files == 1
    write_archive(source / "a2.tar.gz", member("d/0.lines.txt", b"old"))
    write_archive(source / "b.tar.gz", member("d/0.lines.txt", b"another"))
    done = unpack(source, out)
    assert [(row.file, "than in a2.tar.gz" in row.reason) for row in done.rejected] == [("b.tar.gz", True)]
    assert done.files == 1 and (out / "d/0.lines.txt").read_bytes() == b"corrected"
    by_hand = out / "d/0.lines.txt"
    by_hand.write_bytes(b"by hand")
    for _ in range(2):
        (source / "a.tar.gz").touch()
        note, *_ = unpack(source, out).notes
        assert by_hand.read_bytes() == b"by hand"
        assert note.startswith(
            "1 file of a.tar.gz was changed after being unpacked and is kept, such as d/0."
        )
    by_hand.unlink()  # the remedy
    (out / ".unpacked/annotations_new.tar.gz.json").unlink()
    assert unpack(source, out).notes == [] and by_hand.read_bytes() == b"corrected"


@pytest.mark.parametrize(
    ("info", "words"),
    [
        (member("../out.txt"), "leads out"),
        (member("a/../../out.txt"), "leads out"),
        (member("/tmp/lgad-out.txt"), "leads out"),
        (member("linked/out.txt"), "by a link that is there"),
        (member("a/link.jpg", b"", type=tarfile.SYMTYPE, linkname="/etc/passwd"), "is a link"),
        (member("a/hard.jpg", b"", type=tarfile.LNKTYPE, linkname="../../out.txt"), "is a link"),
        (member("a/null.jpg", b"", type=tarfile.CHRTYPE, devmajor=1, devminor=3), "a device"),
        (member("a/pipe.jpg", b"", type=tarfile.FIFOTYPE), "a device"),
        (member("a/run.sh"), "does not end in .jpg"),
        (member("a/.bashrc"), "does not end in .jpg"),
        (member("driver_1.tar.gz"), "is an archive inside this one"),
        (member("a/\x1b[31m.jpg"), "control characters"),
        (member("a/\udcff.jpg"), "control characters"),
        (member("a/" + "n" * 217 + ".jpg"), "has a name of more than 220 bytes"),
        (member("a/" + "n/" * 50 + "x"), "does not end in"),
        (member("good.txt/inside.txt"), "with the name of a file"),
        (member("folder.txt"), "has the name of a folder"),
    ],
)
def test_only_a_hostile_member_is_rejected(tmp_path, info, words):
    source, out, outside = tmp_path / "source", tmp_path / "deep" / "out", tmp_path / "outside"
    for folder in (source, out / "folder.txt", outside):
        folder.mkdir(parents=True)
    (out / "linked").symlink_to(outside)
    write_archive(source / "x.tar.gz", member("good.txt", b"first"), info, member("last.txt", b"last"))
    done = unpack(source, out)
    assert done.whole and done.files == 2
    assert [(row[0], row[1]) for row in done.rejected] == [("x.tar.gz", None)]
    assert words in done.rejected[0][2] and done.rejected[0][2].isprintable()
    assert set(tree(out)) == {"good.txt", "last.txt", ".unpacked/x.tar.gz.json"}
    assert tree(outside) == {} and not (tmp_path / "deep/out.txt").exists()


def sparse() -> tuple[tarfile.TarInfo, bytes]:
    info, content = member("sparse.jpg", b"1\n0\n1\n".ljust(512, b"\0"))
    info.pax_headers = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.realsize": str(1 << 40)}
    return info, content


@pytest.mark.parametrize(
    ("members", "words"),
    [
        ([member("zeros.jpg", bytes(20 << 20))], "more than 100 times its size"),
        ([member("folder", b"", type=tarfile.DIRTYPE)] * 20_000, "more than 100 times"),
        ([member("n" * (3 << 20) + ".jpg")], "more than 100 times|header larger"),
    ],
)
def test_a_bomb_is_left_at_that_point(tmp_path, members, words):
    (tmp_path / "source").mkdir()
    write_archive(tmp_path / "source/bomb.tar.gz", member("first.txt"), *members)
    done = unpack(tmp_path / "source", tmp_path / "out")
    assert not done.whole and len(done.rejected) == 1
    assert re.search(words, done.rejected[0][2])
    assert set(tree(tmp_path / "out")) == {"first.txt"}


def test_a_folder_that_states_a_size_allows_no_longer_header(tmp_path):
    """Content is skipped for files alone, so that the size of a folder must not extend the limit."""
    (tmp_path / "source").mkdir()
    folder = tarfile.TarInfo("folder")
    folder.type = tarfile.DIRTYPE
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w", format=tarfile.GNU_FORMAT) as tar:
        tar.addfile(folder)
        tar.addfile(*member("n" * (34 << 20) + ".jpg")[:1], io.BytesIO(b"1 2 3 4 \n"))
    data = bytearray(content.getvalue())
    header = tarfile.TarInfo("folder")
    header.type, header.size = tarfile.DIRTYPE, 1 << 40
    data[:512] = header.tobuf(tarfile.GNU_FORMAT)
    (tmp_path / "source/bomb.tar").write_bytes(data)
    done = unpack(tmp_path / "source", tmp_path / "out")
    assert not done.whole and "header larger than any frame" in done.rejected[0][2]


def test_a_large_member_that_is_no_frame_is_skipped(tmp_path):
    (tmp_path / "source").mkdir()
    noise = np.random.default_rng(0).integers(0, 255, 40 << 20, np.uint8).tobytes()
    with tarfile.open(tmp_path / "source/drive.tar", "w") as tar:
        for info, content in (member("a.txt"), member("drive.mp4", noise), member("b.txt")):
            tar.addfile(info, io.BytesIO(content))
    done = unpack(tmp_path / "source", tmp_path / "out")
    assert {"a.txt", "b.txt"} < set(tree(tmp_path / "out")) and done.whole and len(done.rejected) == 1


def test_a_sparse_member_needs_no_disk_space(tmp_path):
    (tmp_path / "source").mkdir()
    write_archive(tmp_path / "source/x.tar.gz", sparse(), member("last.txt"))
    done = unpack(tmp_path / "source", tmp_path / "out")
    assert "another special file" in done.rejected[0][2] and (tmp_path / "out/last.txt").exists()


def test_without_archives_there_is_one_clear_sentence(tmp_path):
    with pytest.raises(LgadError, match=r"holds no \.tar\.gz, \.tgz, \.tar or \.zip"):
        unpack(tmp_path, tmp_path)
    with pytest.raises(LgadError, match="There is no folder"):
        unpack(tmp_path / "gone", tmp_path)
    (tmp_path / "CULane.zip").write_bytes(hostile_zip())
    with pytest.raises(LgadError, match=r"CULane\.zip is a file; name the folder"):
        unpack(tmp_path / "CULane.zip", tmp_path)
