"""Cost of the orchestration: the chain through Dagster over the same library calls made directly.

    python benchmarks/overhead.py [--student-steps 400]

Both sides render, ingest, label, pack, train a teacher and two students, predict and score, on the demo's
settings, each in a process of its own: twice the demo's time. The side of Dagster is the demo:
besides, it checks, draws pictures, logs to MLflow, registers the student and writes the report; all of that
counts as its cost. That cost hardly depends on the number of steps, so it is printed in seconds, too.
Processor time is steadier than wall time where the machine is shared.
"""

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated

import typer
import yaml

ROOT = Path(__file__).parents[1]


def main(
    student_steps: Annotated[
        int | None,
        typer.Option(help="Steps of each student, instead of the demo's; its schedules are shortened."),
    ] = None,
    side: Annotated[str, typer.Option(hidden=True)] = "",
) -> None:
    """Time both sides and print their ratio."""
    if side:
        started = time.monotonic()
        {"directly": directly, "through Dagster": through_dagster}[side]()
        used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
        seconds = time.monotonic() - started, sum(usage.ru_utime + usage.ru_stime for usage in used)
        Path("seconds.json").write_text(json.dumps(seconds))
        return
    settings = yaml.safe_load((ROOT / "lgad.yaml").read_text(encoding="utf-8"))
    settings["datasets"] = {"synthetic": settings["datasets"]["synthetic"]}
    settings["recipes"] = {"enet": settings["recipes"]["enet"]}
    if student_steps:
        recipe = settings["recipes"]["enet"]
        share = student_steps / recipe["student"]["steps"]
        recipe["student"]["steps"] = student_steps
        for part, key in (
            (recipe["student"]["optimizer"], "warmup_steps"),
            (recipe["distillation"], "stop_step"),
        ):
            part[key] = max(1, round(share * part[key]))
    found = {}
    for name in ("directly", "through Dagster"):
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / "lgad.yaml").write_text(yaml.safe_dump(settings))
            (Path(folder) / "dagster.yaml").write_text((ROOT / "dagster.yaml").read_text())
            environment = {**os.environ, "PYTHONPATH": str(ROOT), "DAGSTER_HOME": folder}
            environment |= {"LGAD_SETTINGS": f"{folder}/lgad.yaml", "LGAD_STATE": f"{folder}/state"}
            environment.pop("MLFLOW_TRACKING_URI", None)
            environment["OMP_WAIT_POLICY"] = "PASSIVE"  # as of the command line: waiting threads use no time
            subprocess.run(
                [sys.executable, __file__, "--side", name], cwd=folder, env=environment, check=True
            )
            found[name] = json.loads((Path(folder) / "seconds.json").read_text())
        print(f"{name:16} {found[name][0]:7.1f} s wall {found[name][1]:7.1f} s of processor", flush=True)
    for index, kind in enumerate(("wall", "processor")):
        direct, dagster = found["directly"][index], found["through Dagster"][index]
        print(f"{kind:16} {dagster / direct:7.2f} times, {dagster - direct:.1f} s more")


def directly() -> None:
    """Return the library calls alone."""
    from lgad_pipeline.config.roles import STUDENTS
    from lgad_pipeline.data import frame_table as tables
    from lgad_pipeline.data import lane_labels as labels
    from lgad_pipeline.data.frame_schema import FRAMES_SCHEMA
    from lgad_pipeline.data.ingestion import ingest
    from lgad_pipeline.data.shards import ShardSet, pack_shards
    from lgad_pipeline.evaluation.bootstrap import paired_f1_difference
    from lgad_pipeline.evaluation.culane import evaluate_culane
    from lgad_pipeline.inference.predictor import write_predictor
    from lgad_pipeline.inference.split_prediction import predict_split
    from lgad_pipeline.settings import Settings, SyntheticDataset
    from lgad_pipeline.synthetic.dataset_writer import write_dataset
    from resources.project import Project
    from resources.trainer import Trainer

    settings, paths = (
        Settings.from_environment(),
        Project(file=os.environ["LGAD_SETTINGS"]).paths("synthetic", "enet"),
    )
    entry, recipe, trainer = settings.dataset("synthetic"), settings.recipe("enet"), Trainer()
    assert isinstance(entry, SyntheticDataset)
    write_dataset(paths.recordings, entry.world)
    table = ingest(paths.recordings, entry.frame_size, kind=entry.kind).frames
    tables.write_table(paths.frames, table, schema=FRAMES_SCHEMA)
    made = labels.assign_lane_slots(table, scheme=entry.slot_scheme)
    tables.write_table(paths.lane_labels, made, schema=labels.LABELS_SCHEMA)
    pack_shards(
        table, made, root=paths.recordings, output=paths.shards, view=entry.view, lane_width=entry.lane_width
    )
    packed = ShardSet.open(paths.shards)
    trainer.teacher(entry, recipe, paths, lambda metrics, step: None)
    scored = []
    for student in STUDENTS:
        teacher = paths.teacher if student == "student_lgad" else None
        trainer.student(entry, recipe, paths, lambda metrics, step: None, teacher=teacher)
        write_predictor(paths.network(student), entry.view, decode_config=recipe.decode)
        for split in ("val", "test"):
            found = paths.predictions / student / split
            predict_split(paths.network(student), packed[split], output_root=found, device=trainer.device)
            lists = tables.frames_by_scenario(packed[split].table)
            scores = evaluate_culane(
                paths.annotations, found, lists=lists, thresholds=(0.5,), frame_size=entry.frame_size
            )
        scored.append(scores.frames)
    paired_f1_difference(scored[0], scored[1], threshold=0.5)


def through_dagster() -> None:
    """Return the demo."""
    import demo

    demo.main(dataset="synthetic", recipe="enet", root="")


if __name__ == "__main__":
    typer.run(main)
