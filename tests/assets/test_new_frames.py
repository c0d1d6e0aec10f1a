"""What the sensor `new_frames` requests after failed runs; a real data set, real runs of the job `data`."""

import os
import shutil
from typing import Any

import dagster as dg
import pytest
import yaml

from assets.sensors import new_frames
from definitions import definitions
from resources.progress import ProgressLog
from resources.project import Project
from tests.support.services import DATASET, recipe, write_frames


class Watched:
    """Data set with `retrain`; its name is one of the project's own lgad.yaml, which has the partitions."""

    def __init__(self, folder, instance: dg.DagsterInstance) -> None:
        self.folder, self.instance = folder, instance
        self.set()

    def set(self, **changes: float) -> None:
        entry = {**DATASET, "root": "drives", "retrain": {"quiet_seconds": 0}, **changes}
        content = {"datasets": {"synthetic": entry}, "recipes": {"enet": recipe(10, 10)}}
        (self.folder / "lgad.yaml").write_text(yaml.safe_dump(content))

    def tick(self) -> tuple[list[str], str]:
        """Return the keys of the requested runs, and the reason why there are none."""
        context = dg.build_sensor_context(
            self.instance,
            repository_def=definitions(ProgressLog()).get_repository_def(),
            resources={"project": Project(file=str(self.folder / "lgad.yaml"))},
        )
        found: list[Any] = list(new_frames(context))  # pyright: ignore
        keys = [one.run_key or "" for one in found if isinstance(one, dg.RunRequest)]
        return keys, " ".join(str(one.skip_message) for one in found if isinstance(one, dg.SkipReason))

    def run(self, key: str) -> bool:
        """Run the job as Dagster's daemon does for a request, and return True if it succeeded."""
        job = definitions(ProgressLog()).resolve_job_def("data")
        tags = {"dagster/run_key": key}
        return job.execute_in_process(
            instance=self.instance, partition_key="synthetic", tags=tags, raise_on_error=False
        ).success


@pytest.fixture
def watched(tmp_path, monkeypatch):
    monkeypatch.setenv("LGAD_SETTINGS", str(tmp_path / "lgad.yaml"))
    monkeypatch.delenv("LGAD_STATE", raising=False)
    write_frames(tmp_path / "drives", seed=1, train=6, val=2)
    with dg.DagsterInstance.ephemeral() as instance:
        yield Watched(tmp_path, instance)


def test_changed_settings_and_a_restored_folder_are_processed_after_a_failure(watched):
    ([first], _) = watched.tick()
    assert watched.run(first)
    keys, reason = watched.tick()
    assert keys == [] and "1 of 1 data sets were checked and are unchanged" in reason
    drives = watched.folder / "drives"
    shutil.copytree(drives, watched.folder / "kept")
    for image in sorted(drives.rglob("*.jpg"))[:6]:
        image.write_bytes(b"")
        os.utime(image, (0, 0))
    ([second], _) = watched.tick()
    assert not watched.run(second)  # more rejected frames than max_rejected allows
    for _ in range(2):
        keys, reason = watched.tick()
        assert keys == [] and "correct its folder or its entry in lgad.yaml" in reason
    watched.set(max_rejected=0.5)
    ([third], _) = watched.tick()
    watched.set()
    assert watched.tick()[0] == []
    shutil.copytree(watched.folder / "kept", drives, dirs_exist_ok=True)  # with the times of the files
    ([fourth], _) = watched.tick()
    assert len({first, second, third, fourth}) == 4
    assert watched.run(fourth)
    assert watched.tick()[0] == []
