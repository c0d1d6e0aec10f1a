"""Comparison of ingestion and packing that are killed at random times with an undisturbed run, byte by byte.

python benchmarks/killed.py ROOT [--kills 20]

ROOT is a data set in CULane's layout. Its frames table, lane labels and shards are written once undisturbed.
Then, in rounds, a process writes them that is killed (SIGKILL) and started again until it finishes; the
folders are compared file by file. A difference is an error.
"""

import argparse
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from lgad_pipeline.data.frame_schema import FRAMES_SCHEMA, REJECTED_SCHEMA
from lgad_pipeline.data.frame_table import read_table, write_table
from lgad_pipeline.data.ingestion import ingest
from lgad_pipeline.data.lane_labels import LABELS_SCHEMA, assign_lane_slots
from lgad_pipeline.data.shards import pack_shards
from lgad_pipeline.datasets.images import image_size
from lgad_pipeline.view import View


def make(root: Path, output: Path) -> None:
    """Run the functions of the data assets one after the other."""
    size = image_size(next(root.rglob("*.jpg")).read_bytes())
    table = output / "frames.parquet"
    found = ingest(root, size, previous=read_table(table) if table.exists() else None)
    write_table(table, found.frames, schema=FRAMES_SCHEMA)
    write_table(output / "rejected.parquet", found.rejected, schema=REJECTED_SCHEMA)
    labels = assign_lane_slots(found.frames)
    write_table(output / "labels.parquet", labels, schema=LABELS_SCHEMA)
    pack_shards(
        found.frames,
        labels,
        root=root,
        output=output / "shards",
        view=View(size, (144, 400)),
        lane_width=16,
        rows_per_shard=8,
    )


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below a folder."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("root", type=Path)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--make", type=Path, help=argparse.SUPPRESS)
    choice = parser.parse_args()
    if choice.make:
        return make(choice.root, choice.make)
    moments = random.Random(choice.seed)
    command = [sys.executable, __file__, str(choice.root), "--make"]
    with tempfile.TemporaryDirectory() as scratch:
        start = time.perf_counter()
        subprocess.run([*command, f"{scratch}/undisturbed"], check=True)
        seconds = time.perf_counter() - start
        expected = contents(Path(scratch, "undisturbed"))
        kills = rounds = 0
        while kills < choice.kills:  # a round ends with a run that is quicker than its killer
            output = Path(scratch, f"round{rounds}")
            rounds += 1
            while True:
                process = subprocess.Popen([*command, str(output)])
                try:
                    process.wait(moments.uniform(0, seconds) if kills < choice.kills else None)
                    break
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()
                    kills += 1
            found = contents(output)
            different = [name for name in expected.keys() | found if expected.get(name) != found.get(name)]
            if process.returncode or different:
                sys.exit(f"round {rounds}, {kills} kills: different: {', '.join(sorted(different)[:5])}")
            print(f"round {rounds}: {kills} kills so far, the same bytes", flush=True)
    size = sum(map(len, expected.values())) / 1e6
    print(f"{kills} kills in {rounds} rounds: {len(expected)} files, {size:.1f} MB, always the same bytes")
    return None


if __name__ == "__main__":
    main()
