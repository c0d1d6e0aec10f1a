"""`lgad gain`, `lgad search` and `lgad screen`: paired trainings, search for settings, gradients beforehand.

Modules that load torch are imported inside the function, so that the other commands start quickly.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.console import Console
from rich.markdown import Markdown
from rich.table import Table

from lgad_pipeline.atomic_files import require_writable
from lgad_pipeline.console import say
from lgad_pipeline.settings import Settings, settings_path

if TYPE_CHECKING:
    from lgad_pipeline.studies.screening import Screened

TrainingDevice = Annotated[Literal["auto", "cpu", "cuda"], typer.Option(help="Device of the trainings.")]
SettingsFile = Annotated[Path | None, typer.Option(help="File of data sets and recipes; default: lgad.yaml.")]


def gain(
    study: Annotated[Path, typer.Argument(help="YAML file of the study: data set, recipes, methods, seeds.")],
    output: Annotated[Path, typer.Option(help="Directory of the study; a stopped one is resumed.")],
    workers: Annotated[
        int,
        typer.Option(
            min=1,
            help="Number of processes; LGAD_TRAININGS_PER_GPU of them (default: 1) train on a GPU at a time.",
        ),
    ] = 1,
    device: TrainingDevice = "auto",
    report: Annotated[
        bool, typer.Option("--report", help="Train nothing; compare the students that are finished.")
    ] = False,
    settings: SettingsFile = None,
) -> None:
    """Train teachers and paired students, score them on the test split, and report the gain."""
    from lgad_pipeline.networks.device import check_device
    from lgad_pipeline.studies.config import GainStudy
    from lgad_pipeline.studies.data import prepare_data
    from lgad_pipeline.studies.plan import plan, require_initial_weights
    from lgad_pipeline.studies.report import markdown
    from lgad_pipeline.studies.run import distillation_gain, finished_students

    if device != "auto":
        check_device(device)
    chosen = GainStudy.load(study)
    known = Settings.load(settings or settings_path())
    dataset = known.dataset(chosen.dataset)
    recipes = {name: known.recipe(name) for name in chosen.recipes}
    chosen.require_effects(study.name, recipes.values())
    runs = plan(chosen, recipes, output=output)  # an error before any data are rendered
    if report:
        finished_students(chosen, recipes, output=output)  # an error before any data are rendered
    else:
        require_initial_weights(run.training.recipe for run in runs)
    shards, recordings = prepare_data(dataset, output / "data", workers=workers, progress=say)
    result = distillation_gain(
        chosen,
        dataset=dataset,
        recipes=recipes,
        shards=shards,
        recordings=recordings,
        output=output,
        workers=workers,
        device=device,
        only_report=report,
        progress=say,
    )
    Console().print(Markdown(markdown(result)))
    say(f"tables and pictures: {output}")


def search(
    study: Annotated[Path, typer.Argument(help="YAML file of the search: data set, recipe, keys, trials.")],
    output: Annotated[Path, typer.Option(help="Directory of the search; a stopped one is resumed.")],
    workers: Annotated[int, typer.Option(min=1, help="Number of trials at a time.")] = 1,
    device: TrainingDevice = "auto",
    settings: SettingsFile = None,
) -> None:
    """Search for the recipe settings with the highest F1 on validation frames; test frames are not used."""
    from lgad_pipeline.networks.device import check_device
    from lgad_pipeline.studies.data import prepare_data
    from lgad_pipeline.studies.plan import require_initial_weights
    from lgad_pipeline.studies.search import TRIALS
    from lgad_pipeline.studies.search import search as run_search
    from lgad_pipeline.studies.search_config import SearchStudy
    from lgad_pipeline.studies.trainings import StudyInputs

    if device != "auto":
        check_device(device)
    chosen = SearchStudy.load(study)
    known = Settings.load(settings or settings_path())
    dataset, recipe = known.dataset(chosen.dataset), known.recipe(chosen.recipe)
    require_initial_weights([recipe])
    shards, recordings = prepare_data(dataset, output / "data", workers=workers, progress=say)
    result = run_search(
        chosen,
        recipe=recipe,
        inputs=StudyInputs(dataset, shards, recordings, device),
        output=output,
        workers=workers,
        progress=say,
    )
    table = Table(*map(str, result.trials.columns))
    for row in result.trials.head(5).itertuples(index=False):
        table.add_row(*(f"{value:.4g}" if isinstance(value, float) else str(value) for value in row))
    Console().print(table)
    if result.failed:
        say(f"{result.failed} trials failed; their reasons are printed above.")
    say(f"all trials: {output / TRIALS}; best recipe: {result.best}")


def screen(
    students: Annotated[
        list[Path], typer.Argument(help="Directories of trained students, for instance those of a study.")
    ],
    study: Annotated[Path, typer.Option(help="YAML file of a study: its methods and variants are screened.")],
    shards: Annotated[Path, typer.Option(help="Directory of the packed data set.")],
    teacher: Annotated[
        Path | None, typer.Option(help="Directory of a trained teacher, for the settings with LGAD.")
    ] = None,
    setting: Annotated[
        list[str] | None, typer.Option(help="Method or variant of the study to screen; default: all.")
    ] = None,
    recipe: Annotated[
        str | None, typer.Option(help="Recipe that the variants change; default: the study's first.")
    ] = None,
    batches: Annotated[int, typer.Option(min=1, help="Number of training batches to average over.")] = 8,
    device: Annotated[str, typer.Option(help="Device: cpu, cuda or auto.")] = "auto",
    json: Annotated[Path | None, typer.Option(help="JSON file to write the results to.")] = None,
    settings: SettingsFile = None,
) -> None:
    """Compare the gradients of loss settings with that of the labels, at trained students.

    For each setting: the norm of its gradient relative to that of the labels, with the weight 1, and the
    cosine with the gradient of the labels on held-out frames. A negative cosine works against the labels.
    """
    from lgad_pipeline.studies.config import GainStudy
    from lgad_pipeline.studies.screening import screen as screened
    from lgad_pipeline.studies.screening import write_screening
    from lgad_pipeline.training.device import resolve_device

    chosen = GainStudy.load(study)
    if json is not None:
        require_writable(json)
    known = Settings.load(settings or settings_path()).recipe(recipe or chosen.recipes[0])
    chosen.require_effects(study.name, [known])
    rows: list[Screened] = []
    for student in students:
        measured = screened(
            student,
            chosen,
            recipe=known,
            shards=shards,
            teacher=teacher,
            settings=setting or (),
            batches=batches,
            device=resolve_device(device),
        )
        Console().print(_screening_table(str(student), measured))
        rows += measured
    if json is not None:
        write_screening(rows, json)
        say(f"results: {json}")


def _screening_table(title: str, rows: "list[Screened]") -> Table:
    caption = (
        "ratio: norm of the gradient, with the weight 1, over that of the labels; "
        "cosine: with the gradient of the labels on held-out frames; "
        "correlation: of the student's attention maps with those of the teacher or control"
    )
    table = Table(title=title, title_justify="left", caption=caption, caption_justify="left")
    for column in ("setting", "loss", "layers"):
        table.add_column(column, overflow="fold")
    for column in ("value", "ratio", "cosine", "correlation"):
        table.add_column(column, justify="right")
    for row in rows:
        correlation = "-" if row.correlation is None else f"{row.correlation:+.2f}"
        numbers = (f"{row.value:.3f}", f"{row.ratio:.2f}", f"{row.cosine:+.2f}", correlation)
        table.add_row(row.setting, row.loss, row.layers, *numbers)
    return table
