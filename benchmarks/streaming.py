"""Requests, bytes and cache of trainings whose shards stay in a store, counted at a server that speaks S3.

    python benchmarks/streaming.py

Prints, for windows and caches of several sizes, what one epoch reads from the store, for docs/scaling.md. The
server is moto's, in this process, so the frames per second are no measure of a store.
"""

import argparse
import logging
import os
import tempfile
import time
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
from moto.server import ThreadedMotoServer
from pyarrow import fs

from lgad_pipeline.data.loader import Loader
from lgad_pipeline.data.remote_shards import upload
from lgad_pipeline.data.shard_file import SHARD_SCHEMA
from lgad_pipeline.data.shard_index import Origin, PartEntry, digest_of, new_index, write_index
from lgad_pipeline.data.shards import ShardSet
from lgad_pipeline.data.streamed_shards import stream
from lgad_pipeline.view import View

ORIGIN = Origin("benchmark", "made_up")
URI = "s3://benchmark/shards"
SIZE = (288, 800)
BATCH = 16


class Requests(logging.Handler):
    """Numbers of the requests that the server has answered, by method."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: Counter[str] = Counter()

    def emit(self, record: logging.LogRecord) -> None:
        """Count one line of the server's log."""
        line = record.getMessage()
        self.counts.update(method for method in ("HEAD", "GET") if f"{method} /" in line)


def write_shards(folder: Path, shards: int, frames: int) -> None:
    """Write shards of one image of noise, repeated, as large as those of road frames."""
    folder.mkdir()
    noise = np.random.default_rng(0).normal(110, 12, (*SIZE, 3)).clip(0, 255).astype(np.uint8)
    image = cv2.imencode(".jpg", noise, [cv2.IMWRITE_JPEG_QUALITY, 90])[1].tobytes()
    label = cv2.imencode(".png", np.zeros(SIZE, np.uint8))[1].tobytes()
    parts = []
    for number in range(shards):
        rows = [
            {
                "frame": f"{number}/{row}.jpg",
                "scenario": None,
                "existence": [True] * 4,
                "image": image,
                "label": label,
            }
            for row in range(frames)
        ]
        path = folder / f"train-{number:05d}-{number:016x}.arrow"
        with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, SHARD_SCHEMA) as writer:
            writer.write_batch(pa.RecordBatch.from_pylist(rows, SHARD_SCHEMA))
        parts.append(PartEntry(file=path.name, rows=frames, digest=digest_of(path)))
    index = new_index({"train": parts}, View(SIZE, SIZE, 0), rejected=[], origin=ORIGIN)
    write_index(folder, index.to_bytes(), names={part.file for part in parts})


def epochs(folder: Path, requests: Requests, *, window: int | None, shards: int, size: int) -> None:
    """Print a line of the table: two epochs with a window, and a cache of a number of shards."""
    with tempfile.TemporaryDirectory() as temporary:
        cache = Path(temporary) / "cache"
        if shards:
            folder = stream(URI, Path(temporary) / "index", origin=ORIGIN, cache=cache, limit=shards * size)
        loader = Loader(ShardSet.open(folder)["train"], BATCH, seed=0, window=window)
        steps = len(loader.split) // BATCH
        requests.counts.clear()
        start = time.perf_counter()
        highest = 0
        for _ in loader.batches(0, 2 * steps):
            highest = max(highest, sum(path.stat().st_size for path in cache.glob("*.arrow")))
        rate = 2 * steps * BATCH / (time.perf_counter() - start)
        read = requests.counts
        print(
            f"{window or 'all':>6} {shards or 'local':>6} {read['HEAD'] / 2:>9.1f} {read['GET'] / 2:>9.1f} "
            f"{highest / size:>8.2f} {rate:>9.0f}"
        )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--shards", type=int, default=48)
    parser.add_argument("--frames", type=int, default=128, help="frames of a shard")
    options = parser.parse_args()
    requests = Requests()
    logging.getLogger("werkzeug").setLevel(logging.INFO)
    logging.getLogger("werkzeug").handlers = [requests]
    logging.getLogger("werkzeug").propagate = False
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=True)
    server.start()
    host, port = server.get_host_and_port()
    os.environ |= {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "shards"
        write_shards(folder, options.shards, options.frames)
        fs.FileSystem.from_uri("s3://benchmark?allow_bucket_creation=true")[0].create_dir("benchmark")
        upload(folder, URI)
        size = max(path.stat().st_size for path in folder.glob("*.arrow"))
        print(f"{options.shards} shards of {options.frames} frames, {size / 1e6:.1f} MB each; an epoch reads")
        print(f"{'window':>6} {'cache':>6} {'HEAD':>9} {'GET':>9} {'highest':>8} {'frames/s':>9}")
        for window, cache in ((None, 0), (None, options.shards), (4, 8), (8, 10), (8, 16), (16, 24)):
            epochs(folder, requests, window=window, shards=cache, size=size)
    server.stop()


if __name__ == "__main__":
    main()
