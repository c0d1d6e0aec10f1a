import os

import dagster as dg
import pytest

from assets.data import frames
from lgad_pipeline.data.frame_table import read_table
from lgad_pipeline.errors import LgadError
from resources.progress import ProgressLog
from resources.project import Project
from tests.support.services import recipe, write_frames, write_settings


def materialize(project: Project) -> dg.AssetMaterialization:
    result = dg.materialize(
        [frames], partition_key="synthetic", resources={"project": project, "progress": ProgressLog()}
    )
    return result.asset_materializations_for_node("lgad__frames")[0]


def test_refused_table_does_not_replace_the_last_one(tmp_path, monkeypatch):
    """The data set has the name of one in the project's own lgad.yaml, from which the partitions are."""
    monkeypatch.delenv("LGAD_STATE", raising=False)
    write_settings(tmp_path, {"synthetic": {"root": "drives"}}, {"enet": recipe(10, 10)})
    write_frames(tmp_path / "drives", seed=1, train=6, val=2)
    project = Project(file=str(tmp_path / "lgad.yaml"))
    paths = project.paths("synthetic")
    materialize(project)
    accepted = [path.read_bytes() for path in (paths.frames, paths.rejected)]
    images = sorted(paths.recordings.rglob("*.jpg"))[:6]
    content = [image.read_bytes() for image in images]
    for image in images:
        image.write_bytes(b"")
        os.utime(image, (0, 0))
    with pytest.raises(LgadError, match="were rejected, more than max_rejected"):
        materialize(project)
    assert [path.read_bytes() for path in (paths.frames, paths.rejected)] == accepted
    assert len(read_table(paths.refused_frames)) == 11 and len(read_table(paths.refused_items)) == 6
    for image, data in zip(images, content, strict=True):
        image.write_bytes(data)
        os.utime(image, (0, 0))
    shown = materialize(project).metadata
    assert len(read_table(paths.frames)) == 17 and not paths.refused_frames.exists()
    assert "| 11 | 6 | 0 | 0 |" in str(shown["changes since the last table"].value)
