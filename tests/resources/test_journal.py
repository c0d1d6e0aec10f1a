"""The run journal when files are emptied, cut or damaged, the disk is full, or the server forgets."""

import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

from lgad_pipeline.errors import LgadError
from resources.mlflow.journal import RunJournal
from resources.mlflow.journal_file import JournalFile
from resources.mlflow.resource import MlflowTracking, default_tracking, run_id_of
from resources.mlflow.run import SyncError

NOBODY = "http://127.0.0.1:9"


@pytest.fixture(scope="module")
def tracking(tmp_path_factory):
    return default_tracking(tmp_path_factory.mktemp("store"))


@pytest.fixture
def away(monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    return MlflowTracking(uri=NOBODY)


def losses(tracking, folder) -> list[tuple[int, float]]:
    history = tracking.client.get_metric_history(run_id_of(folder), "train/loss")
    return sorted((entry.step, entry.value) for entry in history)


@pytest.mark.parametrize("content", ["", "{", '{"fingerprint": 3}', None])
def test_emptied_description_loses_no_metric(tracking, away, training, tmp_path, content):
    with training(away, tmp_path / "teacher") as run:
        run.log({"train/loss": 3.0}, 1)
    description = tmp_path / "teacher/mlflow/run.json"
    description.unlink() if content is None else description.write_text(content)
    with training(away, tmp_path / "teacher") as run:  # the same training: it continues
        run.log({"train/loss": 2.0}, 2)
    description.write_text("")
    with training(away, tmp_path / "teacher", "two") as run:  # another one: the first is kept
        run.log({"train/loss": 9.0}, 1)
    tracking.sync_all(tmp_path)
    kept = next((tmp_path / ".unsent").iterdir())
    assert losses(tracking, kept) == [(1, 3.0), (2, 2.0)]
    assert losses(tracking, tmp_path / "teacher") == [(1, 9.0)]
    assert tracking.client.get_run(run_id_of(kept)).data.params == {"training.steps": "4"}


def test_metrics_without_any_description_are_kept_and_named(tracking, away, training, tmp_path):
    with training(away, tmp_path / "teacher") as run:
        run.log({"train/loss": 3.0}, 1)
    folder = tmp_path / "teacher/mlflow"
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    (folder / "metrics.jsonl").write_text("\n".join(["{}", *lines[1:]]) + "\n")
    (folder / "run.json").write_text("")
    with pytest.raises(SyncError, match="are damaged; put a copy of one of them back"):
        tracking.sync(tmp_path / "teacher")
    with training(tracking, tmp_path / "teacher") as run:
        run.log({"train/loss": 2.0}, 1)
    assert '"train/loss": 3.0' in next((tmp_path / ".unsent").rglob("metrics.jsonl")).read_text()


def test_damaged_lines_are_skipped_and_counted(tracking, training, tmp_path, caplog):
    nan = '{"step": 2, "time": 1, "metrics": {"train/loss": NaN}}'
    bad = ["null", "[1]", '{"step": "x"}', nan, "{", '{"step"']
    with training(tracking, tmp_path) as run:
        run.log({"train/loss": 3.0}, 1)
        with (tmp_path / "mlflow/metrics.jsonl").open("a") as journal:
            journal.write("\n".join(bad))
        run._journal._written = None  # as a process that was started again
        run.log({"train/loss": 2.0}, 2)
    assert losses(tracking, tmp_path) == [(1, 3.0), (2, 2.0)]
    assert "6 damaged lines" in caplog.text


def test_position_behind_a_journal_that_was_cut_sends_all_of_it(tmp_path):
    journal = JournalFile(tmp_path / "metrics.jsonl")
    journal.append({"step": 1, "time": 1, "metrics": {"loss": 1.0}})
    assert [entry.step for entry, _ in journal.entries(10_000)] == [1]


FULL = """
import resource, signal, sys
from pathlib import Path
from resources.mlflow.journal_file import JournalFile
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
journal = JournalFile(Path(sys.argv[1]))
line = {"step": 1, "time": 1, "metrics": {"loss": 1.0}}
journal.append(line)
size = Path(sys.argv[1]).stat().st_size
resource.setrlimit(resource.RLIMIT_FSIZE, (size + 10, resource.RLIM_INFINITY))
try:
    journal.append(line)
except Exception as error:
    print(type(error).__name__, error)
assert Path(sys.argv[1]).stat().st_size == size, "half a line was left"
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
journal.append(line)
print(len(list(journal.entries())), journal.damaged())
"""


def test_full_disk_is_one_sentence_and_leaves_no_half_line(tmp_path):
    environment = os.environ | {"PYTHONPATH": str(Path.cwd())}
    command = [sys.executable, "-c", FULL, str(tmp_path / "metrics.jsonl")]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    sentence, counts = done.stdout.strip().splitlines()
    assert sentence.startswith("SystemFault") and "metrics.jsonl" in sentence and counts == "2 0"


def test_training_continues_while_the_disk_is_full(tracking, training, tmp_path, monkeypatch, caplog):
    with training(tracking, tmp_path) as run:
        run.log({"train/loss": 3.0}, 1)
        journal = run._journal._journal
        place, journal.path = journal.path, Path("/dev/full")
        run.log({"train/loss": 2.0}, 2)
        run.log({"train/loss": 1.0}, 3)
        journal.path = place
    assert losses(tracking, tmp_path) == [(1, 3.0), (2, 2.0), (3, 1.0)]
    assert caplog.text.count("The training continues; its metrics are in memory until then.") == 1


class Forgetful(BaseHTTPRequestHandler):
    """A proxy before an MLflow server that confirms metrics and does not pass them on."""

    behind = ""
    forgets = True

    def do_POST(self) -> None:
        self.answer(self.rfile.read(int(self.headers["Content-Length"])))

    def do_GET(self) -> None:
        self.answer(None)

    def answer(self, body: bytes | None) -> None:
        content, status = b"{}", 200
        if not (self.forgets and "log-batch" in self.path and b'"metrics"' in (body or b"")):
            header = {"Content-Type": "application/json"}
            try:
                with urlopen(Request(self.behind + self.path, body, header, method=self.command)) as reply:
                    content = reply.read()
            except HTTPError as error:
                content, status = error.read(), error.code
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:
        pass


def test_server_that_confirms_everything_is_not_believed(mlflow_server, tracking, training, tmp_path):
    server = mlflow_server()
    server.start()
    proxy = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (Forgetful,), {"behind": server.uri}))
    threading.Thread(target=proxy.serve_forever, daemon=True).start()
    lying = MlflowTracking(uri=f"http://127.0.0.1:{proxy.server_port}")
    with training(lying, tmp_path) as run:
        run.log({"train/loss": 3.0}, 1)
    with pytest.raises(SyncError, match=r"metrics that it does not return \(train/loss of step 1\)"):
        lying.sync(tmp_path)
    proxy.RequestHandlerClass.forgets = False  # pyright: ignore[reportAttributeAccessIssue]
    lying.sync(tmp_path)
    assert RunJournal(tmp_path).unsent() == ""
    assert losses(lying, tmp_path) == [(1, 3.0)]
    proxy.shutdown()


def test_all_parameters_arrive(tracking, training, tmp_path):
    journal = RunJournal(tmp_path)
    with training(tracking, tmp_path) as run:
        note = journal.read_record()
        assert note is not None
        many = {f"training.setting_{index:03}": str(index) for index in range(250)}
        journal._write(note.model_copy(update={"parameters": many | {"training.steps": "4"}}))
        run.log({"train/loss": 3.0}, 1)
    assert len(tracking.client.get_run(run_id_of(tmp_path)).data.params) == 251


def test_folder_that_is_a_file_is_one_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(LgadError, match=r"metrics\.jsonl"):
        JournalFile(tmp_path / "file" / "metrics.jsonl").append({})
