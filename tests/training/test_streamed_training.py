"""Trainings whose shards stay in a store, here a folder; tests/data/test_streamed_shards.py has a server."""

from pathlib import Path

import pytest

from lgad_pipeline.data.remote_shards import upload
from lgad_pipeline.data.shard_index import Origin
from lgad_pipeline.data.streamed_shards import stream
from lgad_pipeline.errors import LgadError
from lgad_pipeline.training.plan import DistillationSpec
from lgad_pipeline.training.trainer import train_student, train_teacher
from tests.support.trainings import AUGMENTATION, CONFIG, SPEC, pack_road, same_weights

MINE = Origin("night-team", "drives")


def test_weights_are_those_of_local_shards(tmp_path: Path) -> None:
    """The six training shards have one frame each; the cache holds four, so that all are downloaded again."""
    (tmp_path / "road").mkdir()
    local = pack_road(tmp_path / "road", rows_per_shard=1, origin=MINE)
    store, cache = (tmp_path / "store").as_uri(), tmp_path / "cache"
    upload(local, store)
    limit = 4 * max(path.stat().st_size for path in local.glob("*.arrow"))
    streamed = stream(store, tmp_path / "index", origin=MINE, cache=cache, limit=limit)
    config = CONFIG.model_copy(update={"shuffle_window": 2, "batch_size": 2, "steps": 4})
    networks = []
    for name, shards in (("local", local), ("streamed", streamed)):
        common = {"shards": shards, "augmentation": AUGMENTATION}
        teacher = train_teacher(config, SPEC, folder=tmp_path / name / "teacher", **common)
        distillation = DistillationSpec(teacher=teacher.folder)
        student = train_student(
            config, SPEC, folder=tmp_path / name / "lgad", distillation=distillation, **common
        )
        networks.append((teacher, student))
    for mine, yours in zip(*networks, strict=True):
        assert same_weights(mine.folder, yours.folder) and mine.fingerprint == yours.fingerprint
    assert 0 < sum(path.stat().st_size for path in cache.iterdir()) <= limit
    with pytest.raises(
        LgadError, match=r"an order over all frames reads .*; set shuffle_window to at most 2"
    ):
        train_student(CONFIG, SPEC, shards=streamed, folder=tmp_path / "other", augmentation=AUGMENTATION)
