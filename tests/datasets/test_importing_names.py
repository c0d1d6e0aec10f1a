"""Imports of images that share a name: in another ending, in another folder, or renumbered."""

import pytest

from lgad_pipeline.cli.main import app
from lgad_pipeline.datasets.importing.adding import add_frames
from lgad_pipeline.datasets.importing.convert import Format, convert
from lgad_pipeline.datasets.importing.summary import summary
from lgad_pipeline.errors import LgadError
from tests.datasets.importing_files import (
    BOTTOM_FIRST,
    LANES,
    cvat_image,
    cvat_xml,
    image,
    labelme,
    lines,
    shape,
)

SHAPES = [shape(lane) for lane in LANES]


@pytest.mark.parametrize("annotations", Format)
def test_frames_that_are_added_never_share_a_lane_file(tmp_path, annotations):
    root, source = tmp_path / "set", tmp_path / "source"
    (root / "list").mkdir(parents=True)
    for seed, name in enumerate(("b", "v", "t")):
        image(root / f"{name}.jpg", seed)
        (root / f"{name}.lines.txt").write_text("")
    for split, name in (("train", "b"), ("val", "v"), ("test", "t")):
        (root / f"list/{split}.txt").write_text(f"{name}.jpg\n")
    for seed, name in enumerate(("b.png", "q.jpg", "q.png"), 5):
        image(source / name, seed)
    if annotations is Format.CVAT:
        # The lane files of b.jpg and of b.png, which has no shape, would be equal.
        content = [cvat_image("b.png", ""), cvat_image("q.jpg"), cvat_image("q.png", "")]
        cvat_xml(source / "annotations.xml", "".join(content))
    else:
        labelme(source / "b.json", [], "b.png")
        labelme(source / "q1.json", SHAPES, "q.jpg")
        labelme(source / "q2.json", [], "q.png")
    done = add_frames(source, root, annotations=annotations)
    assert done.splits["train"] == ["q.jpg"] and lines(root / "q.lines.txt") == BOTTOM_FIRST
    assert (root / "list/train.txt").read_text() == "b.jpg\nq.jpg\n"
    assert not (root / "b.png").exists() and not (root / "q.png").exists()
    assert [fault[::2] for fault in done.rejected] == [
        ("b.png", "would share the lane file b.lines.txt with b.jpg; rename one of the two images"),
        ("q.png", "would share the lane file q.lines.txt with q.jpg; rename one of the two images"),
    ]
    with pytest.raises(LgadError, match=r"No frame of .* can be added"):
        add_frames(source, root, annotations=annotations)


@pytest.mark.parametrize("renumbered", [True, False])
def test_images_that_were_numbered_again_after_their_annotation_are_pointed_out(tmp_path, renumbered):
    for number in range(1, 6):
        image(tmp_path / f"source/{number}.jpg", number)
        stated = number - 1 if renumbered or number == 5 else number
        labelme(tmp_path / f"source/{number}.json", SHAPES, f"{stated}.jpg")
    done = convert(tmp_path / "source", tmp_path / "out", annotations=Format.LABELME)
    # 0.jpg is missing, so that 1.json has 1.jpg, as its name says, and 2.json is rejected.
    expected = {"3.json": "2.jpg", "4.json": "3.jpg", "5.json": "4.jpg"} if renumbered else {}
    assert done.other_images == expected and len(done.rejected) == 1
    text = (
        "State another image than that of their own name: 3 annotation files, such as 3.json, which states 2"
    )
    assert any(sentence.startswith(text) for sentence in summary(done)) is renumbered


def test_a_label_with_a_comma_is_printed_and_chosen_in_double_quotes(tmp_path, capsys):
    image(tmp_path / "source/a.jpg")
    drawn = [shape(LANES[0], label="lane, white"), shape(LANES[1], label="curb")]
    labelme(tmp_path / "source/a.json", drawn)
    command = ["import", "labelme", str(tmp_path / "source"), str(tmp_path / "out"), "--labels"]
    with pytest.raises(
        LgadError, match='names lane, white, which no shape has; the labels are curb, "lane, w'
    ):
        app([*command, "lane, white"], standalone_mode=False)
    app([*command, 'curb ,\n"lane, white"'], standalone_mode=False)
    assert 'Labels: "lane, white" 1, curb 1' in capsys.readouterr().out
    assert lines(tmp_path / "out/a.lines.txt") == BOTTOM_FIRST


@pytest.mark.parametrize("folders", [["cam1", "cam2"], ["a/cam1", "a/cam2", "a/cam3", "a/cam4", "a/cam5"]])
@pytest.mark.parametrize("annotations", Format)
def test_images_of_one_name_in_several_folders_are_named(tmp_path, annotations, folders):
    for seed, folder in enumerate(folders):
        image(tmp_path / f"source/{folder}/0.jpg", seed)
    image(tmp_path / "source/1.jpg", 9)
    if annotations is Format.CVAT:
        cvat_xml(tmp_path / "source/annotations.xml", cvat_image("0.jpg") + cvat_image("1.jpg"))
    else:
        labelme(tmp_path / "source/0.json", SHAPES)
        labelme(tmp_path / "source/1.json", SHAPES)
    done = convert(tmp_path / "source", tmp_path / "out", annotations=annotations)
    [fault] = done.rejected
    named = (
        "cam1/0.jpg or cam2/0.jpg" if len(folders) == 2 else "a/cam1/0.jpg or a/cam2/0.jpg or a/cam3/0.jpg"
    )
    more = "" if len(folders) == 2 else ", and 2 more"
    assert fault.reason.startswith(
        f"names the image 0.jpg, which may be {named}{more}; put the right one next"
    )
