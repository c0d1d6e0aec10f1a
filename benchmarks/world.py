"""Benchmark of rendering and writing the road world on one core, by processor time.

python benchmarks/world.py [frames]
"""

import sys
import tempfile
import time
from pathlib import Path

import cv2

from lgad_pipeline.config.synthetic import SyntheticConfig
from lgad_pipeline.synthetic.dataset_writer import write_dataset


def main() -> None:
    frames = int(sys.argv[1]) if len(sys.argv) > 1 else 90
    cv2.setNumThreads(1)
    with tempfile.TemporaryDirectory() as folder:
        write_dataset(Path(folder, "warm"), SyntheticConfig(train=1, val=0, test=0), workers=1)
        start = time.process_time()
        write_dataset(Path(folder, "world"), SyntheticConfig(train=0, val=0, test=frames), workers=1)
        seconds = time.process_time() - start
    print(f"{frames / seconds:.1f} frames/s a core at 1640 x 590, {frames} frames of all scenarios")


if __name__ == "__main__":
    main()
