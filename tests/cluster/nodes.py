"""Two nodes of a Ray cluster on this machine, each with a file system of its own for the state folder."""

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

ray = pytest.importorskip("ray", reason="Ray is not installed; pip install 'lgad-pipeline[ray]'")

ROOT = Path(__file__).parents[2]
NODE_VARIABLES = {
    "PYTHONPATH": str(ROOT),
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_raylet_start_wait_time_s": "600",  # on a busy machine
    "RAY_worker_niceness": "0",
}
STATE = Path("/tmp") / f"lgad-state-{os.getpid()}"
HEAD, SECOND = "127.0.0.2", "127.0.0.3"


class Nodes(NamedTuple):
    """Nodes of the cluster.

    Attributes:
        address: address of the first one.
        states: state folders of the nodes, as this machine sees them.
    """

    address: str
    states: list[Path]


@contextmanager
def two_nodes(variables: dict[str, str]) -> Iterator[Nodes]:
    """Start two nodes with one CPU each, and yield them.

    The state folder has the same path on all machines, but a file system of its own on each node: it is
    mounted in a mount namespace.

    Ray replaces 127.0.0.1 by the machine's address, which a firewall may block, so the nodes use other
    loopback addresses.

    Args:
        variables: environment variables of the nodes.
    """
    with socket.socket() as free:
        free.bind((HEAD, 0))
        address = f"{HEAD}:{free.getsockname()[1]}"
    folder = Path("/tmp") / f"ray-{os.getpid()}"  # sockets need a short path
    head = [
        "--head",
        f"--node-ip-address={HEAD}",
        f"--port={address.rpartition(':')[2]}",
        "--include-dashboard=false",
        f"--temp-dir={folder}",
    ]
    started = []
    STATE.mkdir()
    try:
        for options in (head, [f"--address={address}", f"--node-ip-address={SECOND}"]):
            started.append(start_node(options, variables | {"LGAD_STATE": str(STATE)}))
            wait_for_nodes(address, len(started))
        yield Nodes(address, [Path(f"/proc/{node.pid}/root{STATE}") for node in started])
    finally:
        for node in reversed(started):
            node.terminate()
            node.wait(60)
        for path in (folder, STATE):
            shutil.rmtree(path, ignore_errors=True)


def start_node(options: list[str], variables: dict[str, str]) -> subprocess.Popen[bytes]:
    program = (
        "import os, signal, sys; from lgad_pipeline.child_process import end_with_parent; "
        "end_with_parent(int(sys.argv.pop(1)), signal.SIGTERM); "
        "from ray.scripts.scripts import main; main()"
    )
    mount = 'mount -t tmpfs none "$LGAD_STATE" && exec "$@"'
    rights = [] if os.geteuid() == 0 else ["--map-root-user"]
    own_files = ["unshare", *rights, "--mount", "sh", "-c", mount, "sh"]
    command = [sys.executable, "-c", program, str(os.getpid()), "start", "--block", "--num-cpus=1"]
    return subprocess.Popen(
        [*own_files, *command, "--object-store-memory=100000000", *options],
        env=os.environ | NODE_VARIABLES | variables,
        start_new_session=True,
    )


def wait_for_nodes(address: str, count: int) -> None:
    """Wait until a cluster has a number of nodes; ten minutes at most."""
    deadline = time.monotonic() + 600
    while time.monotonic() < deadline:
        try:
            ray.init(address=address, log_to_driver=False)
        except (ConnectionError, RuntimeError):
            time.sleep(1)
            continue
        alive = sum(node["Alive"] for node in ray.nodes())
        ray.shutdown()
        if alive == count:
            return
        time.sleep(1)
    pytest.fail(f"The cluster at {address} has no {count} nodes after ten minutes.")
