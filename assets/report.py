"""The report: one HTML file to send to somebody. One partition a recipe on a data set."""

import datetime
import itertools
from collections.abc import Mapping

import dagster as dg
from pydantic import Field

from assets.automation import AFTER_DATA
from assets.data import OWNERS, frames, shards
from assets.evaluation import lane_scores, predictions
from assets.freshness import latest, materialize_result
from assets.networks import student_alone, student_lgad, teacher
from assets.partitions import GRID, dataset_and_recipe
from assets.presentation import metadata
from assets.presentation.report_page import AttentionRow, Picture, Report, render
from assets.presentation.svg_charts import NETWORK_NAMES
from assets.registry import registered_model
from assets.scores import compare
from lgad_pipeline import atomic_files as files
from lgad_pipeline.code_fingerprint import code_fingerprint
from lgad_pipeline.config.roles import STUDENTS
from lgad_pipeline.config.splits import SCENARIOS, SPLITS
from resources.mlflow.resource import MlflowTracking
from resources.paths import ProjectPaths, fetch_shards
from resources.progress import ProgressLog
from resources.project import Project
from resources.provenance import git_commit


class ReportConfig(dg.Config):
    """What stands in the report."""

    note: str = Field(default="", description="A sentence for the head of the page, such as why it was made.")
    pictures: int = Field(
        default=10, ge=2, le=60, description="Test frames that are drawn with annotated and found lanes."
    )


@dg.asset(
    group_name="registry",
    kinds={"html"},
    owners=OWNERS,
    partitions_def=GRID,
    automation_condition=AFTER_DATA,
    deps=[
        frames,
        shards,
        teacher,
        student_alone,
        student_lgad,
        predictions,
        lane_scores,
        registered_model,
    ],
    code_version=code_fingerprint("assets.report:gather", "assets.presentation.report_page:render"),
    description="""One self-contained HTML file: scores per scenario of both students, test frames with
annotated and found lanes, attention of teacher and students side by side, loss curves, data facts, the
registered version, and what it takes to make it again.""",
)
def report(
    context: dg.AssetExecutionContext,
    config: ReportConfig,
    project: Project,
    mlflow: MlflowTracking,
    progress: ProgressLog,
) -> dg.MaterializeResult:
    """The HTML report."""
    from hashlib import blake2b

    dataset, recipe = dataset_and_recipe(context)
    paths = project.paths(dataset, recipe)
    with progress.task(context.log, "writing the report"):
        version = latest(context.instance, registered_model, dataset, recipe)
        assert version is not None  # it is made before
        content = gather(project, mlflow, dataset, recipe, version[0].metadata, context.run.run_id, config)
        html = render(content)
        files.write_text(paths.report, html)
    mlflow.add_file(paths.student_lgad, html.encode(), "report.html")
    return materialize_result(
        context,
        project,
        blake2b(html.encode(), digest_size=16).hexdigest(),
        {
            "report": dg.MetadataValue.path(paths.report),
            "open in MLflow": metadata.page(mlflow, mlflow.file_page(paths.student_lgad, "report.html")),
            "size (MB)": round(len(html) / 1e6, 2),
            "F1 by scenario": metadata.table(compare(paths).table()),
        },
    )


def gather(
    project: Project,
    mlflow: MlflowTracking,
    dataset: str,
    recipe: str,
    version: Mapping[str, dg.MetadataValue],
    run_id: str,
    config: ReportConfig,
) -> Report:
    """Everything that the page shows."""
    import pandas as pd

    from assets.networks import loss_curve
    from assets.presentation.pictures import prediction_pictures, training_record
    from lgad_pipeline.data import frame_table as tables

    paths = project.paths(dataset, recipe)
    comparison = compare(paths)
    table = tables.read_table(paths.frames)
    lanes = table["lanes"].map(len)
    trained_first = project.recipe(recipe).trains_teacher_first
    roles = (*(("teacher",) if trained_first else ()), *STUDENTS)
    histories = {
        role: pd.read_parquet(paths.network(role) / "history.parquet").set_index("step") for role in roles
    }
    records = {role: training_record(paths.network(role)) for role in roles}
    scenarios = table.loc[table["split"] == "test", "scenario"].dropna()
    curves = {
        "loss of the students": {role: loss_curve(histories[role]) for role in STUDENTS},
        "attention loss (LGAD)": {"student_lgad": loss_curve(histories["student_lgad"], "train/attention")},
        "lane IoU of the students, validation": {
            role: loss_curve(histories[role], "val/miou") for role in STUDENTS
        },
        **({"loss of the teacher": {"teacher": loss_curve(histories["teacher"])}} if trained_first else {}),
    }
    return Report(
        dataset=dataset,
        recipe=recipe,
        note=config.note,
        made=datetime.datetime.now().strftime("%-d %B %Y, %H:%M"),
        scores=comparison.rows,
        gain=comparison.gain,
        model=str(version["model"].value),
        version=str(version["version"].value),
        decision=str(version["decision"].value),
        champion="champion" in str(version["alias"].value),
        samples=[
            Picture(image, caption)
            for caption, image in prediction_pictures(paths, "student_lgad", config.pictures)
        ],
        attention=attention_rows(project, paths),
        curves=curves,
        data_counts={
            split: {
                "frames": int((table["split"] == split).sum()),
                "lanes": int(lanes[table["split"] == split].sum()),
            }
            for split in SPLITS
        },
        scenario_counts={
            name: int((scenarios == name).sum()) for name in SCENARIOS if (scenarios == name).any()
        },
        rejected=len(tables.read_table(paths.rejected)),
        facts={
            "tracking": mlflow.address,
            "data fingerprint": records["student_lgad"]["shards"],
            "training fingerprint": records["student_lgad"]["fingerprint"],
            "commit": git_commit(),
            "network": "{0.name}, width {0.width:g}".format(project.recipe(recipe).network),
            "image size": " x ".join(str(side) for side in reversed(project.dataset(dataset).image_size))
            + " px",
            "minutes of training": ", ".join(
                f"{NETWORK_NAMES[role]} {record['seconds'] / 60:.1f}" for role, record in records.items()
            ),
        },
        links={
            "Dagster run": f"{mlflow.dagster_ui}/runs/{run_id}",
            **{
                f"MLflow, {NETWORK_NAMES[role]}": url
                for role in roles
                if (url := mlflow.run_url(paths.network(role)))
            },
            "MLflow, registered version": mlflow.version_url(
                str(version["model"].value), str(version["version"].value)
            ),
        },
    )


def attention_rows(project: Project, paths: ProjectPaths) -> list[AttentionRow]:
    """Attention of teacher and students on two test frames, a row for each mimicking path.

    A teacher that is trained together with the student is not kept and has no picture.
    """
    from assets.presentation.pictures import by_scenario, compared_layers, look
    from lgad_pipeline.data.shards import ShardSet
    from lgad_pipeline.visualization.overlays import draw_attention, enlarged

    shard_set, recipe = ShardSet.open(fetch_shards(paths)), project.recipe(paths.recipe)
    split = shard_set["test"]
    layers = compared_layers(recipe, shard_set.view.image_size)
    students = [path.student for path in layers]
    rows = []
    candidates = (split[index] for index in by_scenario(split.table["scenario"].tolist(), 9))
    for sample in itertools.islice((sample for sample in candidates if sample.label.any()), 2):
        maps = {student: look(paths.network(student), sample, students)[1] for student in STUDENTS}
        if recipe.trains_teacher_first:
            maps["teacher"] = look(paths.teacher, sample, [path.teacher for path in layers])[1]
        image = enlarged(sample.image, 420)
        for path in layers:
            heat = {
                role: Picture(
                    draw_attention(image, found[path.teacher if role == "teacher" else path.student]),
                    NETWORK_NAMES[role],
                )
                for role, found in maps.items()
            }
            label = path.student if path.student == path.teacher else f"{path.teacher} → {path.student}"
            rows.append(
                AttentionRow(
                    label,
                    Picture(image, sample.scenario or "frame"),
                    heat.get("teacher"),
                    heat["student_alone"],
                    heat["student_lgad"],
                )
            )
    return rows
