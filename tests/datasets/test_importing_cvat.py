from collections.abc import Iterable

import pytest

from lgad_pipeline.datasets.importing import tracks
from lgad_pipeline.datasets.importing.convert import Conversion, Format, convert
from lgad_pipeline.errors import LgadError
from tests.datasets.importing_files import (
    BOTTOM_FIRST,
    LANES,
    SIZE,
    cvat_image,
    cvat_shape,
    cvat_xml,
    image,
    lines,
    polylines,
)


def imported(tmp_path, **options) -> Conversion:
    return convert(tmp_path / "source", tmp_path / "out", annotations=Format.CVAT, **options)


@pytest.mark.parametrize(
    ("name", "picture"),
    [
        ("0.png", "images/0.png"),
        ("0.png", "0.png"),
        ("day/0.png", "images/day/0.png"),
        ("day\\0.png", "images/day/0.png"),
        ("/day/0.png", "images/day/0.png"),
        ("frame_000000", "images/frame_000000.PNG"),
        ("frame_000000", "frame_000000.jpg"),
    ],
)
def test_the_image_is_found_where_cvat_puts_it(tmp_path, name, picture):
    image(tmp_path / "source" / picture)
    cvat_xml(tmp_path / "source/annotations.xml", cvat_image(name))
    done = imported(tmp_path)
    assert done.splits["train"] == [picture] and not done.rejected
    assert lines((tmp_path / "out" / picture).with_suffix(".lines.txt")) == BOTTOM_FIRST


def test_a_name_without_ending_that_means_two_images_is_rejected(tmp_path):
    for ending in ("jpg", "png"):
        image(tmp_path / f"source/images/frame_000000.{ending}")
    image(tmp_path / "source/images/frame_000001.png")
    content = cvat_image("frame_000000") + cvat_image("frame_000001")
    cvat_xml(tmp_path / "source/annotations.xml", content)
    done = imported(tmp_path)
    assert sum(done.frames.values()) == 1
    assert "may mean images/frame_000000.jpg or images/frame_000000.png" in done.rejected[0][2]


def test_the_subsets_of_a_project_are_its_splits(tmp_path):
    content = ""
    for number, subset in enumerate(["Train", "Train", "Train", "Validation", "Test"]):
        image(tmp_path / f"source/images/{subset}/{number % 3}.jpg")
        content += cvat_image(f"{number % 3}.jpg", subset=subset)
    cvat_xml(tmp_path / "source/annotations.xml", content)
    done = imported(tmp_path)
    assert done.splits == {
        "train": [f"images/Train/{number}.jpg" for number in range(3)],
        "val": ["images/Validation/0.jpg"],
        "test": ["images/Test/1.jpg"],
    }
    assert done.followed and not done.rejected


def test_several_jobs_are_imported_at_once(tmp_path):
    for job in (1, 2):
        image(tmp_path / f"source/job_{job}/images/frame_000000.jpg")
        cvat_xml(tmp_path / f"source/job_{job}/annotations.xml", cvat_image("frame_000000"))
        image(tmp_path / f"source/images/{job}.jpg")
        cvat_xml(tmp_path / f"source/job{job}.xml", cvat_image(f"{job}.jpg"))
    (tmp_path / "source/voc.xml").write_text("<annotation><object/></annotation>")
    done = imported(tmp_path)
    assert sum(done.frames.values()) == 4
    assert [row[0] for row in done.rejected] == ["voc.xml"] and "Pascal VOC" in done.rejected[0][2]


def test_every_kind_of_shape_is_a_lane_or_named(tmp_path):
    image(tmp_path / "source/images/0.jpg")
    shapes = (
        polylines()
        + cvat_shape([[140, 59], [144, 59], [124, 19], [122, 19]], "polygon")
        + cvat_shape([[20, 50], [24, 40], [30, 20]], "points")
        + cvat_shape([[60, 50]], "points", others='group_id="4"')
        + cvat_shape([[70, 20]], "points", others='group_id="4"')
        + '<box label="car" xtl="1" ytl="2" xbr="3" ybr="4"/><mask label="road" rle="1"/>'
        + '<tag label="night"/><skeleton label="s"><points label="p" points="1,2"/></skeleton>'
        + '<polyline label="lane" points="1,2;3"/>'
    )
    cvat_xml(tmp_path / "source/annotations.xml", cvat_image("0.jpg", shapes))
    done = imported(tmp_path)
    assert lines(tmp_path / "out/images/0.lines.txt") == [
        *BOTTOM_FIRST,
        [[141.5, 58.5], [122.5, 18.5]],
        [[19.5, 49.5], [23.5, 39.5], [29.5, 19.5]],
        [[59.5, 49.5], [69.5, 19.5]],
    ]
    assert [(kind, label) for kind, label, _ in done.shapes.rejected] == [
        ("rectangle", "car"),
        ("mask", "road"),
        ("skeleton", "s"),
        ("polyline", "lane"),
    ]
    assert done.shapes.ignored == {"tag night": 1}


def test_a_frame_with_a_tag_alone_counts_as_a_frame_without_a_shape(tmp_path):
    for number in range(2):
        image(tmp_path / f"source/images/{number}.jpg", number)
    cvat_xml(
        tmp_path / "source/annotations.xml", cvat_image("0.jpg") + cvat_image("1.jpg", '<tag label="dry"/>')
    )
    assert imported(tmp_path).empty == 1


def step(frame: int, points: list, outside: int = 0, keyframe: int = 1) -> str:
    return cvat_shape(points, others=f'frame="{frame}" outside="{outside}" keyframe="{keyframe}"')


def video(
    tmp_path,
    content: str,
    size: tuple[int, int] = SIZE,
    *,
    frames: Iterable[int] = range(6),
    frame_filter="",
    meta="",
) -> None:
    for number in frames:
        image(tmp_path / f"source/images/frame_{number:06d}.PNG", number)
    original = f"<frame_filter>{frame_filter}</frame_filter>"
    original += f"<original_size><width>{size[1]}</width><height>{size[0]}</height></original_size>"
    cvat_xml(tmp_path / "source/annotations.xml", f"<meta><task>{meta}{original}</task></meta>{content}")


def test_tracks_of_a_video_are_read_frame_by_frame(tmp_path):
    first, last = [[10, 50], [20, 10]], [[18, 58], [28, 18]]
    content = (
        f'<track id="0" label="lane">{step(0, first)}{step(1, first, keyframe=0)}'
        f"{step(2, first, outside=1)}</track>"
        f'<track id="1" label="lane">{step(1, first)}{step(5, last)}</track>'
        f'<track id="2" label="curb">{step(0, LANES[1])}{step(1, LANES[1])}</track>'
    )
    video(tmp_path, content, frames=range(7))
    done = imported(tmp_path, labels=["lane"])
    assert sum(done.frames.values()) == 6 and done.unused == 1
    drawn = [lines(tmp_path / f"out/images/frame_{number:06d}.lines.txt") for number in range(6)]
    stated = [[9.5, 49.5], [19.5, 9.5]]
    assert drawn[:2] == [[stated], [stated, stated]]
    # Frames 2 to 4 are not stated: a quarter of the way each.
    assert drawn[2:] == [[[[x + 2 * n, y + 2 * n] for x, y in stated]] for n in range(1, 5)]
    assert done.shapes.labels == {"lane": 7, "curb": 2}


def test_a_frame_that_every_track_has_left_is_without_lanes(tmp_path):
    line = [[10, 50], [20, 10]]
    shapes = step(0, line) + step(1, line) + step(2, line, outside=1)
    video(tmp_path, f'<track id="0" label="lane">{shapes}</track>')
    done = imported(tmp_path)
    assert lines(tmp_path / "out/images/frame_000002.lines.txt") == [] and done.empty == 1


@pytest.mark.parametrize("every", [1, 5])
def test_a_shape_of_one_frame_says_nothing_about_the_next(tmp_path, every):
    shapes = step(0, LANES[0]) + step(every, LANES[0], outside=1)
    later = step(2 * every, LANES[1]) + step(3 * every, LANES[1], outside=1)
    content = f'<track id="0" label="lane">{shapes}</track><track id="1" label="lane">{later}</track>'
    video(tmp_path, content, frames=range(0, 4 * every, every), frame_filter=f"step={every}")
    done = imported(tmp_path)
    assert sum(done.frames.values()) == 2 and not done.empty and done.unused == 2


def test_only_the_frames_of_a_task_with_a_step_are_interpolated(tmp_path):
    content = (
        f'<track id="0" label="lane">{step(0, [[10, 50], [20, 10]])}{step(10, [[18, 58], [28, 18]])}</track>'
    )
    video(tmp_path, content, frames=(0, 5, 10), frame_filter="step=5")
    done = imported(tmp_path)
    assert sum(done.frames.values()) == 3 and not done.rejected
    assert lines(tmp_path / "out/images/frame_000005.lines.txt") == [[[13.5, 53.5], [23.5, 13.5]]]


@pytest.mark.parametrize(
    ("first", "mode", "says"),
    [
        (0, "annotation", ""),
        (0, "interpolation", ""),
        (0, None, ""),
        (1, "annotation", r"up to 4, but there is the image images/frame_000005\.PNG, .*for images"),
        (1, "interpolation", r"from 1 to 5, such as images/frame_000001\.PNG, .* number the images from 0"),
        (1, None, r"from 1 to 5, .* number the images from 0"),
    ],
)
def test_images_that_count_from_1_do_not_get_the_lanes_of_their_neighbours(tmp_path, first, mode, says):
    """Tracks of a task of images count from 0, whatever numbers the names of the images have."""
    content = f'<track label="lane">{step(2, LANES[0])}{step(3, LANES[0], outside=1)}</track>'
    meta = "<start_frame>0</start_frame><stop_frame>4</stop_frame>"
    if mode is not None:
        meta = f"<mode>{mode}</mode>{meta}"
    video(tmp_path, content, frames=range(first, first + 5), meta=meta)
    if not says:
        assert imported(tmp_path).count == 1
        return
    with pytest.raises(LgadError, match=says):
        imported(tmp_path)


def test_images_of_a_video_that_count_from_1_are_refused_in_the_list_of_images_too(tmp_path):
    meta = "<mode>interpolation</mode><start_frame>0</start_frame><stop_frame>2</stop_frame>"
    content = "".join(cvat_image(f"frame_{number:06d}") for number in range(3))
    video(tmp_path, content, frames=range(1, 4), meta=meta)
    with pytest.raises(LgadError, match=r"from 0 to 2, but the images are numbered from 1 to 3"):
        imported(tmp_path)
    image(tmp_path / "source/images/frame_000000.PNG", 9)  # the images are those of more than the task
    assert sum(imported(tmp_path).frames.values()) == 3


def test_frames_of_two_tasks_of_a_project_are_not_mixed(tmp_path):
    def of_tasks(*tasks: str) -> str:
        return "".join(
            f'<track label="lane" {task}>{step(0, LANES[0])}{step(1, LANES[0])}</track>' for task in tasks
        )

    for subset in ("Train", "Test"):
        for number in range(2):
            image(tmp_path / f"source/images/{subset}/frame_{number:06d}.PNG", len(subset) + number)
    video(tmp_path, of_tasks('task_id="1" subset="Train"', 'task_id="2" subset="Test"'))
    assert imported(tmp_path).count == 4
    video(tmp_path, of_tasks('task_id="1" subset="Train"', 'task_id="2" subset="Train"'))
    with pytest.raises(LgadError, match="tracks of the tasks 1 and 2 in frames of one number"):
        convert(tmp_path / "source", tmp_path / "other", annotations=Format.CVAT)


def test_a_gap_that_cannot_be_interpolated_rejects_its_frames(tmp_path):
    content = f'<track id="0" label="lane">{step(0, LANES[0])}{step(2, [[50, 5], *LANES[0]])}</track>'
    video(tmp_path, content)
    done = imported(tmp_path)
    assert sum(done.frames.values()) == 2
    [(file, _, reason)] = done.rejected
    assert file == "images/frame_000001.PNG" and "cannot be interpolated" in reason


def test_the_size_of_a_video_is_compared_with_its_frames(tmp_path):
    video(tmp_path, f'<track id="0" label="lane">{step(0, [[20, 100], [40, 20]])}</track>', (120, 320))
    assert imported(tmp_path).scaled == 1
    assert lines(tmp_path / "out/images/frame_000000.lines.txt") == [[[9.5, 49.5], [19.5, 9.5]]]


@pytest.mark.parametrize("encoding", ["gb2312", "GBK", "gb18030", "big5", "utf-16", "utf-8-sig", "euc-jp"])
def test_exports_are_decoded_as_they_declare(tmp_path, encoding):
    image(tmp_path / "source/images/0.jpg")
    label = "車道" if encoding in ("big5", "euc-jp") else "车道"
    declared = "utf-8" if encoding == "utf-8-sig" else encoding
    text = f'<?xml version="1.0" encoding="{declared}"?><annotations>'
    text += cvat_image("0.jpg", cvat_shape(LANES[0], label=label)) + "</annotations>"
    (tmp_path / "source/annotations.xml").write_bytes(text.encode(encoding))
    assert imported(tmp_path).shapes.labels == {label: 1}


def test_a_bad_image_is_rejected_alone(tmp_path):
    image(tmp_path / "source/0.jpg")
    content = cvat_image("0.jpg") + cvat_image("../0.jpg") + cvat_image("1.jpg") + cvat_image("")
    cvat_xml(tmp_path / "source/annotations.xml", content)
    done = imported(tmp_path)
    assert sum(done.frames.values()) == 1
    assert [row[:2] for row in done.rejected] == [("annotations.xml", line) for line in (4, 5, 6)]


BOMB = (
    '<!DOCTYPE a [<!ENTITY x "ha">'
    + "".join(f'<!ENTITY x{n} "{f"&x{n - 1 or str()};" * 10}">' for n in range(1, 9))
    + "]>"
)


@pytest.mark.parametrize(
    ("head", "content", "words"),
    [
        (BOMB, "", "declares a document type"),
        ('<!DOCTYPE a SYSTEM "file:///etc/passwd">', "", "declares a document type"),
        ("<", "", "is not XML"),
        ('<?xml version="1.0" encoding="utf-9"?>', "", "its encoding utf-9 is not known"),
        ('<?xml version="1.0" encoding="unicode_escape"?>', "", "its encoding unicode_escape is not known"),
        ('<?xml version="1.0"\nencoding = "rot13" ?>', "", "its encoding rot13 is not known"),
        ('<?xml version="1.0" encoding="gb2312"?>', "車", "cannot be decoded"),
        ("", "<a>" * 100, "nests its elements deeper"),
        ("", '<track><polyline frame="-1" points="1,2;3,4"/></track>', "without the number of its frame"),
    ],
)
def test_hostile_xml_is_refused(tmp_path, head, content, words):
    cvat_xml(tmp_path / "source/annotations.xml", content, head)
    with pytest.raises(LgadError, match=words):
        imported(tmp_path)


def test_a_small_file_cannot_make_millions_of_shapes(tmp_path, monkeypatch):
    monkeypatch.setattr(tracks, "_MOST_FILLED", 1000)
    track = f'<track label="lane">{step(0, LANES[0])}{step(400, LANES[0])}</track>'
    video(tmp_path, 2 * track, frames=range(1))
    assert sum(imported(tmp_path).frames.values()) == 1
    cvat_xml(tmp_path / "source/annotations.xml", 3 * track)
    with pytest.raises(LgadError, match="leaves out more than 1,000 shapes of its tracks"):
        convert(tmp_path / "source", tmp_path / "other", annotations=Format.CVAT)
