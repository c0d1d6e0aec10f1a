"""Results in a store: two caches, such as two machines have, and a real server that speaks S3."""

import json
from pathlib import Path

import pytest
from pyarrow import fs

from lgad_pipeline.config.store_address import below
from lgad_pipeline.errors import LgadError
from lgad_pipeline.manifest import manifest_faults, manifest_of
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
