"""Asset of a study: gain of distillation over many pairs; one partition per recipe and data set."""

from hashlib import blake2b

import dagster as dg
from pydantic import Field

from assets.automation import RETRY_TRAINING
from assets.data import OWNERS, shards
from assets.freshness import inputs_at_start, materialize_result
from assets.keys import PREFIX
from assets.partitions import GRID, fetch_inputs
from assets.presentation import metadata
from lgad_pipeline.code_fingerprint import code_fingerprint
from resources.device_pool import DEVICE
from resources.paths import fetch_shards
from resources.project import Project
from resources.state_store import StudyFolders
from resources.trainer import Trainer


class GainConfig(dg.Config):
    """Options of the study: compared methods, number of pairs, steps and processes."""

    methods: list[str] = Field(
        default=["lgad", "sad", "lgad+sad", "logits"],
        description="Methods that are compared with the student alone: any of lgad, sad, lgad+sad, logits, "
        "blurred, label-head and equal-compute, or import paths of losses, such as my_package.losses:MyLoss.",
    )
    seeds: int = Field(default=5, ge=1, description="Number of pairs; more pairs give a narrower interval.")
    steps: int | None = Field(
        default=None, description="Steps of the students; by default those of the recipe."
    )
    workers: int = Field(
        default=1, ge=1, description="Number of processes; each GPU serves one of them at a time."
    )


@dg.asset(
    key_prefix=PREFIX,
    group_name="studies",
    kinds={"pytorch", "pandas"},
    owners=OWNERS,
    partitions_def=GRID,
    pool=DEVICE,
    retry_policy=RETRY_TRAINING,
    deps=[shards],
    code_version=code_fingerprint("lgad_pipeline.studies.run:distillation_gain"),
    description="""The gain in F1 of each method over the student alone, per scenario and in total: the mean
over pairs of trainings with the same initial weights, batches, augmentation and dropout. Its 95 % interval is
a bootstrap over seeds and test frames.

This asset trains many students and is part of no schedule. It can be stopped at any time; the next run
resumes it.""",
)
def distillation_gain(
    context: dg.AssetExecutionContext, config: GainConfig, project: Project, trainer: Trainer
) -> dg.MaterializeResult:
    """Train pairs of all methods, and compute their gains."""
    import cv2

    from lgad_pipeline.studies import run
    from lgad_pipeline.studies.config import GainStudy
    from lgad_pipeline.studies.report import markdown

    inputs = inputs_at_start(context, project)
    paths = fetch_inputs(context, project, "recordings", "frames")
    dataset, recipe = paths.dataset, paths.recipe
    study = GainStudy.model_validate(
        {"dataset": dataset, "recipes": [recipe], **config.model_dump(exclude={"workers"})}
    )
    with trainer.tasks(paths, "recordings", "frames", "shards", gpu=True):
        result = run.distillation_gain(
            study,
            dataset=project.dataset(dataset),
            recipes={recipe: project.recipe(recipe)},
            shards=fetch_shards(paths),
            recordings=paths.recordings,
            output=paths.gain,
            workers=config.workers,
            device=trainer.device,
            progress=context.log.info,
            exchange=StudyFolders(paths) if paths.results else None,
        )
    totals = [result.total(recipe, variant) for variant in study.all_variants if variant != "alone"]
    forest = cv2.imread(str(paths.gain / "forest.png"))
    pictures = (
        {"forest plot": metadata.picture(forest[..., ::-1], "gain in F1, 95 %")} if forest is not None else {}
    )
    return materialize_result(
        context,
        project,
        inputs=inputs,
        data_version=blake2b((paths.gain / "gains.json").read_bytes(), digest_size=16).hexdigest(),
        metadata={
            **{f"gain of {row['variant']} (points)": 100 * float(row["gain"]) for row in totals},
            "gains": dg.MetadataValue.md(markdown(result)),
            **pictures,
            "pairs": config.seeds,
            "folder": dg.MetadataValue.path(paths.gain),
        },
    )
