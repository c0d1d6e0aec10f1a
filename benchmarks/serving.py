"""Load test of `mlflow models serve` with real frames: the server must answer every one and keep running.

    python benchmarks/serving.py models:/synthetic-enet@champion FRAMES [FRAMES ...]

FRAMES are folders of JPEG and PNG files of any size, or such files; they are sent in turn, COUNT in all.
"""

import argparse
import base64
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

from lgad_pipeline.datasets.images import IMAGE_SUFFIXES


def serve(model: str, port: int) -> subprocess.Popen:
    command = [
        "models",
        "serve",
        "-m",
        model,
        "--env-manager",
        "local",
        "--port",
        str(port),
        "--workers",
        "1",
    ]
    # MLflow calls uvicorn by its name.
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    server = subprocess.Popen(
        [sys.executable, "-m", "mlflow", *command], env=environment, start_new_session=True
    )
    while server.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return server
        time.sleep(0.2)
    raise SystemExit("the server has ended")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model")
    parser.add_argument("frames", nargs="+", type=Path)
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--port", type=int, default=5055)
    arguments = parser.parse_args()
    files = [
        path
        for source in arguments.frames
        for path in (sorted(source.rglob("*")) if source.is_dir() else [source])
        if path.suffix.lower() in IMAGE_SUFFIXES
    ]
    chosen = [files[index % len(files)] for index in range(arguments.count)]
    server = serve(arguments.model, arguments.port)
    seconds, lanes = [], 0
    try:
        for path in chosen:
            body = json.dumps({"inputs": [base64.b64encode(path.read_bytes()).decode()]}).encode()
            address = f"http://127.0.0.1:{arguments.port}/invocations"
            request = urllib.request.Request(address, body, {"Content-Type": "application/json"})
            started = time.perf_counter()
            with urllib.request.urlopen(request) as answer:
                predictions = json.loads(answer.read())["predictions"]
            seconds.append(time.perf_counter() - started)
            lanes += len(predictions[0]["lanes"])
    finally:
        alive = server.poll() is None
        os.killpg(server.pid, signal.SIGTERM)
    print(
        f"{len(seconds)} of {len(chosen)} frames ({len(set(chosen))} files) answered, {lanes} lanes found; "
        f"median {1000 * statistics.median(seconds):.0f} ms, slowest {1000 * max(seconds):.0f} ms; "
        f"the server {'is running' if alive else 'has ended'}"
    )


if __name__ == "__main__":
    main()
