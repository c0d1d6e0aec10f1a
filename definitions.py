"""Entry point of Dagster: the code location with everything that it shows and runs."""

import logging
import warnings

import dagster as dg

from assets import data, data_checks, evaluation, evaluation_checks, network_checks, networks, registry
from assets import distillation_gain as gain
from assets import recipe_comparison as recipes
from assets import report as reporting
from assets.jobs import JOBS, schedules
from assets.partitions import SETTINGS
from assets.sensors import sensors
from lgad_pipeline.settings import settings_path
from resources.mlflow.resource import default_tracking
from resources.progress import ProgressLog
from resources.project import Project
from resources.trainer import Trainer

# Each step runs in a process of its own. They are forked off one that has imported what all of them need.
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
]


def definitions(progress: ProgressLog) -> dg.Definitions:
    """Build the code location; `progress` reports the progress of long steps.

    A data set with a broken entry in lgad.yaml is named in a warning and stops no other.
    """
    for told in SETTINGS.broken.values():
        logging.getLogger("dagster.lgad").warning(told)
    with warnings.catch_warnings():
        # Links from the UI to an asset's source are in beta; Dagster says so once for every asset.
        warnings.simplefilter("ignore", dg.BetaWarning)
        all_assets = dg.with_source_code_references(dg.load_assets_from_modules(_MODULES))
    return dg.Definitions(
        assets=all_assets,
        asset_checks=dg.load_asset_checks_from_modules(_MODULES),
        executor=_STEPS,
        jobs=JOBS,
        schedules=schedules(),
        sensors=sensors(),
        resources={
            "project": Project(file=str(settings_path())),
            "trainer": Trainer(),
            "mlflow": default_tracking(settings_path().parent),
            "progress": progress,
        },
    )


defs = definitions(ProgressLog())
