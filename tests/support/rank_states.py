"""Job whose processes each keep their parameters and buffers after the last step.

Run as `python -m tests.support.rank_states JOB`, as one of several processes.
"""

import os
import sys
from pathlib import Path
from typing import Any

import torch

from lgad_pipeline.training import run_job, trainer


def main(job: Path) -> int:
    """Run a job, and write `rank-<rank>.pt` into its directory."""
    fit = trainer.fit

    def observed(*arguments: Any, **options: Any) -> Any:
        state = fit(*arguments, **options)
        torch.save(state.network.state_dict(), job.parent / f"rank-{os.environ['RANK']}.pt")
        return state

    trainer.fit = observed
    return run_job.main(job)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
