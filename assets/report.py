"""Asset of the report: one self-contained HTML file; one partition per recipe and data set."""

import datetime
import itertools
from collections.abc import Iterator, Mapping
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

import dagster as dg
from pydantic import Field

from assets.automation import AFTER_DATA
from assets.data import OWNERS, frames, shards
from assets.evaluation import lane_scores, predictions
from assets.freshness import inputs_at_start, latest_materialization, materialize_result
from assets.keys import PREFIX
from assets.networks import mimicking_paths_of, student_alone, student_lgad, teacher
from assets.partitions import GRID, dataset_and_recipe
from assets.presentation.data_metadata import split_counts
from assets.presentation.mlflow_links import page_link
from assets.presentation.report_page import AttentionRow, Picture, Report, render
from assets.presentation.score_charts import F1_CHART
from assets.presentation.score_metadata import scenario_table
from assets.presentation.svg_charts import NETWORK_NAMES
from assets.presentation.training_metadata import metric_curve
from assets.registry import registered_model
from assets.run_records import training_record
from lgad_pipeline.atomic_files import write_text
from lgad_pipeline.code_fingerprint import code_fingerprint
from lgad_pipeline.config.roles import ROLES, STUDENTS
from lgad_pipeline.config.splits import SCENARIOS
from resources.mlflow.resource import MlflowTracking
from resources.paths import ProjectPaths, open_shards
from resources.progress import ProgressLog
from resources.project import Project
from resources.provenance import git_commit
from resources.state_store import DATA_RESULTS, fetch_results

if TYPE_CHECKING:
    from lgad_pipeline.data.shards import ShardSet
    from lgad_pipeline.settings import Recipe


class ReportConfig(dg.Config):
    """Options of the report."""

    note: str = Field(default="", description="Sentence at the top of the page, for example its purpose.")
    pictures: int = Field(
        default=10, ge=2, le=60, description="Number of test frames drawn with annotated and predicted lanes."
    )


@dg.asset(
    key_prefix=PREFIX,
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
    code_version=code_fingerprint("assets.report:report_content", "assets.presentation.report_page:render"),
    description="""One self-contained HTML file: scores of both students per scenario, test frames with
annotated and predicted lanes, attention maps of teacher and students, loss curves, counts of the data, the
registered version, and what is needed to reproduce the results.""",
)
def report(
    context: dg.AssetExecutionContext,
    config: ReportConfig,
    project: Project,
    mlflow: MlflowTracking,
    progress: ProgressLog,
) -> dg.MaterializeResult:
    """Write the HTML report."""
    from lgad_pipeline.evaluation.student_scores import read_comparison

    inputs = inputs_at_start(context, project)
    paths = project.paths(*dataset_and_recipe(context))
    roles = _stored_roles(project.recipe(paths.recipe))
    fetch_results(paths, *DATA_RESULTS, *roles, "predictions", "lane_scores")
    version = latest_materialization(
        context.instance, registered_model.key, partition=str(context.partition_key)
    )
    assert version is not None  # Dagster materializes the dependency first.
    registered, run_id = version.materialization.metadata, context.run.run_id
    with progress.task(context.log, "writing the report"):
        content = report_content(
            project,
            paths,
            config=config,
            version=registered,
            tracking=mlflow.address,
            links=_links(mlflow, paths, project.recipe(paths.recipe), registered, run_id),
        )
        html = render(content)
        write_text(paths.report, html)
    mlflow.add_file(paths.student_lgad, html.encode(), "report.html")
    return materialize_result(
        context,
        project,
        inputs=inputs,
        data_version=blake2b(html.encode(), digest_size=16).hexdigest(),
        metadata={
            "report": dg.MetadataValue.path(paths.report),
            "open in MLflow": page_link(mlflow, mlflow.file_page(paths.student_lgad, "report.html")),
            "size (MB)": round(len(html) / 1e6, 2),
            F1_CHART: scenario_table(read_comparison(paths.lane_scores)),
        },
    )


def report_content(
    project: Project,
    paths: ProjectPaths,
    *,
    config: ReportConfig,
    version: Mapping[str, dg.MetadataValue],
    tracking: str,
    links: Mapping[str, str],
) -> Report:
    """Collect the content of the page.

    Args:
        project: settings of the project.
        paths: paths of the results.
        config: options of the report.
        version: metadata of the registered version.
        tracking: address of the MLflow store.
        links: addresses by name.
    """
    from assets.presentation.pictures import prediction_pictures
    from lgad_pipeline.data import frame_table as tables
    from lgad_pipeline.evaluation.student_scores import read_comparison

    dataset, recipe = project.dataset(paths.dataset), project.recipe(paths.recipe)
    comparison = read_comparison(paths.lane_scores)
    packed = open_shards(paths)
    table = tables.read_table(paths.frames)
    scenarios = table.loc[table["split"] == "test", "scenario"].dropna()
    records = {role: training_record(paths.network(role)) for role in _stored_roles(recipe)}
    pictures = prediction_pictures(
        paths.student_lgad,
        packed["test"],
        recordings=paths.recordings,
        annotations=paths.annotations,
        wanted=config.pictures,
    )
    return Report(
        dataset=paths.dataset,
        recipe=paths.recipe,
        note=config.note,
        slots=dataset.slots,
        date=datetime.datetime.now().strftime("%-d %B %Y, %H:%M"),
        scores=comparison.rows,
        gain=comparison.gain,
        model=str(version["model"].value),
        version=str(version["version"].value),
        decision=str(version["decision"].value),
        champion="champion" in str(version["alias"].value),
        samples=[Picture(image, caption) for caption, image in pictures],
        attention=list(attention_rows(recipe, paths, shards=packed)),
        curves=_curves(recipe, paths),
        data_counts=split_counts(table),
        scenario_counts={
            name: int((scenarios == name).sum()) for name in SCENARIOS if (scenarios == name).any()
        },
        rejected=len(tables.read_table(paths.rejected)),
        facts={
            "tracking": tracking,
            "data fingerprint": records["student_lgad"]["shards"],
            "training fingerprint": records["student_lgad"]["fingerprint"],
            "commit": git_commit(),
            "network": f"{recipe.network.name}, width {recipe.network.width:g}",
            "image size": "{1} x {0} px".format(*dataset.image_size),
            "minutes of training": ", ".join(
                f"{NETWORK_NAMES[role]} {record['seconds'] / 60:.1f}" for role, record in records.items()
            ),
        },
        links=links,
    )


def _stored_roles(recipe: "Recipe") -> tuple[str, ...]:
    """List the networks that a recipe stores: a teacher trained together with the student is not stored."""
    return ROLES if recipe.trains_teacher_first else STUDENTS


def _links(
    mlflow: MlflowTracking,
    paths: ProjectPaths,
    recipe: "Recipe",
    version: Mapping[str, dg.MetadataValue],
    run_id: str,
) -> dict[str, str]:
    runs = {
        f"MLflow, {NETWORK_NAMES[role]}": mlflow.run_url(paths.network(role))
        for role in _stored_roles(recipe)
    }
    return {
        "Dagster run": f"{mlflow.dagster_ui}/runs/{run_id}",
        **{name: url for name, url in runs.items() if url},
        "MLflow, registered version": mlflow.version_url(
            str(version["model"].value), str(version["version"].value)
        ),
    }


def _curves(recipe: "Recipe", paths: ProjectPaths) -> dict[str, dict[str, Any]]:
    """Read the training curves of the page: chart title -> network -> steps and values."""
    import pandas as pd

    histories = {
        role: pd.read_parquet(paths.network(role) / "history.parquet").set_index("step")
        for role in _stored_roles(recipe)
    }
    curves = {
        "loss of the students": {role: metric_curve(histories[role]) for role in STUDENTS},
        "attention loss (LGAD)": {"student_lgad": metric_curve(histories["student_lgad"], "train/attention")},
        "lane IoU of the students, validation": {
            role: metric_curve(histories[role], "val/miou") for role in STUDENTS
        },
    }
    if "teacher" in histories:
        curves["loss of the teacher"] = {"teacher": metric_curve(histories["teacher"])}
    return curves


def attention_rows(recipe: "Recipe", paths: ProjectPaths, *, shards: "ShardSet") -> Iterator[AttentionRow]:
    """Draw the attention of the stored networks on two test frames, a row for each mimicking path."""
    from assets.presentation.pictures import indices_by_scenario, label_map_and_attention
    from lgad_pipeline.visualization.overlays import draw_attention, enlarged

    split = shards["test"]
    mimicking_paths = mimicking_paths_of(recipe, shards.view.image_size)
    layers = {
        role: [path.teacher if role == "teacher" else path.student for path in mimicking_paths]
        for role in _stored_roles(recipe)
    }
    candidates = (split[index] for index in indices_by_scenario(split.table["scenario"].tolist(), 9))
    for sample in itertools.islice((sample for sample in candidates if sample.label.any()), 2):
        maps = {
            role: label_map_and_attention(paths.network(role), sample, layers=names)[1]
            for role, names in layers.items()
        }
        image = enlarged(sample.image, 420)
        for index, path in enumerate(mimicking_paths):
            pictures = {
                role: Picture(draw_attention(image, maps[role][names[index]]), NETWORK_NAMES[role])
                for role, names in layers.items()
            }
            yield AttentionRow(
                path=path.student if path.student == path.teacher else f"{path.teacher} → {path.student}",
                frame=Picture(image, sample.scenario or "frame"),
                teacher=pictures.get("teacher"),
                alone=pictures["student_alone"],
                lgad=pictures["student_lgad"],
            )
