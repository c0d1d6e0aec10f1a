"""Losses of this package that a recipe names under `losses`."""

from pathlib import Path

from lgad_pipeline.config.distillation import DistillationConfig, SadConfig
from lgad_pipeline.training.distillation_spec import DistillationSpec
from lgad_pipeline.training.trainer import train_student, train_teacher
from tests.support.trainings import AUGMENTATION, CONFIG, SPEC, pack_road, same_weights


def test_a_named_loss_trains_the_weights_that_its_own_key_does(tmp_path: Path) -> None:
    (tmp_path / "road").mkdir()
    common = {"shards": pack_road(tmp_path / "road"), "augmentation": AUGMENTATION}
    teacher = train_teacher(CONFIG, SPEC, folder=tmp_path / "teacher", **common)
    specs = {
        "key": DistillationSpec(sad=SadConfig(start_step=2)),
        "name": DistillationSpec(
            teacher=teacher.folder, lgad=DistillationConfig(weight=0), losses={"sad": {"start_step": 2}}
        ),
        "alone": DistillationSpec(),
    }
    key, name, alone = (
        train_student(CONFIG, SPEC, folder=tmp_path / which, distillation=spec, **common)
        for which, spec in specs.items()
    )
    assert name.history["train/sad"].tolist() == key.history["train/self_attention"].tolist()
    assert same_weights(key.folder, name.folder) and not same_weights(key.folder, alone.folder)
