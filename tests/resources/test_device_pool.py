import os

import dagster as dg
import pytest

from lgad_pipeline.settings import Settings
from resources.device_pool import DEVICE, training_slots, widen_device_pool
from resources.progress import LogLine

TEXT = """
datasets: {synthetic: {kind: synthetic}}
recipes: {enet: {teacher: {THREADS}, student: {THREADS}}}
trainer: {device: cpu}
"""


def settings(folder, threads: str) -> Settings:
    path = folder / "lgad.yaml"
    path.write_text(TEXT.replace("THREADS", threads))
    return Settings.load(path)


def test_as_many_trainings_as_have_their_threads(tmp_path, monkeypatch):
    cores = len(os.sched_getaffinity(0))
    assert training_slots(settings(tmp_path, "threads: 1")) == cores
    assert training_slots(settings(tmp_path, f"threads: {2 * cores}")) == 1
    assert training_slots(settings(tmp_path, "")) == 1  # torch uses all cores
    monkeypatch.setenv("LGAD_DEVICE_SLOTS", "3")
    assert training_slots(settings(tmp_path, "")) == 3


def test_a_limit_that_is_set_stays(tmp_path):
    chosen = settings(tmp_path, "threads: 1")
    with dg.instance_for_test() as instance:
        assert widen_device_pool(instance, chosen) == training_slots(chosen)
        instance.event_log_storage.set_concurrency_slots(DEVICE, 7)  # as in the UI
        assert widen_device_pool(instance, chosen) == 7
        assert instance.event_log_storage.get_concurrency_info(DEVICE).slot_count == 7


@pytest.mark.parametrize("line", [LogLine("training: x", 3, 40, "loss 0.5"), LogLine("packing", 1, 1)])
def test_progress_is_read_from_its_log_line(line):
    assert LogLine.read(str(line)) == line
    assert LogLine.read("All devices are in use") is None
