import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest

from lgad_pipeline.config.network import NetworkSpec
from lgad_pipeline.config.training import OptimizerConfig, TrainingConfig
from lgad_pipeline.errors import LgadError
from lgad_pipeline.training.device_lease import lease_devices
from lgad_pipeline.training.job import TrainingJob, read_job
from lgad_pipeline.training.job_log import JobLog, JobLogReader
from lgad_pipeline.training.plan import TrainingPlan
from lgad_pipeline.training.trainer import train
from tests.support.trainings import same_weights

SPEC = NetworkSpec(image_size=(32, 88), width=0.25)
CONFIG = TrainingConfig(
    steps=6,
    batch_size=4,
    optimizer=OptimizerConfig(warmup_steps=2),
    log_every=2,
    validate_every=3,
    checkpoint_seconds=0,
    threads=1,
)
COMMANDS = {
    "module": [sys.executable, "-m", "lgad_pipeline.training"],
    "command": [sys.executable, "-c", "from lgad_pipeline.cli.main import main; main()", "train"],
}


def written_job(shards: Path, folder: Path, **config: object) -> Path:
    plan = TrainingPlan(
        role="student", config=CONFIG.model_copy(update=config), network=SPEC, shards=shards, folder=folder
    )
    return TrainingJob.of_plan(plan, "cpu").write()


def entries(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.mark.parametrize("command", COMMANDS)
def test_a_job_trains_the_network_of_its_plan(packed_road: Path, tmp_path: Path, command: str) -> None:
    job = written_job(packed_road, tmp_path / "job")
    run = subprocess.run([*COMMANDS[command], str(job)], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    expected = train(read_job(job).plan.model_copy(update={"folder": tmp_path / "here"}), device="cpu")
    assert same_weights(tmp_path / "job", tmp_path / "here")
    *metrics, end = entries(tmp_path / "job" / "job.jsonl")
    assert end == {"finished": expected.fingerprint, "reused": False}
    history = pd.read_parquet(tmp_path / "job" / "history.parquet")
    assert [entry["step"] for entry in metrics] == history["step"].tolist() == [2, 3, 4, 6]
    assert metrics[0]["metrics"]["train/loss"] == history["train/loss"][0]
    lines = [line.split(":")[0] for line in run.stdout.splitlines()]
    shown = [f"step {step} of 6" for step in (2, 3, 4, 6)] if command == "command" else []
    assert lines == shown + (["trained network"] if command == "command" else [])

    again = subprocess.run([*COMMANDS[command], str(job)], capture_output=True, text=True)
    assert again.returncode == 0
    assert entries(tmp_path / "job" / "job.jsonl")[-1] == {"finished": expected.fingerprint, "reused": True}


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_saves_the_checkpoint_and_the_training_resumes(
    packed_road: Path, tmp_path: Path, number: int, code: int
) -> None:
    # Without the signal, the checkpoint would be written after the last step only.
    job = written_job(packed_road, tmp_path / "job", steps=60, log_every=1, checkpoint_seconds=1e6)
    process = subprocess.Popen([*COMMANDS["command"], str(job)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdout.readline().startswith("step 1 of 60: train/loss ")
    process.send_signal(number)
    assert process.wait(60) == code
    stopped = entries(tmp_path / "job" / "job.jsonl")[-1]["stopped"]
    assert 1 <= stopped < 60 and (tmp_path / "job" / "checkpoint.pt").is_file()
    assert subprocess.run([*COMMANDS["module"], str(job)]).returncode == 0
    resumed = [entry["step"] for entry in entries(tmp_path / "job" / "job.jsonl") if "metrics" in entry]
    assert resumed == [*range(1, 61)]
    train(read_job(job).plan.model_copy(update={"folder": tmp_path / "whole"}), device="cpu")
    assert same_weights(tmp_path / "job", tmp_path / "whole")


def test_a_later_interrupt_ends_the_process_at_once(tmp_path: Path) -> None:
    program = """
import time
from lgad_pipeline.training.stop import stop_signals
with stop_signals() as stop:
    print("ready", flush=True)
    while not stop.requested():
        time.sleep(0.01)
    print("requested", flush=True)
    time.sleep(600)
"""
    process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGTERM)
    assert process.stdout.readline() == "requested\n"
    for number in (signal.SIGTERM, signal.SIGINT):  # repeated by torchrun
        process.send_signal(number)
    time.sleep(1.1)
    assert process.poll() is None
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == -signal.SIGINT


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda job: job | {"devise": "cpu"}, r"job\.json: devise is not a known key; did you mean device\?"),
        (lambda job: {key: job[key] for key in ("plan", "device")}, r"job\.json: log is missing; add it\."),
        (
            lambda job: job | {"device": "tpu"},
            r"job\.json: device is 'tpu': input should be 'auto', 'cpu' or 'cuda'\.",
        ),
        (
            lambda job: job | {"plan": job["plan"] | {"config": job["plan"]["config"] | {"steps": "6"}}},
            r"job\.json: plan\.config\.steps is '6': input should be a valid integer\.",
        ),
        (lambda job: 3, r"job\.json: .*\."),
    ],
)
def test_a_wrong_job_file_is_one_sentence(packed_road: Path, tmp_path: Path, change, sentence: str) -> None:
    job = written_job(packed_road, tmp_path)
    job.write_text(json.dumps(change(json.loads(job.read_text()))))
    with pytest.raises(LgadError, match=sentence):
        read_job(job)


def test_a_job_file_that_cannot_be_read_is_one_sentence(packed_road: Path, tmp_path: Path) -> None:
    with pytest.raises(LgadError, match=r"nothing\.json cannot be read .*; correct the path\."):
        read_job(tmp_path / "nothing.json")
    (tmp_path / "cut.json").write_text('{"plan": ')
    with pytest.raises(LgadError, match=r"cut\.json is not JSON \(.*\); write the job file again\."):
        read_job(tmp_path / "cut.json")
    for command in COMMANDS.values():
        run = subprocess.run([*command, str(tmp_path / "nothing.json")], capture_output=True, text=True)
        assert run.returncode == 1 and run.stdout == ""
        assert run.stderr.startswith("error: ") and len(run.stderr.splitlines()) == 1


def test_an_error_of_the_training_is_in_the_log(packed_road: Path, tmp_path: Path) -> None:
    job = written_job(packed_road / "nowhere", tmp_path)
    run = subprocess.run([*COMMANDS["module"], str(job)], capture_output=True, text=True)
    assert run.returncode == 1
    (entry,) = entries(tmp_path / "job.jsonl")
    assert run.stderr == f"error: {entry['error']}\n" and "nowhere" in entry["error"]


def test_a_reader_sees_whole_entries_that_were_added_after_it(tmp_path: Path) -> None:
    log = JobLog(tmp_path / "log" / "job.jsonl")
    reader = JobLogReader(log.path)
    assert list(reader.entries()) == []
    log.metrics({"train/loss": 0.5, "broken": float("nan")}, 2)
    assert list(reader.entries()) == [{"step": 2, "metrics": {"train/loss": 0.5}}]
    with log.path.open("a") as file:
        file.write('{"step": 3, "met')  # a disk was full
    assert list(reader.entries()) == []
    log.append({"stopped": 3})
    assert list(reader.entries()) == [{"stopped": 3}]
    assert list(JobLogReader(log.path).entries()) == []


def test_processes_append_to_one_log_without_mixing_lines(tmp_path: Path) -> None:
    program = """
import sys
import time
from pathlib import Path
from lgad_pipeline.training.job_log import JobLog
log = JobLog(Path(sys.argv[1]))
for step in range(200):
    log.metrics({"x" * 300: step, "writer": int(sys.argv[2])}, step)
"""
    words = [sys.executable, "-c", program, str(tmp_path / "log")]
    writers = [subprocess.Popen([*words, str(number)]) for number in range(3)]
    assert [writer.wait() for writer in writers] == [0, 0, 0]
    steps: dict[int, list[int]] = {}
    for entry in entries(tmp_path / "log"):
        steps.setdefault(entry["metrics"]["writer"], []).append(entry["step"])
    assert steps == {number: list(range(200)) for number in range(3)}


def test_a_leased_device_is_waited_for(
    packed_road: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LGAD_DEVICE_SLOTS", "1")
    monkeypatch.setenv("LGAD_DEVICE_LOCKS", str(tmp_path / "locks"))
    job = written_job(packed_road, tmp_path / "job")
    with lease_devices("cpu"):
        process = subprocess.Popen([*COMMANDS["command"], str(job)], stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        assert process.stdout.readline() == (
            "All devices of this machine are in use by other trainings; this one waits for its turn.\n"
        )
        assert process.poll() is None and not (tmp_path / "job" / "job.jsonl").exists()
    assert process.wait(120) == 0
    assert (tmp_path / "job" / "weights.safetensors").is_file()
