"""Notification of a new champion: a real program, and one that posts to a real HTTP server."""

import json
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from resources.notification import champion_changed
from resources.project import Project

POST = """
import sys, urllib.request
request = urllib.request.Request(sys.argv[1], sys.stdin.buffer.read(), {"Content-Type": "application/json"})
urllib.request.urlopen(request, timeout=20)
"""


def project(folder: Path, *command: str) -> Project:
    lines = ["datasets: {}", "recipes: {enet: {teacher: {}, student: {}}}"]
    if command:
        lines.append(f"notify: {{command: {json.dumps(command)}}}")
    (folder / "lgad.yaml").write_text("\n".join(lines))
    return Project(file=str(folder / "lgad.yaml"))


def changed(project: Project) -> str:
    return champion_changed(
        project,
        "roads-enet",
        champion="4",
        before="3",
        reason="Version 4 becomes champion.",
        page="http://m/4",
    )


@pytest.fixture
def posted():
    """Address of an HTTP server, and the bodies that it received."""
    bodies: list[bytes] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            bodies.append(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(204 if self.path == "/hook" else 500)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", bodies
        server.shutdown()
        thread.join()


def test_a_webhook_gets_the_new_champion(tmp_path, monkeypatch, posted):
    monkeypatch.delenv("LGAD_STATE", raising=False)
    address, bodies = posted
    assert changed(project(tmp_path, sys.executable, "-c", POST, f"{address}/hook")) == ""
    assert [json.loads(body) for body in bodies] == [
        {
            "event": "champion_changed",
            "model": "roads-enet",
            "champion": "4",
            "before": "3",
            "reason": "Version 4 becomes champion.",
            "page": "http://m/4",
        }
    ]
    sentence = changed(project(tmp_path, sys.executable, "-c", POST, f"{address}/secret"))
    assert sentence.startswith("No message says that version 4 of roads-enet is champion: notify.command")
    assert "ended with 1" in sentence and "secret" not in sentence and len(bodies) == 2


def test_a_command_that_cannot_run_or_a_log_that_cannot_be_written_is_a_sentence(tmp_path, monkeypatch):
    monkeypatch.delenv("LGAD_STATE", raising=False)
    assert "cannot be run (No such file" in changed(project(tmp_path, "/nowhere/tell"))
    (tmp_path / ".lgad").mkdir(exist_ok=True)
    monkeypatch.setenv("LGAD_STATE", str(tmp_path / "lgad.yaml"))  # a file, not a folder
    assert "No message says" in changed(project(tmp_path, "true"))


def test_without_the_key_nothing_is_run(tmp_path):
    assert changed(project(tmp_path)) == ""
    assert not (tmp_path / ".lgad").exists()
