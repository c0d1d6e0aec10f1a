"""Entry point of the Dagster code location: assets, checks, jobs, schedules, sensors and resources."""

import logging
import warnings
from collections.abc import Sequence
from typing import Any

import dagster as dg

from assets import data, data_checks, evaluation, evaluation_checks, network_checks, networks, registry
from assets import distillation_gain as gain
from assets import recipe_comparison as recipes
from assets import report as reporting
from assets import suggestions as labelling
from assets.jobs import JOBS, schedules
from assets.partitions import SETTINGS
from assets.sensors import sensors
from lgad_pipeline.settings import settings_path
from resources.mlflow.resource import default_tracking
from resources.progress import ProgressLog
from resources.project import Project
from resources.provenance import REPOSITORY, git_commit, remote_url
from resources.trainer import Trainer

# Each step runs in its own process, forked from a process that has imported the common modules.
_STEPS = dg.multiprocess_executor.configured(
    {
        "start_method": {
            "forkserver": {
                "preload_modules": ["cv2", "pandas", "pyarrow", "torch", "mlflow", "assets.sensors"]
            }
        }
    },
    name="steps",
)
_MODULES = [
    data,
    data_checks,
    networks,
    network_checks,
    evaluation,
    evaluation_checks,
    recipes,
    gain,
    registry,
    reporting,
    labelling,
]


def definitions(progress: ProgressLog) -> dg.Definitions:
    """Build the code location.

    A data set with an invalid entry in lgad.yaml causes a warning; the other data sets are not affected.

    Args:
        progress: resource that reports the progress of long steps.
    """
    for error in SETTINGS.broken.values():
        logging.getLogger("dagster.lgad").warning(error)
    with warnings.catch_warnings():
        # Source links of assets are a beta feature; Dagster warns once per asset.
        warnings.simplefilter("ignore", dg.BetaWarning)
        all_assets = _with_source_links(dg.load_assets_from_modules(_MODULES))
    return dg.Definitions(
        assets=all_assets,
        asset_checks=dg.load_asset_checks_from_modules(_MODULES),
        executor=_STEPS,
        jobs=JOBS,
        schedules=schedules(),
        sensors=sensors(),
        resources={
            "project": Project(file=str(settings_path())),
            "trainer": Trainer.of_settings(SETTINGS.trainer),
            "mlflow": default_tracking(settings_path().parent),
            "progress": progress,
        },
    )


def _with_source_links(loaded: Sequence[Any]) -> Sequence[Any]:
    """Link each asset to its source: on the web page of the remote repository, else to the local file."""
    linked = dg.with_source_code_references(loaded)
    url = remote_url()
    commit = git_commit().removesuffix("-dirty")
    if not url or commit == "unknown":
        return linked
    mapping = dg.AnchorBasedFilePathMapping(local_file_anchor=REPOSITORY, file_anchor_path_in_repository="")
    return dg.link_code_references_to_git(linked, url, commit, file_path_mapping=mapping)


defs = definitions(ProgressLog())


def job_named(name: str) -> dg.JobDefinition:
    """Return a job of the code location, for processes that load it by this function."""
    return defs.resolve_job_def(name)
