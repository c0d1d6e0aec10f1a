from pathlib import Path

import pytest

from lgad_pipeline.data.shard_index import ShardIndex, ViewEntry
from lgad_pipeline.errors import LgadError
from resources.paths import fetch_shards
from resources.project import Project


def test_reading_shards_fetches_them_from_the_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LGAD_STATE", str(tmp_path / "state"))
    store = (tmp_path / "nas").as_uri()
    entry = f"datasets: {{mine: {{kind: culane, root: ., shards: '{store}'}}}}\n"
    (tmp_path / "lgad.yaml").write_text(
        entry + "recipes: {enet: {teacher: {steps: 200}, student: {steps: 200}}}\n"
    )
    project = Project(file=str(tmp_path / "lgad.yaml"))
    paths = project.paths("synthetic")
    assert fetch_shards(paths) == paths.shards
    with pytest.raises(
        LgadError, match=r"nas/index\.json is missing.*\(in lgad\.yaml: datasets\.mine\.shards\)\.$"
    ):
        fetch_shards(project.paths("mine"))
    (tmp_path / "nas").mkdir()
    view = ViewEntry(frame_size=(590, 1640), image_size=(288, 800), crop_top=0)
    index = ShardIndex(
        fingerprint="0" * 32, owner=project.owner, dataset="mine", view=view, splits={}, rejected=[]
    ).to_bytes()
    (tmp_path / "nas/index.json").write_bytes(index)
    assert (fetch_shards(project.paths("mine")) / "index.json").read_bytes() == index


def test_results_stay_up_to_date_when_project_and_frames_are_moved(tmp_path: Path) -> None:
    digests = []
    for name in ("before", "after"):
        (tmp_path / name / "frames").mkdir(parents=True)
        (tmp_path / name / "lgad.yaml").write_text(
            "datasets: {mine: {kind: culane, root: frames}}\n"
            "recipes: {enet: {teacher: {steps: 200}, student: {steps: 200}}}\n"
        )
        digests.append(Project(file=str(tmp_path / name / "lgad.yaml")).settings_digest("mine", "enet"))
    assert digests[0] == digests[1]


def test_the_settings_digest_follows_what_changes_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)

    def digest(source: str, student: str) -> str:
        (tmp_path / "ownnet.py").write_text(source)
        (tmp_path / "lgad.yaml").write_text(
            "recipes: {own: {network: {name: 'ownnet:Net'}, teacher: {steps: 200}, "
            f"student: {{steps: 200{student}}}}}}}\n"
        )
        return Project(file=str(tmp_path / "lgad.yaml")).settings_digest("synthetic", "own")

    first = digest("class Net: slope = 1\n", "")
    assert digest("class Net: slope = 1  # the same\n", ", log_every: 3, checkpoint_seconds: 9") == first
    assert digest("class Net: slope = 1\n", ", batch_size: 3") != first
    assert digest("class Net: slope = 22\n", "") != first


def test_the_settings_digest_follows_the_content_of_pretrained_weights(tmp_path: Path) -> None:
    def digest(folder: str, content: str | None) -> str:
        project = tmp_path / folder
        project.mkdir(exist_ok=True)
        (project / "weights.pth").unlink(missing_ok=True)
        if content is not None:
            (project / "weights.pth").write_text(content)
        (project / "lgad.yaml").write_text(
            "recipes: {net: {network: {name: resnet18, pretrained: weights.pth}, teacher: {steps: 200}, "
            "student: {steps: 200}}}\n"
        )
        return Project(file=str(project / "lgad.yaml")).settings_digest("synthetic", "net")

    first = digest("here", "one")
    assert digest("moved", "one") == first
    assert len({first, digest("here", "two"), digest("here", None)}) == 3


def test_the_settings_digest_follows_losses_and_readers_of_other_packages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "lgad.yaml").write_text(
        "datasets: {drives: {kind: 'ownkind:Reader', root: drives, frame_size: [590, 1640]}}\n"
        "recipes: {own: {teacher: {steps: 200}, student: {steps: 200}, losses: {'ownloss:Loss': {}}}}\n"
    )

    def digests(reader: str, loss: str) -> tuple[str, str]:
        (tmp_path / "ownkind.py").write_text(reader)
        (tmp_path / "ownloss.py").write_text(loss)
        project = Project(file=str(tmp_path / "lgad.yaml"))
        return project.settings_digest("drives"), project.settings_digest("drives", "own")

    first = digests("class Reader: step = 1\n", "class Loss: power = 1\n")
    assert digests("class Reader: step = 1  # the same\n", "class Loss:\n    power = 1\n") == first
    data, recipe = digests("class Reader: step = 1\n", "class Loss: power = 22\n")
    assert data == first[0] and recipe != first[1]
    assert digests("class Reader: step = 22\n", "class Loss: power = 1\n")[0] != first[0]
