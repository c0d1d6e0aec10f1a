import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

PASSWORD = "of-this-test-alone"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """The address of a PostgreSQL of this test's own, up to the name of the database."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if not found:
        pytest.skip("PostgreSQL is not installed: apt-get install postgresql")
    folder = Path(tempfile.mkdtemp(prefix="lgad-postgres-"))
    user = "postgres" if os.getuid() == 0 else None  # it refuses to run as root
    if user:
        shutil.chown(folder, user)
    (folder / "password").write_text(PASSWORD)
    (folder / "password").chmod(0o644)
    port, data, tools = free_port(), str(folder / "data"), found[-1].parent

    def call(*command: str) -> None:
        subprocess.run(command, user=user, cwd=folder, check=True, stdout=subprocess.DEVNULL)

    call(
        *(str(tools / "initdb"), "--pgdata", data, "--username", "lgad", "--auth", "scram-sha-256"),
        *("--pwfile", str(folder / "password"), "--no-sync"),
    )
    options = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={folder} -c fsync=off"
    control = str(tools / "pg_ctl")
    call(control, "start", "--pgdata", data, "--wait", "--log", str(folder / "log"), "--options", options)
    try:
        yield f"postgresql://lgad:{PASSWORD}@127.0.0.1:{port}"
    finally:
        call(control, "stop", "--pgdata", data, "--mode", "immediate")
        shutil.rmtree(folder)
