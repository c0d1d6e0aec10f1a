"""Forms of lgad.yaml and lgad.local.yaml: merging, encodings, and what YAML reads as another value."""

from pathlib import Path

import pytest

from lgad_pipeline.errors import LgadError
from lgad_pipeline.settings import CulaneDataset, Settings
from tests.settings.settings_files import RECIPES, message, written


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "lgad.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(LgadError, match=r"is not UTF-8 .*; save it as UTF-8"):
        Settings.load(tmp_path / "lgad.yaml")


@pytest.mark.parametrize("file", ["lgad.yaml", "lgad.local.yaml"])
@pytest.mark.parametrize(
    ("root", "comment"),
    [
        ("/mnt/x #18", "#18"),
        ("/mnt/my set\t# of May ", "# of May "),
        ('"/mnt/x #18"', ""),
        ("'/mnt/x'  # note", ""),
        ("/mnt/x#18", ""),
        ("/mnt/x", ""),
    ],
)
def test_a_comment_behind_a_missing_root_is_pointed_out(tmp_path: Path, file, root, comment) -> None:
    written(tmp_path, "datasets: {}" + RECIPES)
    entry = "datasets:\n  other:\n    kind: culane\n    root: /mnt/y # 2\n"
    entry += f"  away:\n    kind: culane\n    root: {root}\n"
    (tmp_path / file).write_text(entry + (RECIPES if file == "lgad.yaml" else ""))
    dataset = Settings.load(tmp_path / "lgad.yaml").dataset("away")
    assert isinstance(dataset, CulaneDataset)
    with pytest.raises(LgadError) as error:
        dataset.require_root()
    hint = (
        f" ({comment!r} behind it is a comment in YAML; quote the path if it is part of it)"
        if comment
        else ""
    )
    assert str(error.value).endswith(f"or correct `root` of this data set{hint}.")


def test_local_file_is_merged_over_and_named_in_its_mistakes(tmp_path: Path) -> None:
    shared = "datasets: {mine: {kind: culane, root: /data, crop_top: 240}}" + RECIPES
    local = tmp_path / "lgad.local.yaml"
    local.write_text("datasets: {mine: {root: here}, other: {kind: culane, root: .}}\n")
    settings = Settings.load(written(tmp_path, shared))
    mine = settings.dataset("mine")
    assert isinstance(mine, CulaneDataset) and mine.crop_top == 240 and mine.root == tmp_path / "here"
    assert "other" in settings.datasets
    local.write_text("datasets: {mine: {rot: here}}\n")
    assert "lgad.local.yaml: datasets.mine.rot is not a known key" in message(tmp_path, shared)
    local.write_text("datasets: {other: {kind: culane}}\n")
    assert "lgad.local.yaml: datasets.other.root is missing; add it." in message(tmp_path, shared)
    local.write_text("recipes: [")
    with pytest.raises(LgadError, match=r"lgad\.local\.yaml is not valid YAML"):
        Settings.load(tmp_path / "lgad.yaml")
    for nothing in ("", "datasets:\n  # mine: {root: here}\nrecipes:\n"):
        local.write_text(nothing)
        assert Settings.load(tmp_path / "lgad.yaml").dataset("mine")


def test_a_local_file_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    settings, local = written(tmp_path, RECIPES), tmp_path / "lgad.local.yaml"
    local.symlink_to(tmp_path / "away.yaml")
    with pytest.raises(LgadError, match=r"lgad\.local\.yaml cannot be read .*mount the disk of that file"):
        Settings.load(settings)
    local.unlink()
    local.mkdir()
    with pytest.raises(LgadError, match=r"lgad\.local\.yaml cannot be read .*name a file"):
        Settings.load(settings)


def test_an_empty_folder_name_is_an_error_in_place_of_the_projects_folder(tmp_path: Path) -> None:
    data = 'datasets: {a: {kind: culane, root: ""}, b: {kind: culane, root: /b, suggest: {frames: ""}}}'
    broken = Settings.load(written(tmp_path, data + RECIPES)).broken
    assert "datasets.a.root is '': it names no folder; write its path." in broken["a"]
    assert "datasets.b.suggest.frames is '': it names no folder; write its path." in broken["b"]


def test_file_with_a_byte_order_mark_is_read(tmp_path: Path) -> None:
    (tmp_path / "lgad.yaml").write_text(RECIPES, encoding="utf-8-sig")
    assert Settings.load(tmp_path / "lgad.yaml").recipe("enet")


@pytest.mark.parametrize(
    "text", ["recipes: &r\n  enet: *r\n", "datasets: &d [1, *d]\n", "recipes: {a: &a {b: {c: *a}}}\n"]
)
def test_an_alias_within_its_own_anchor_is_one_clear_sentence(tmp_path, text):
    (tmp_path / "lgad.yaml").write_text(text)
    with pytest.raises(LgadError, match=r"has an alias \(\*name\) within its own anchor"):
        Settings.load(tmp_path / "lgad.yaml")


@pytest.mark.parametrize("depth", [50, 500, 990, 5000])
def test_values_nested_deeply_are_one_clear_sentence(tmp_path, depth):
    (tmp_path / "lgad.yaml").write_text("recipes: " + "[" * depth + "]" * depth)
    with pytest.raises(LgadError):
        Settings.load(tmp_path / "lgad.yaml")


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le"])
def test_settings_are_read_in_the_encodings_of_windows(tmp_path, encoding):
    path = tmp_path / "lgad.yaml"
    content = """datasets:
  mine: {kind: culane, root: /data, image_size: [80, 256]}
recipes:
  enet: {teacher: {steps: 150}, student: {steps: 600}}
"""
    path.write_bytes(content.replace("\n", "\r\n").encode(encoding))
    assert Settings.load(path).dataset_names == ["mine", "synthetic"]


def test_settings_in_another_encoding_name_it(tmp_path):
    path = tmp_path / "lgad.yaml"
    path.write_bytes(b"datasets: {}  # \xe9\n")
    with pytest.raises(LgadError, match=r"lgad\.yaml is not UTF-8 .*; save it as UTF-8"):
        Settings.load(path)


def test_a_name_that_yaml_reads_as_another_value_is_named(tmp_path):
    path = tmp_path / "lgad.yaml"
    path.write_text("""datasets:
  on: {kind: culane, root: /data, image_size: [80, 256]}
recipes:
  enet: {teacher: {steps: 150}, student: {steps: 600}}
""")
    with pytest.raises(
        LgadError,
        match="datasets has the name True, which YAML does not read as text; put the name in quotes",
    ):
        Settings.load(path).dataset("on")


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        ("0240", "0240 would be read as octal, the number 160"),  # 2 * 64 + 4 * 8
        ("4:00", "4:00 would be read as base 60, the number 240"),  # 4 * 60
        ("1:30.5", "1:30.5 would be read as base 60, the number 90.5"),
    ],
)
def test_numbers_that_yaml_would_read_in_another_base_are_refused(tmp_path, value, sentence):
    entry = "datasets:\n  a: {{kind: culane, root: /a, crop_top: {}}}\n"
    text = message(tmp_path, entry.format(value) + RECIPES)
    assert sentence in text and "line 2" in text
    for good, crop in (("240", 240), ("0", 0), ("010.0", 10), ("'0240'", 240), ("0x10", 16), ("1_00", 100)):
        assert Settings.load(written(tmp_path, entry.format(good) + RECIPES)).dataset("a").crop_top == crop
