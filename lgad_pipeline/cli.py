"""`lgad ...`: the method without the orchestra."""

import sys

import typer

from lgad_pipeline.data.commands import import_data
from lgad_pipeline.errors import LgadError
from lgad_pipeline.evaluation import commands as geometry
from lgad_pipeline.inference.commands import predict
from lgad_pipeline.study.commands import gain

app = typer.Typer(
    help="Lane geometry, evaluation, inference and studies.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
app.command("import")(import_data)
app.command("predict")(predict)
app.command("gain")(gain)
app.command("evaluate")(geometry.evaluate)
app.command("rasterize")(geometry.rasterize)
app.command("evaluate-tusimple")(geometry.evaluate_tusimple)
app.command("export-tusimple")(geometry.export_tusimple)


def main() -> None:
    """Run the command line; a mistake that the user can mend is one sentence and exit code 2."""
    try:
        app()
    except LgadError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
