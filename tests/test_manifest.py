import json
import os

import pytest

from lgad_pipeline.manifest import changed_files, manifest_faults, manifest_of


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "weights").write_bytes(b"12345")
    (tmp_path / "found").mkdir()
    (tmp_path / "found" / "a.lines.txt").write_text("1 2")
    return tmp_path


def written(folder):
    files = [folder / "weights", folder / "found"]
    return json.loads(json.dumps(manifest_of(folder, files)))  # it is kept as JSON


def test_unchanged_files_have_no_faults(folder):
    manifest = written(folder)
    assert list(manifest) == ["found/a.lines.txt", "weights"]
    assert manifest_faults(folder, manifest) == []


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda path: path.unlink(), "weights is missing"),
        (lambda path: path.write_bytes(b""), "weights has 0 bytes where 5 were written"),
        (lambda path: (path.write_bytes(b"12346"), os.utime(path, (0, 0))), "weights has been changed"),
        (lambda path: (path.unlink(), path.mkdir()), "weights"),
    ],
)
def test_every_change_is_named(folder, change, reason):
    manifest = written(folder)
    change(folder / "weights")
    (fault,) = manifest_faults(folder, manifest)
    assert reason in fault


def test_restored_copy_with_other_times_is_the_same(folder):
    manifest = written(folder)
    os.utime(folder / "weights", (0, 0))
    assert manifest_faults(folder, manifest) == []


def test_what_a_store_has_may_be_absent(folder):
    manifest = written(folder)
    (folder / "weights").unlink()
    (folder / "found" / "a.lines.txt").write_text("1 2 3")
    (fault,) = changed_files(folder, manifest, absent_ok=True).values()
    assert "a.lines.txt has 5 bytes" in fault


def test_damaged_manifest_is_a_fault_and_no_error(folder):
    assert len(manifest_faults(folder, {"weights": {"size": 5}})) == 1  # pyright: ignore
