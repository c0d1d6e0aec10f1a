import cv2
import numpy as np
import pandas as pd

from lgad_pipeline.data.duplicates import NEAR, duplicates, near_pictures
from lgad_pipeline.data.ingestion import ingest
from lgad_pipeline.datasets.picture_hash import picture_hash

SIZE = (118, 328)


def road(seed: int) -> np.ndarray:
    coarse = np.random.default_rng(seed).integers(0, 255, (9, 24), np.uint8)
    return cv2.resize(coarse, (205, 74), interpolation=cv2.INTER_CUBIC)


def distance(left: str | None, right: str | None) -> int:
    assert left is not None and right is not None
    return (int(left, 16) ^ int(right, 16)).bit_count()


def test_the_hash_says_which_places_outshine_their_left_neighbours():
    steps = np.tile(np.arange(0, 17 * 8, 8, dtype=np.uint8), (16, 1))
    assert picture_hash(steps) == "ff" * 32
    assert picture_hash(steps[:, ::-1].copy()) == "00" * 32
    steps[0] = steps[0, ::-1]
    assert picture_hash(steps) == "0000" + "ff" * 30


def test_a_flat_picture_has_no_hash():
    night = np.random.default_rng(0).normal(8, 3, (74, 205)).clip(0, 255).astype(np.uint8)
    assert picture_hash(night) is None


def test_the_same_picture_again_is_near_and_another_is_far():
    for seed in range(20):
        original = road(seed)
        again = cv2.imdecode(cv2.imencode(".jpg", original, [cv2.IMWRITE_JPEG_QUALITY, 40])[1], 0)
        assert again is not None
        brighter = cv2.convertScaleAbs(again, alpha=0.9, beta=20)
        assert distance(picture_hash(original), picture_hash(again)) <= NEAR
        assert distance(picture_hash(original), picture_hash(brighter)) <= NEAR
        assert distance(picture_hash(original), picture_hash(road(seed + 100))) > 4 * NEAR


def test_near_pictures_are_those_of_a_comparison_of_all_pairs():
    generator = np.random.default_rng(0)
    originals = [int.from_bytes(generator.bytes(32)) for _ in range(6)]
    changed = []
    for original in originals * 50:
        flipped = generator.choice(256, int(generator.integers(0, 2 * NEAR)), replace=False)
        changed.append(original ^ sum(1 << int(bit) for bit in flipped))
    texts = [f"{number:064x}" for number in changed]
    hashes, others = [*texts[:200], None, *texts[:3]], [None, *texts[200:]]
    expected = {}
    for row, hash_ in enumerate(hashes):
        bits = [(other, distance(hash_, text)) for other, text in enumerate(others) if hash_ and text]
        near = [pair for pair in bits if pair[1] <= NEAR]
        if near:
            expected[row] = near[0]
    assert near_pictures(hashes, others) == expected and 50 < len(expected) < 204
    assert near_pictures([], others) == near_pictures(hashes, []) == near_pictures([None], [None]) == {}


def table(*rows: tuple[str, str, str, int | None]) -> pd.DataFrame:
    frames = pd.DataFrame(rows, columns=["frame", "split", "fingerprint", "picture_hash"])
    hashes = [None if np.isnan(bits) else f"{(1 << int(bits)) - 1:064x}" for bits in frames["picture_hash"]]
    return frames.assign(picture_hash=pd.Series(hashes, dtype=object))


def test_who_gives_way_to_whom():
    """Hashes are numbers with so many low bits set: their distance is the difference of the counts."""
    frames = table(
        ("a", "train", "1", 100),
        ("b", "train", "1", 100),  # the bytes of a
        ("c", "train", "2", 200),  # the bytes of v
        ("d", "train", "3", 50 + NEAR),  # near t
        ("e", "train", "4", 51 + NEAR),  # one bit too far from t
        ("f", "train", "5", None),
        ("v", "val", "2", 200),
        ("w", "val", "6", 102),  # near a: pictures of one drive
        ("x", "val", "7", 49),  # near t
        ("t", "test", "8", 50),
        ("u", "test", "8", 50),  # the test split stays whole
        ("n", "test", "9", None),
    )
    chosen, reasons = duplicates(frames)
    assert frames.loc[chosen, "frame"].tolist() == ["b", "c", "d", "x"] == [reason[0] for reason in reasons]
    assert "has the same bytes as the train frame a" in reasons[0][2]
    assert "has the same bytes as the val frame v" in reasons[1][2]
    assert f"({NEAR} of 256 bits differ) as the test frame t" in reasons[2][2]
    assert "is a val frame and shows the same picture (1 of 256 bits differ)" in reasons[3][2]


def test_a_recompressed_test_frame_is_found_while_ingesting(write_tree):
    root = write_tree()
    image = cv2.imread(str(root / "drive/test.MP4/00001.jpg"))
    assert image is not None
    cv2.imwrite(str(root / "drive/train.MP4/00003.jpg"), image, [cv2.IMWRITE_JPEG_QUALITY, 60])
    found = ingest(root, SIZE)
    assert found.rejected["file"].tolist() == ["drive/train.MP4/00003.jpg"]
    assert "as the test frame drive/test.MP4/00001.jpg" in found.rejected["reason"][0]
    assert len(found.frames) == 9
