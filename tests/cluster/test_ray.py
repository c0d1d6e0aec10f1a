"""A training on a Ray cluster of two nodes on this machine; a worker is killed. `make test-cluster`."""

import os
import shutil
import signal
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pandas as pd
import psutil
import pytest

from lgad_pipeline.data.ingestion import ingest
from lgad_pipeline.data.lane_labels import assign_lane_slots
from lgad_pipeline.data.shards import pack_shards
from lgad_pipeline.errors import LgadError
from lgad_pipeline.evaluation.student_scores import read_comparison
from lgad_pipeline.settings import Recipe, SyntheticDataset
from lgad_pipeline.view import View
from resources.mlflow.resource import default_tracking, run_id_of
from resources.paths import ProjectPaths
from resources.ray_tasks import tasks_on_cluster
from resources.trainer import Log, Trainer
from tests.cluster.chains import paths_here, run, use_project, write_project
from tests.cluster.nodes import STATE, Nodes, two_nodes
from tests.support.s3 import empty_bucket, s3_server, s3_variables
from tests.support.trainings import IMAGE_SIZE, pack_road, same_weights

pytestmark = pytest.mark.cluster
TRAINING = {
    "steps": 16,
    "batch_size": 4,
    "threads": 1,
    "log_every": 2,
    "validate_every": 8,
    "checkpoint_seconds": 0,
    "optimizer": {"warmup_steps": 2},
}


@pytest.fixture(scope="module")
def s3() -> Iterator[dict[str, str]]:
    """Start a server that speaks S3; return the variables of its clients."""
    with s3_server() as address:
        yield s3_variables(address)


@pytest.fixture(scope="module")
def nodes(s3: dict[str, str]) -> Iterator[Nodes]:
    with two_nodes(s3) as started:
        yield started


@pytest.fixture
def cluster(nodes: Nodes) -> str:
    """Address of the cluster; the state folder of this machine is empty.

    The folder itself stays: its removal would unmount the file systems of the nodes.
    """
    for path in STATE.iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    for state in nodes.states:
        assert state.stat().st_dev != STATE.stat().st_dev, "the node has no file system of its own"
    return nodes.address


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pack_road(tmp_path_factory.mktemp("road"))


def student(trainer: Trainer, shards: Path, state: Path, log: Log, **training: object) -> Path:
    paths = ProjectPaths(state, state / "road", "synthetic", "enet")
    shutil.copytree(shards, paths.shards)
    recipe = Recipe.model_validate(
        {"network": {"width": 0.25}, "teacher": TRAINING, "student": {**TRAINING, **training}}
    )
    dataset = SyntheticDataset.model_validate(
        {"kind": "synthetic", "image_size": IMAGE_SIZE, "lane_width": 40}
    )
    return trainer.student(dataset, recipe, paths, log, teacher=None).folder


def train_workers() -> list[psutil.Process]:
    """Return the processes of the cluster that train."""
    return [
        process
        for process in psutil.process_iter(["cmdline"])
        if "RayTrainWorker" in " ".join(process.info["cmdline"] or [])
    ]


def test_a_training_on_two_nodes_survives_the_loss_of_a_process(
    cluster: str, shards: Path, tmp_path: Path
) -> None:
    """Its weights are those of two processes that torchrun started and that nothing disturbed."""
    steps: list[int] = []

    def killing(metrics: dict[str, float], step: int) -> None:
        if not steps:
            workers = train_workers()
            assert len(workers) == 2
            os.kill(workers[1].pid, signal.SIGKILL)
        steps.append(step)

    on_ray = Trainer(launcher="ray", device="cpu", devices=2, ray_address=cluster)
    here = Trainer(launcher="torchrun", device="cpu", devices=2)
    first = student(on_ray, shards, tmp_path / "ray", killing)
    second = student(here, shards, tmp_path / "torchrun", lambda metrics, step: None)
    assert steps[-1] == 16 and set(steps) == set(range(2, 17, 2))
    assert same_weights(first, second)


def test_errors_of_a_training_and_of_the_cluster_are_sentences(
    cluster: str, shards: Path, tmp_path: Path
) -> None:
    trainer = Trainer(launcher="ray", device="cpu", devices=2, ray_address=cluster)
    with pytest.raises(LgadError, match="batch_size 5 cannot be divided equally among 2 processes"):
        student(trainer, shards, tmp_path / "batch", lambda metrics, step: None, batch_size=5)
    trainer = Trainer(launcher="ray", device="cpu", devices=3, ray_address=cluster)
    with pytest.raises(LgadError, match="The training needs 3 CPUs, but the Ray cluster has 2; lower"):
        student(trainer, shards, tmp_path / "large", lambda metrics, step: None)


def test_a_cancelled_training_saves_its_checkpoint(cluster: str, shards: Path, tmp_path: Path) -> None:
    class Cancelled(BaseException):
        """Exception that Dagster raises in a step whose run is cancelled."""

    def cancelled(metrics: dict[str, float], step: int) -> None:
        raise Cancelled

    trainer = Trainer(launcher="ray", device="cpu", devices=2, ray_address=cluster)
    with pytest.raises(Cancelled):
        student(trainer, shards, tmp_path, cancelled, checkpoint_seconds=1e6, steps=5000)
    folder = tmp_path / "models" / "synthetic" / "enet" / "student_alone"
    assert (folder / "checkpoint.pt").is_file()
    assert '{"stopped": ' in (folder / "job.jsonl").read_text()


def test_the_chain_on_a_cluster_gives_the_scores_of_one_machine(
    cluster: str, nodes: Nodes, s3: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The nodes and this machine share nothing but a store; a process of a training is killed.

    They read the shards from the store: their caches hold one split at a time.
    """
    for name, value in s3.items():
        monkeypatch.setenv(name, value)
    empty_bucket("drives")
    torchrun = {"launcher": "torchrun", "device": "cpu", "devices": 2}
    on_ray = {"launcher": "ray", "device": "cpu", "devices": 2, "ray_address": cluster}
    write_project(tmp_path / "one", steps=8)
    use_project(monkeypatch, tmp_path / "one", tmp_path / "one" / "state")
    run("data")
    run("retrain", torchrun)
    expected = paths_here()

    cache = max(path.stat().st_size for path in expected.shards.glob("*.arrow"))
    write_project(tmp_path / "many", store="s3://drives/project", steps=8, cache=cache)
    use_project(monkeypatch, tmp_path / "many", STATE)
    run("data", on_ray)
    killed: list[int] = []
    killer = threading.Thread(target=kill_a_worker, args=(killed,), daemon=True)
    killer.start()
    run("retrain", on_ray)
    paths = paths_here()
    assert killed
    for state in (STATE, *nodes.states):
        assert 0 < sum(path.stat().st_size for path in (state / "shard_cache").iterdir()) <= cache
    assert not [state for state in nodes.states if (state / "data" / "synthetic" / "shards").exists()]
    for role in ("teacher", "student_alone", "student_lgad"):
        assert same_weights(paths.network(role), expected.network(role))
    assert read_comparison(paths.lane_scores) == read_comparison(expected.lane_scores)
    for path in paths.predictions.rglob("*.lines.txt"):
        other = expected.predictions / path.relative_to(paths.predictions)
        assert path.read_bytes() == other.read_bytes()
    history = pd.read_parquet(paths.student_lgad / "history.parquet")
    client = default_tracking(tmp_path / "many").client
    points = client.get_metric_history(run_id_of(paths.student_lgad), "train/loss")
    assert [point.step for point in points] == list(history["step"]) == [2, 4, 6, 8]


def test_students_of_a_study_on_nodes_that_share_nothing_but_a_store(
    cluster: str, nodes: Nodes, s3: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two students and their teacher, trained on the nodes, are those of one machine."""
    for name, value in s3.items():
        monkeypatch.setenv(name, value)
    empty_bucket("drives")
    ops = {"lgad__distillation_gain": {"config": {"methods": ["lgad"], "seeds": 1}}}
    write_project(tmp_path / "one")
    use_project(monkeypatch, tmp_path / "one", tmp_path / "one" / "state")
    run("data")
    run("gain", {"device": "cpu"}, ops)
    expected = paths_here().gain

    write_project(tmp_path / "many", store="s3://drives/project")
    use_project(monkeypatch, tmp_path / "many", STATE)
    run("data")
    run("gain", {"launcher": "ray", "device": "cpu", "ray_address": cluster}, ops)
    output = paths_here().gain
    assert (output / "gains.json").read_text() == (expected / "gains.json").read_text()
    trainings = [path.parent.relative_to(expected) for path in expected.rglob("weights.safetensors")]
    students = [name for name in trainings if (expected / name / "test_frames.parquet").is_file()]
    assert len(trainings) == 3 and len(students) == 2
    assert all(same_weights(output / name, expected / name) for name in trainings)
    trained = [
        {name for name in students if (state / output.relative_to(STATE) / name).is_dir()}
        for state in nodes.states
    ]
    assert set.union(*trained) == set(students)


def kill_a_worker(killed: list[int]) -> None:
    """Kill one of two processes that train, once both have worked for a while."""
    while not killed:
        workers = train_workers()
        if len(workers) == 2 and all(sum(worker.cpu_times()[:2]) > 5 for worker in workers):
            os.kill(workers[1].pid, signal.SIGKILL)
            killed.append(workers[1].pid)
        time.sleep(0.2)


def test_packing_on_a_cluster_survives_the_loss_of_a_process(
    cluster: str, tmp_path: Path, shards: Path
) -> None:
    """The shards are those of one machine; a packing that stopped continues with what is missing."""
    root = shards.parent
    frames = ingest(root).frames
    labels = assign_lane_slots(frames)
    pack = partial(
        pack_shards, frames, labels, root=root, view=View((590, 1640), IMAGE_SIZE, 240), lane_width=40
    )
    expected, output = tmp_path / "here", tmp_path / "cluster"
    pack(output=expected, rows_per_shard=1)
    with tasks_on_cluster(cluster, cpus=1, prepare=partial(kill_a_task, tmp_path / "first")):
        pack(output=output, rows_per_shard=1)
    assert (tmp_path / "first").is_file(), "a task was killed"
    names = {path.name for path in expected.glob("*.arrow")}
    assert len(names) == 8 == len(list(output.glob("*.arrow")))
    for name in names:
        assert (output / name).read_bytes() == (expected / name).read_bytes()
    kept, lost = sorted(output.glob("*.arrow"))[:2]
    before = kept.stat().st_mtime_ns
    lost.unlink()
    with tasks_on_cluster(cluster, cpus=1, prepare=os.getpid):
        pack(output=output, rows_per_shard=1)
    assert lost.read_bytes() == (expected / lost.name).read_bytes() and kept.stat().st_mtime_ns == before


def kill_a_task(marker: Path) -> None:
    """Kill this process, the first time that a task calls it."""
    try:
        marker.touch(exist_ok=False)
    except FileExistsError:
        return
    os.kill(os.getpid(), signal.SIGKILL)
