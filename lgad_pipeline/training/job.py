"""Job file: the description of one training for a process that runs it, such as `lgad train`."""

import json
from pathlib import Path
from typing import Literal, Self

from pydantic import ValidationError

from lgad_pipeline.atomic_files import write_text
from lgad_pipeline.config.base import BaseConfig
from lgad_pipeline.config.mistakes import mistakes
from lgad_pipeline.config.network import allow_networks, allowed_networks
from lgad_pipeline.errors import LgadError, os_fault
from lgad_pipeline.training.plan import TrainingPlan

JOB = "job.json"
JOB_LOG = "job.jsonl"


class TrainingJob(BaseConfig):
    """One training, with everything that a process needs to run it.

    Attributes:
        plan: all inputs of the training.
        log: JSON-lines file that gets the metrics and the end of the training.
        device: `cpu`, `cuda`, or `auto` for a GPU if there is one.
        networks: import paths of network classes of other packages that directories of trained networks may
            name; their code is run.
    """

    plan: TrainingPlan
    log: Path
    device: Literal["auto", "cpu", "cuda"] = "auto"
    networks: tuple[str, ...] = ()

    @classmethod
    def of_plan(cls, plan: TrainingPlan, device: Literal["auto", "cpu", "cuda"] = "auto") -> Self:
        """Return the job of a plan; its log is in the directory of the training."""
        networks = tuple(sorted(allowed_networks()))
        return cls(plan=plan, log=plan.folder / JOB_LOG, device=device, networks=networks)

    def write(self) -> Path:
        """Write the job file into the directory of the training, and return its path."""
        path = self.plan.folder / JOB
        write_text(path, self.model_dump_json(indent=2) + "\n")
        return path


def read_job(path: Path) -> TrainingJob:
    """Read a job file; the network classes that it names are allowed to be imported.

    Raises:
        LgadError: the file cannot be read, is not JSON, or has a wrong key or value.
    """
    try:
        text = path.read_text(encoding="utf-8")
        # Strict validation of JSON does not accept a text as a number, but a list as a tuple.
        job = TrainingJob.model_validate_json(json.dumps(json.loads(text)), strict=True)
    except OSError as error:
        raise os_fault(error, path, "read") from error
    except ValidationError as error:
        raise LgadError(mistakes(str(path), error, root=TrainingJob)) from error
    except ValueError as error:
        raise LgadError(f"{path} is not JSON ({error}); write the job file again.") from error
    allow_networks(*job.networks)
    return job
