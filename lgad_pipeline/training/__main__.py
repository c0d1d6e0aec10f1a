"""`python -m lgad_pipeline.training JOB`: one process of a training; torchrun and srun start several."""

import sys
from pathlib import Path

from lgad_pipeline.training.run_job import main

if __name__ == "__main__":
    if len(sys.argv) != 2 or sys.argv[1].startswith("-"):
        sys.exit("usage: python -m lgad_pipeline.training JOB")
    sys.exit(main(Path(sys.argv[1])))
