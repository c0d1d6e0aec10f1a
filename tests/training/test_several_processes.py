"""Trainings of two processes on this machine, compared with the same training in one process."""

import copy
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from lgad_pipeline.config.distillation import DistillationConfig, LabelHeadConfig
from lgad_pipeline.config.network import NetworkSpec, allow_networks
from lgad_pipeline.config.training import OptimizerConfig, TrainingConfig
from lgad_pipeline.errors import LgadError
from lgad_pipeline.training.batch_norm import synchronize_batch_norm
from lgad_pipeline.training.checkpoint import Checkpoint, TrainingState
from lgad_pipeline.training.distillation_spec import DistillationSpec
from lgad_pipeline.training.job import TrainingJob, read_job
from lgad_pipeline.training.plan import TrainingPlan
from lgad_pipeline.training.processes import environment_processes
from lgad_pipeline.training.tensor_packing import unpack
from lgad_pipeline.training.trainer import train_teacher
from tests.support.trainings import weights

ROOT = Path(__file__).parents[2]
PATH = [str(ROOT), str(ROOT / "tests" / "fixtures")]
NAME = "small_net:SmallNet"
SPEC = NetworkSpec(name=NAME, image_size=(32, 88))
CONFIG = TrainingConfig(
    steps=20,
    batch_size=16,
    optimizer=OptimizerConfig(warmup_steps=4),
    log_every=10,
    validate_every=10,
    threads=1,
    precision="32-true",
)


@pytest.fixture(scope="module")
def teacher(packed_road: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    allow_networks(NAME)
    config = CONFIG.model_copy(update={"steps": 5, "batch_size": 4})
    folder = tmp_path_factory.mktemp("teacher")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(PATH[1])
        train_teacher(config, SPEC, shards=packed_road, folder=folder, device="cpu")
    return folder


def written_job(shards: Path, folder: Path, teacher: Path | None = None, **config: object) -> Path:
    plan = TrainingPlan(
        role="student",
        config=CONFIG.model_copy(update=config),
        network=SPEC,
        shards=shards,
        folder=folder,
        distillation=DistillationSpec(
            teacher=teacher,
            lgad=DistillationConfig(weight=1.0),
            label_head=LabelHeadConfig(weight=1.0, layers=("body.2",), start_step=5) if teacher else None,
        ),
    )
    return TrainingJob.of_plan(plan, "cpu").write()


def start(module: str, job: Path, count: int) -> list[subprocess.Popen[str]]:
    """Start the processes of a job with the variables that torchrun sets."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    common = {
        "WORLD_SIZE": str(count),
        "LOCAL_WORLD_SIZE": str(count),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "PYTHONPATH": os.pathsep.join(PATH),
    }
    return [
        subprocess.Popen(
            [sys.executable, "-m", module, str(job)],
            env=os.environ | common | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(count)
    ]


def finish(processes: list[subprocess.Popen[str]], codes: list[int]) -> list[str]:
    errors = [process.communicate(timeout=900)[1] for process in processes]
    assert [process.returncode for process in processes] == codes, errors
    return errors


def test_two_processes_train_the_network_of_one(packed_road: Path, teacher: Path, tmp_path: Path) -> None:
    """In double precision, so that what differs is not rounding: Adam multiplies small gradients.

    The label head starts at step 5; until then no optimizer may move it or count its steps.
    """
    module = "tests.support.double_precision"
    finish(start(module, written_job(packed_road, tmp_path / "one", teacher), 1), [0])
    finish(start(module, written_job(packed_road, tmp_path / "two", teacher), 2), [0, 0])
    one, two = weights(tmp_path / "one"), weights(tmp_path / "two")
    assert max(float(np.abs(value - two[name]).max()) for name, value in one.items()) < 1e-6
    histories = [pd.read_parquet(tmp_path / name / "history.parquet") for name in ("one", "two")]
    names = [name for name in histories[0] if str(name).startswith(("train/", "val/"))]
    assert {"train/attention", "train/label_head", "train/iou", "val/miou"} <= set(names)
    for name in names:
        np.testing.assert_allclose(histories[0][name], histories[1][name], atol=1e-6)


def test_all_processes_have_the_same_weights_and_buffers_bit_by_bit(
    packed_road: Path, teacher: Path, tmp_path: Path
) -> None:
    """In single precision, with LGAD, after 20 steps of 8 frames each."""
    finish(start("tests.support.rank_states", written_job(packed_road, tmp_path, teacher), 2), [0, 0])
    first, second = (torch.load(tmp_path / f"rank-{rank}.pt", weights_only=True) for rank in (0, 1))
    assert first.keys() == second.keys() and any("running_mean" in name for name in first)
    for name, value in first.items():
        assert torch.equal(value, second[name]), name


def test_a_signal_to_one_process_stops_both_with_a_checkpoint(packed_road: Path, tmp_path: Path) -> None:
    training = {"steps": 4000, "log_every": 1, "validate_every": 4000, "checkpoint_seconds": 1e6}
    job = written_job(packed_road, tmp_path, batch_size=4, **training)
    processes = start("lgad_pipeline.training", job, 2)
    log = tmp_path / "job.jsonl"
    while not log.is_file():
        assert processes[0].poll() is None, processes[0].communicate()
        time.sleep(0.05)
    processes[1].send_signal(signal.SIGTERM)
    assert processes[0].wait(300) == 143 and processes[1].wait(300) == 143
    stopped = json.loads(log.read_text().splitlines()[-1])["stopped"]
    state = unpack(torch.load(tmp_path / "checkpoint.pt", weights_only=True), torch.device("cpu"))
    assert state["step"] == stopped and state["normalized_in"] == 1


def test_a_loss_that_is_not_finite_stops_both_processes_with_one_sentence(
    packed_road: Path, tmp_path: Path
) -> None:
    rate = OptimizerConfig(name="sgd", learning_rate=1e30, warmup_steps=0)
    job = written_job(packed_road, tmp_path, batch_size=4, optimizer=rate)
    errors = finish(start("lgad_pipeline.training", job, 2), [1, 1])
    sentences = {error.splitlines()[-1] for error in errors}
    assert len(sentences) == 1 and "not finite at step" in sentences.pop()
    assert len(re.findall(r"\d\.jpg", errors[0].splitlines()[-1])) == 4  # the frames of both processes


def test_own_statistics_need_the_same_number_of_processes(packed_road: Path, tmp_path: Path) -> None:
    config = {"batch_size": 4, "steps": 6, "sync_batch_norm": False, "checkpoint_seconds": 0}
    job = written_job(packed_road, tmp_path, **config)
    finish(start("lgad_pipeline.training", job, 2), [0, 0])
    summary = json.loads((tmp_path / "training.json").read_text())
    assert summary["processes"] == 2
    plan = read_job(job).plan
    description = plan.description("", "", precision="32-true")
    assert "processes" not in description and plan.normalized_in(1) == 1 and plan.normalized_in(2) == 2
    network = torch.nn.Linear(2, 1)
    optimizer = torch.optim.SGD(network.parameters(), 0.1)
    TrainingState(network, optimizer, None, step=1).save(Checkpoint(tmp_path / "checkpoint.pt", "one", 2))
    with pytest.raises(LgadError, match=r"checkpoint\.pt was written on 2 devices .* train on 2 devices"):
        TrainingState(network, optimizer, None).restore(Checkpoint(tmp_path / "checkpoint.pt", "one"))


def test_processes_of_another_program_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMPI_COMM_WORLD_SIZE", "4")
    with pytest.raises(LgadError, match="mpirun started 4 processes, which would not train together"):
        environment_processes()


def test_the_variables_of_srun_describe_the_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    variables = {"NTASKS": 6, "STEP_NUM_TASKS": 6, "STEP_NUM_NODES": 2, "PROCID": 4, "LOCALID": 1}
    for name, value in variables.items():
        monkeypatch.setenv(f"SLURM_{name}", str(value))
    assert environment_processes() == (4, 6, 1, 3, "srun")
    monkeypatch.setenv("SLURM_PROCID", "")
    with pytest.raises(LgadError, match=r"not complete or no numbers .*start the training with torchrun or"):
        environment_processes()
    monkeypatch.delenv("SLURM_STEP_NUM_TASKS")  # the script of a job, outside of srun
    assert environment_processes().count == 1


def test_synchronized_batch_norm_is_torchs_in_one_process() -> None:
    torch.manual_seed(0)
    plain = torch.nn.Sequential(torch.nn.BatchNorm2d(3), torch.nn.BatchNorm1d(5))
    changed = copy.deepcopy(plain)
    seen: list[torch.nn.Module] = []
    changed[0].register_forward_hook(lambda module, inputs, output: seen.append(module))
    synchronize_batch_norm(changed, torch.device("cpu"))
    features = torch.rand(4, 3, 6, 5)
    assert torch.equal(plain[0](features), changed[0](features)) and seen == [changed[0]]
    assert torch.equal(plain[1](features[:, 0, 0]), changed[1](features[:, 0, 0]))
    assert changed.state_dict().keys() == plain.state_dict().keys()
