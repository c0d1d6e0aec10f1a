"""Results in a store: two caches, such as two machines have, and a real server that speaks S3."""

import json
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pyarrow import fs

from lgad_pipeline.atomic_files import machine
from lgad_pipeline.config.store_address import below
from lgad_pipeline.errors import LgadError
from lgad_pipeline.manifest import manifest_faults, manifest_of
from lgad_pipeline.object_store import ObjectStore
from lgad_pipeline.result_store import ResultStore

URI = "s3://drives/project/results"
NAME = "drives/enet/predictions"


def write_result(cache: Path, lanes: int = 3) -> list[Path]:
    """Write a folder of lane files and a file of weights; return both."""
    folder, weights = cache / "predictions" / "drives", cache / "models" / "weights.safetensors"
    for index in range(lanes):
        file = folder / "val" / f"{index}.lines.txt"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"{index} 1 2 3\n")
    weights.parent.mkdir(parents=True, exist_ok=True)
    weights.write_bytes(bytes(3_000_000))
    return [folder, weights]


def published(cache: Path, outputs: list[Path]) -> None:
    ResultStore(URI, cache).publish(NAME, outputs, manifest_of(cache, outputs))


def outputs_in(cache: Path) -> list[Path]:
    return [cache / "predictions" / "drives", cache / "models" / "weights.safetensors"]


def objects(s3: fs.FileSystem) -> dict[str, int]:
    listed = s3.get_file_info(fs.FileSelector(URI.removeprefix("s3://") + "/" + NAME))
    return {info.base_name: info.size for info in listed if info.type == fs.FileType.File}


def contents(cache: Path) -> dict[str, bytes]:
    return {
        path.relative_to(cache).as_posix(): path.read_bytes()
        for path in cache.rglob("*")
        if path.is_file() and "locks" not in path.parts
    }


def test_another_machine_gets_the_same_files(s3: fs.FileSystem, tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    published(first, write_result(first))
    assert len(objects(s3)) == 3  # a folder, a file and the index
    manifest = ResultStore(URI, second).fetch(NAME, outputs_in(second))
    assert contents(second) == contents(first) and len(contents(second)) == 4
    assert manifest == manifest_of(first, outputs_in(first)) == manifest_of(second, outputs_in(second))
    assert ResultStore(URI, second).manifest(NAME) == manifest


def test_what_is_there_is_neither_sent_nor_read_again(s3: fs.FileSystem, tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    published(first, write_result(first))
    store, before = ResultStore(URI, second), objects(s3)
    store.fetch(NAME, outputs_in(second))
    (second / "predictions" / "drives" / "val" / "1.lines.txt").write_text("changed")
    weights = outputs_in(second)[1].stat().st_ino
    store.fetch(NAME, outputs_in(second))
    assert contents(second) == contents(first) and outputs_in(second)[1].stat().st_ino == weights
    published(first, write_result(first, lanes=4))
    assert len(before.keys() & objects(s3).keys()) == 2, "the weights and the name of the index"


def test_a_replaced_result_leaves_nothing_of_the_old_one(s3: fs.FileSystem, tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    published(first, write_result(first, lanes=4))
    store = ResultStore(URI, second)
    store.fetch(NAME, outputs_in(second))
    (first / "predictions" / "drives" / "val" / "3.lines.txt").unlink()
    published(first, outputs_in(first))
    store.fetch(NAME, outputs_in(second))
    assert contents(second) == contents(first) and len(contents(second)) == 4
    assert len(objects(s3)) == 3
    store.remove(NAME)
    assert store.manifest(NAME) is None and not objects(s3)


def test_a_killed_upload_is_no_result(s3: fs.FileSystem, tmp_path: Path) -> None:
    """The index is written last, so the old result stays in use."""
    first, second = tmp_path / "first", tmp_path / "second"
    published(first, write_result(first))
    store = ResultStore(URI, first)

    def killed(name: str, content: bytes) -> None:
        raise KeyboardInterrupt

    (first / "predictions" / "drives" / "val" / "0.lines.txt").write_text("new")
    store._store.write = killed  # pyright: ignore[reportAttributeAccessIssue]
    with pytest.raises(KeyboardInterrupt):
        store.publish(NAME, outputs_in(first), manifest_of(first, outputs_in(first)))
    manifest = ResultStore(URI, second).fetch(NAME, outputs_in(second))
    assert not manifest_faults(second, manifest)
    assert (second / "predictions" / "drives" / "val" / "0.lines.txt").read_text() == "0 1 2 3\n"


def test_damage_is_one_sentence(s3: fs.FileSystem, tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    store = ResultStore(URI, second)
    with pytest.raises(LgadError, match=r"index.json is missing; materialize its asset again, or correct"):
        store.fetch(NAME, outputs_in(second))
    published(first, write_result(first))
    path = URI.removeprefix("s3://") + "/" + NAME
    archive = min(objects(s3).items(), key=lambda item: (item[0] == "index.json", item[1]))[0]
    with s3.open_output_stream(f"{path}/{archive}") as stream:
        stream.write(b"other")
    assert store.manifest(NAME) is None, "an object of another size is not an object of the result"
    with pytest.raises(LgadError, match=f"{archive} is damaged; materialize its asset again"):
        store.fetch(NAME, outputs_in(second))
    with s3.open_output_stream(f"{path}/index.json") as stream:
        stream.write(b"{}")
    with pytest.raises(LgadError, match=r"index.json is damaged; materialize its asset again"):
        store.fetch(NAME, outputs_in(second))


@pytest.mark.parametrize("name", ["../outside.txt", "predictions/drives/../../outside.txt", "/tmp/outside"])
def test_an_index_cannot_name_a_file_outside(s3: fs.FileSystem, tmp_path: Path, name: str) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    published(first, write_result(first))
    path = URI.removeprefix("s3://") + "/" + NAME + "/index.json"
    index = json.loads(s3.open_input_stream(path).read())
    state = index["files"]["models/weights.safetensors"]
    for changed in (
        index | {"files": index["files"] | {name: state}},
        index | {"objects": [*index["objects"], index["objects"][1] | {"path": name}]},
    ):
        with s3.open_output_stream(path) as stream:
            stream.write(json.dumps(changed).encode())
        with pytest.raises(LgadError, match="which is"):
            ResultStore(URI, second).fetch(NAME, outputs_in(second))
    assert not contents(second)


def test_addresses_keep_their_query() -> None:
    assert below("s3://bucket/a/?region=x", "b/c") == "s3://bucket/a/b/c?region=x"


def test_files_that_change_or_vanish_after_their_manifest_are_stored_as_they_are(
    s3: fs.FileSystem, tmp_path: Path
) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    outputs = write_result(first)
    manifest = manifest_of(first, outputs)
    (first / "predictions/drives/val/0.lines.txt").write_text("longer than before 1 2 3\n")
    (first / "predictions/drives/val/1.lines.txt").unlink()
    outputs[1].write_bytes(b"other weights")
    ResultStore(URI, first).publish(NAME, outputs, manifest)
    fetched = ResultStore(URI, second).fetch(NAME, outputs_in(second))
    assert contents(second) == contents(first) and len(contents(second)) == 3
    assert fetched == manifest_of(first, outputs) and not manifest_faults(second, fetched)
    outputs[1].unlink()
    ResultStore(URI, first).publish(NAME, outputs, manifest)
    assert len(ResultStore(URI, second).fetch(NAME, outputs_in(second))) == 2


def test_a_result_that_is_replaced_while_it_is_listed_is_complete(
    s3: fs.FileSystem, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = tmp_path / "first"
    published(first, write_result(first))
    store, replaced = ResultStore(URI, tmp_path / "second"), []
    listed = ObjectStore.sizes

    def sizes(self: ObjectStore, folder: str = "") -> dict[str, int]:
        found = listed(self, folder)
        if self is store._store and not replaced:
            replaced.append(True)
            published(first, write_result(first, lanes=4))
        return found

    monkeypatch.setattr(ObjectStore, "sizes", sizes)
    manifest = store.manifest(NAME)
    assert replaced and manifest is not None and len(manifest) == 5


def test_a_process_of_this_machine_waits_until_a_publication_has_ended(
    s3: fs.FileSystem, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outputs = write_result(tmp_path)
    listed, others = ObjectStore.sizes, []

    def sizes(self: ObjectStore, folder: str = "") -> dict[str, int]:
        found = listed(self, folder)
        if not others:  # another publication begins after the first one has listed the objects
            others.append(threading.Thread(target=published, args=(tmp_path, outputs)))
            others[0].start()
            others[0].join(1.0)
            assert others[0].is_alive()
        return found

    with monkeypatch.context() as watched:
        watched.setattr(ObjectStore, "sizes", sizes)
        published(tmp_path, outputs)
        others[0].join()
    fetched = ResultStore(URI, tmp_path / "second").fetch(NAME, outputs_in(tmp_path / "second"))
    assert not manifest_faults(tmp_path / "second", fetched) and len(objects(s3)) == 3


@pytest.mark.parametrize("uri", ["file://{folder}", "fsspec+memory://unfinished"])
def test_an_object_whose_writing_stops_is_not_there(tmp_path: Path, uri: str) -> None:
    store = ObjectStore(uri.format(folder=tmp_path / "store"))
    store.write("other", b"1")

    def chunks() -> Iterator[bytes]:
        yield b"half"
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        store._store("object", chunks())
    assert store.sizes() == {"other": 1}


def test_an_object_that_cannot_be_opened_keeps_its_content(monkeypatch: pytest.MonkeyPatch) -> None:
    store = ObjectStore("fsspec+memory://kept")
    store.write("index.json", b"old")

    class Refusing:
        type_name = "memory"

        def __getattr__(self, name: str) -> Any:
            if name == "open_output_stream":
                raise OSError("503 Slow Down")
            return getattr(filesystem, name)

    filesystem = store.filesystem
    monkeypatch.setattr(store, "filesystem", Refusing())
    with pytest.raises(LgadError, match="503 Slow Down"):
        store.write("index.json", b"new")
    monkeypatch.setattr(store, "filesystem", filesystem)
    assert store.read("index.json", 10) == b"old"


def test_a_half_object_of_a_killed_process_is_removed(tmp_path: Path) -> None:
    process = subprocess.Popen(["true"])
    process.wait()
    left = tmp_path / f".weights.{machine()}-{process.pid}.part"
    left.write_bytes(b"half")
    store = ObjectStore(f"file://{tmp_path}")
    assert not store.sizes()
    store.write("weights", b"whole")
    assert [path.name for path in tmp_path.iterdir()] == ["weights"]


def test_two_writers_of_a_local_object_do_not_mix_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = ObjectStore(f"file://{tmp_path / 'store'}")

    def chunks() -> Iterator[bytes]:
        yield b"aa"
        with monkeypatch.context() as other_process:
            other_process.setattr("os.getpid", lambda: 1)
            store.write("object", b"b")
        yield b"aa"

    store._store("object", chunks())
    assert store.read("object", 10) == b"aaaa" and store.sizes() == {"object": 4}
