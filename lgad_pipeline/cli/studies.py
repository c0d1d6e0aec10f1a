"""`lgad gain`: a study of paired trainings that measures the gain of distillation.

Modules that load torch are imported inside the function, so that the other commands start quickly.
"""

from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console
from rich.markdown import Markdown

from lgad_pipeline.console import say
from lgad_pipeline.settings import Settings, settings_path


def gain(
    study: Annotated[Path, typer.Argument(help="YAML file of the study: data set, recipes, methods, seeds.")],
    output: Annotated[Path, typer.Option(help="Directory of the study; a stopped one is resumed.")],
    workers: Annotated[
        int, typer.Option(min=1, help="Number of processes; on GPUs, at most one per GPU trains at a time.")
    ] = 1,
    device: Annotated[Literal["auto", "cpu", "cuda"], typer.Option(help="Device of the trainings.")] = "auto",
    settings: Annotated[
        Path | None, typer.Option(help="File of data sets and recipes; default: lgad.yaml.")
    ] = None,
) -> None:
    """Train teachers and paired students, score them on the test split, and report the gain."""
    from lgad_pipeline.inference.predictor import check_device
    from lgad_pipeline.studies.config import GainStudy
    from lgad_pipeline.studies.data import prepare_data
    from lgad_pipeline.studies.result import markdown
    from lgad_pipeline.studies.run import distillation_gain

    if device != "auto":
        check_device(device)
    chosen = GainStudy.load(study)
    known = Settings.load(settings or settings_path())
    dataset = known.dataset(chosen.dataset)
    recipes = {name: known.recipe(name) for name in chosen.recipes}
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
        progress=say,
    )
    Console().print(Markdown(markdown(result)))
    say(f"tables and pictures: {output}")
