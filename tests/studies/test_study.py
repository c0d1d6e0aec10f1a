import json
import re
import shutil
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import pandas as pd
import pytest
import torch

from lgad_pipeline.cli.studies import gain
from lgad_pipeline.config.augmentation import LabelNoiseConfig
from lgad_pipeline.config.datasets import ImportedDataset
from lgad_pipeline.config.distillation import DistillationConfig
from lgad_pipeline.data.ingestion import ingest
from lgad_pipeline.data.lane_labels import assign_lane_slots
from lgad_pipeline.data.shards import ShardSet, pack_shards
from lgad_pipeline.errors import LgadError
from lgad_pipeline.process_pool import on_cluster
from lgad_pipeline.settings import CulaneDataset, Settings
from lgad_pipeline.studies.config import ComputeCost, GainStudy, StudyData, Variant
from lgad_pipeline.studies.data import prepare_data
from lgad_pipeline.studies.plan import plan, teacher_trainings
from lgad_pipeline.studies.result import _last_rise
from lgad_pipeline.studies.run import distillation_gain

SETTINGS = """
datasets:
  tiny:
    kind: synthetic
    image_size: [32, 88]
    crop_top: 240
    lane_width: 40
    world: {seed: 0, train: 3, val: 1, test: 6}
recipes:
  enet:
    network: {width: 0.25}
    teacher: {steps: 4, batch_size: 2, log_every: 2, optimizer: {warmup_steps: 1}}
    student: {steps: 4, batch_size: 2, log_every: 2, optimizer: {warmup_steps: 1}}
"""
STUDY = """
dataset: tiny
methods: [lgad]
variants:
  strong: {recipe: {distillation: {weight: 3.0}}}
  smooth: {recipe: {teacher_input: {erasing: 0.5}}}
seeds: 2
"""


def loaded(folder: Path, study: str = STUDY, losses: str = "") -> tuple[GainStudy, Settings]:
    (folder / "lgad.yaml").write_text(SETTINGS + losses)
    (folder / "study.yaml").write_text(study)
    return GainStudy.load(folder / "study.yaml"), Settings.load(folder / "lgad.yaml")


def test_a_study_from_rendering_to_its_result(tmp_path: Path) -> None:
    torch.set_num_threads(1)
    study, settings = loaded(tmp_path, STUDY.replace("seeds: 2", "seeds: 1").replace("[lgad]", "[]"))
    study = study.model_copy(update={"variants": {"strong": study.variants["strong"]}})
    dataset, recipes = settings.dataset("tiny"), {"enet": settings.recipe("enet")}
    shards, recordings = prepare_data(dataset, tmp_path / "data", workers=1)
    messages: list[str] = []

    def run(study: GainStudy, *, only_report: bool = False):
        return distillation_gain(
            study,
            dataset=dataset,
            recipes=recipes,
            shards=shards,
            recordings=recordings,
            output=tmp_path / "out",
            device="cpu",
            only_report=only_report,
            progress=messages.append,
        )

    result = run(study)
    assert messages == [
        *(f"[{n}/1] teacher {path.name}" for n, path in enumerate(_teachers(study, recipes, tmp_path), 1)),
        "[1/2] enet alone seed 0",
        "[2/2] enet strong seed 0",
    ]
    students = pd.read_parquet(tmp_path / "out" / "students.parquet")
    total = students[students["scenario"] == "total"].set_index("variant")["f1"]
    assert result.total("enet", "strong")["gain"] == pytest.approx(total["strong"] - total["alone"])
    assert set(students["scenario"]) >= {"total", "normal", "night"}
    assert {row["variant"] for row in json.loads((tmp_path / "out/gains.json").read_text())} == {"strong"}
    assert "| strong | 1 |" in (tmp_path / "out" / "gain.md").read_text()
    for name in ("forest.png", "forest.svg", "enet-curves.png", "enet-attention.png"):
        assert (tmp_path / "out" / name).stat().st_size > 1000
    weights = tmp_path / "out" / "enet" / "strong" / "seed0" / "weights.safetensors"
    before = weights.stat().st_mtime_ns
    run(study)
    assert weights.stat().st_mtime_ns == before  # reused, not trained again
    scored = weights.with_name("scored.json")
    stamp = scored.read_text()
    earlier = json.loads(stamp)
    del earlier["code"]  # of other code of prediction or metric: the student is scored again
    scored.write_text(json.dumps(earlier))
    run(study)
    assert scored.read_text() == stamp and weights.stat().st_mtime_ns == before
    with ProcessPoolExecutor(1, get_context("spawn")) as pool, on_cluster(pool.map):
        weights.unlink()
        assert run(study).total("enet", "strong")["gain"] == result.total("enet", "strong")["gain"]
    assert weights.is_file(), "trained by another process"

    # A report of an unfinished study, and LGAD against a control: here the control is a copy of the baseline.
    alone, control = (tmp_path / "out" / "enet" / name / "seed0" for name in ("alone", "equal-compute"))
    shutil.copytree(alone, control)
    free = ComputeCost(distilled_step=1, teacher_step=0)  # so that the control has as many steps
    larger = study.model_copy(update={"seeds": 3, "methods": ("equal-compute",), "compute": free})
    reported = run(larger, only_report=True)
    assert reported.notes[0] == "3 of 9 students are finished; pairs are those of finished students."
    over_other = reported.over_others.iloc[0]
    assert (over_other["variant"], over_other["other"]) == ("strong", "equal-compute")
    assert over_other["gain"] == pytest.approx(total["strong"] - total["alone"])
    assert reported.total("enet", "equal-compute")["gain"] == 0
    assert "| strong over equal-compute | 1 |" in (tmp_path / "out" / "gain.md").read_text()
    # Trained before a change of the data.
    trained = (control / "training.json").read_text()
    (control / "training.json").write_text(json.dumps({**json.loads(trained), "shards": "another"}))
    assert run(larger, only_report=True).notes[1].startswith("The students were trained on 2 different sets")
    # Trained again and killed before it was scored: the scores are those of the weights before.
    (control / "training.json").write_text(json.dumps({**json.loads(trained), "fingerprint": "another"}))
    assert run(larger, only_report=True).notes[0].startswith("2 of 9 students are finished")
    (control / "training.json").write_text(trained)
    # The student alone is not finished yet: the comparison with the control is reported.
    alone.rename(tmp_path / "later")
    unpaired = run(larger, only_report=True)
    assert unpaired.gains.empty and unpaired.over_others.iloc[0]["gain"] == over_other["gain"]
    table = (tmp_path / "out" / "gain.md").read_text()
    assert (
        "| strong over equal-compute | 1 |" in table and "| scenario | strong over equal-compute |" in table
    )
    night = unpaired.over_others.set_index("scenario").loc["night", "gain"]
    by_scenario = students[students["scenario"] == "night"].set_index("variant")["f1"]
    assert night == pytest.approx(by_scenario["strong"] - by_scenario["alone"])
    assert (tmp_path / "out" / "forest-others.png").stat().st_size > 1000
    # Damaged files: scores that belong to no training are left out, a damaged table is named.
    for damage in ("", "[]"):
        (control / "scored.json").write_text(damage)
        with pytest.raises(LgadError, match="no finished student"):
            run(larger.model_copy(update={"variants": {}, "first_seed": 0, "seeds": 1}), only_report=True)
    (tmp_path / "later").rename(alone)
    table_file = alone / "test_frames.parquet"
    table_file.write_text("cut off")
    with pytest.raises(LgadError, match=r"test_frames\.parquet is missing or damaged; delete it, and run"):
        run(study, only_report=True)
    for name in (table_file.name, "scored.json"):
        (alone / name).unlink()
        assert run(study).total("enet", "strong")["gain"] == result.total("enet", "strong")["gain"]
    alone.rename(tmp_path / "later")
    # Students that were trained with settings from before a change of the study or of the recipe.
    for variant in ({"method": "sad"}, {"recipe": {"distillation": {"weight": 0.1}}}):
        changed = study.model_copy(update={"variants": {"strong": Variant.model_validate(variant)}})
        (tmp_path / "later").rename(alone)
        notes = run(changed, only_report=True).notes
        assert notes[0].startswith("1 of 2 students are finished")
        assert notes[1] == (
            "1 student was trained with other settings than the study and its recipes have now, and left "
            "out; run the study to train them again."
        )
        alone.rename(tmp_path / "later")
    (tmp_path / "later").rename(alone)
    with pytest.raises(LgadError, match="no finished student of this study"):
        run(study.model_copy(update={"steps": 5}), only_report=True)
    nothing = study.model_copy(update={"first_seed": 7})
    with pytest.raises(LgadError, match="no finished student of this study; run the study first"):
        run(nothing, only_report=True)


def _teachers(study: GainStudy, recipes, folder: Path) -> list[Path]:
    return [
        training.folder for training in teacher_trainings(study, plan(study, recipes, output=folder / "out"))
    ]


def test_students_of_a_seed_differ_only_in_their_losses(tmp_path: Path) -> None:
    study, settings = loaded(tmp_path, STUDY.replace("[lgad]", "[lgad, sad, lgad+sad, logits]"))
    runs = plan(study, {"enet": settings.recipe("enet")}, output=tmp_path)
    assert len(runs) == 2 * 7 and [run.seed for run in runs] == [0] * 7 + [1] * 7
    for run in runs:
        assert run.training.recipe.student == runs[7 * run.seed].training.recipe.student
        assert run.training.recipe.student.seed == run.seed
        assert (run.training.teacher is not None) == (run.variant not in ("alone", "sad", "logits"))
    # lgad, lgad+sad and strong share a teacher; smooth has one that was trained on corrupted labels.
    assert sorted(training.role for training in teacher_trainings(study, runs)) == [
        "model",
        "teacher",
        "teacher",
    ]
    each = study.model_copy(update={"teachers": "per_seed"})
    assert len(teacher_trainings(each, plan(each, {"enet": settings.recipe("enet")}, output=tmp_path))) == 6


def test_the_steps_of_a_study_scale_the_schedules(tmp_path: Path) -> None:
    losses = """
    distillation: {start_step: 1, warmup_steps: 1, stop_step: 4, decay: true}
    sad: {start_step: 2}
    logits: {start_step: 3, stop_step: 4}
"""
    study, settings = loaded(tmp_path, STUDY.replace("[lgad]", "[lgad, sad, logits]") + "steps: 10\n", losses)
    recipe = plan(study, {"enet": settings.recipe("enet")}, output=tmp_path)[0].training.recipe
    assert recipe.student.steps == 10 and recipe.teacher.steps == 4
    lgad = recipe.distillation
    assert (lgad.start_step, lgad.warmup_steps, lgad.stop_step) == (2, 2, 10)  # 2.5 to the even number
    assert recipe.sad.start_step == 5 and recipe.sad.stop_step is None
    assert (recipe.logits.start_step, recipe.logits.stop_step) == (8, 10)
    longer = study.model_copy(update={"variants": {"longer": Variant(method="sad", steps=20)}})
    students = {
        run.variant: run.training.recipe
        for run in plan(longer, {"enet": settings.recipe("enet")}, output=tmp_path)
    }
    assert (students["longer"].student.steps, students["sad"].student.steps) == (20, 10)
    assert students["longer"].distillation.stop_step == 20  # a variant's steps come first
    short = study.model_copy(update={"steps": 2})
    logits = plan(short, {"enet": settings.recipe("enet")}, output=tmp_path)[0].training.recipe.logits
    assert (logits.start_step, logits.stop_step) == (1, 2)  # within the steps, and one step at least


def test_equal_compute_counts_the_teacher_and_the_distilled_steps(tmp_path: Path) -> None:
    cost = ComputeCost(distilled_step=1.25, teacher_step=0.5)
    study, settings = loaded(tmp_path, STUDY.replace("[lgad]", "[equal-compute]"))
    recipe = settings.recipe("enet")
    student = recipe.student.model_copy(update={"steps": 600, "batch_size": 16})
    teacher = recipe.teacher.model_copy(update={"steps": 400, "batch_size": 8})

    def steps(**distillation: object) -> int:
        lgad = recipe.distillation.model_copy(update=distillation)
        update = {"student": student, "teacher": teacher, "distillation": lgad}
        return cost.equal_steps(recipe.model_copy(update=update))

    assert steps() == 600 + 0.25 * 600 + 0.5 * 400 * 8 / 16
    assert steps(start_step=200, stop_step=400) == 600 + 0.25 * 200 + 0.5 * 400 * 8 / 16
    assert steps(teacher="together") == 600 + 0.25 * 600 + 0.5 * 600
    runs = plan(study, {"enet": recipe}, output=tmp_path)
    longer = [run.training.recipe.student.steps for run in runs if run.variant == "equal-compute"]
    assert longer == [round(4 + 0.3 * 4 + 4)] * 2
    assert {run.training.recipe.student.steps for run in runs if run.variant != "equal-compute"} == {4}


def test_the_controls_run_in_the_harness_on_noisy_labels(tmp_path: Path) -> None:
    torch.set_num_threads(1)
    study, settings = loaded(
        tmp_path,
        "dataset: tiny\nmethods: [blurred, label-head, equal-compute]\nseeds: 1\n"
        "data: {label_noise: {drop: 0.3, shift: 0.02}}\n",
    )
    dataset, recipes = settings.dataset("tiny"), {"enet": settings.recipe("enet")}
    shards, recordings = prepare_data(dataset, tmp_path / "data", workers=1)
    out = tmp_path / "out"
    result = distillation_gain(
        study,
        dataset=dataset,
        recipes=recipes,
        shards=shards,
        recordings=recordings,
        output=out,
        device="cpu",
    )
    assert not (out / "enet" / "teachers").exists()  # no control has a teacher network
    assert set(result.gains["variant"]) == {"blurred", "label-head", "equal-compute"}
    assert result.notes[0] == "enet, equal-compute: 9 steps where the others have 4, 2.25 times as many."
    assert result.notes[1].startswith("enet: the students alone are ")
    assert result.notes[0] in (out / "gain.md").read_text()
    files = {
        name: {path.name for path in (out / "enet" / name / "seed0").iterdir()}
        for name in ("alone", "blurred", "label-head", "equal-compute")
    }
    assert all(names == files["alone"] for names in files.values())


def test_teachers_of_noisy_labels_have_other_folders(tmp_path: Path) -> None:
    study, settings = loaded(tmp_path)
    noisy = study.model_copy(update={"data": StudyData(label_noise=LabelNoiseConfig(drop=0.3))})
    recipes = {"enet": settings.recipe("enet")}
    assert not set(_teachers(study, recipes, tmp_path)) & set(_teachers(noisy, recipes, tmp_path))


def test_a_data_set_on_disk_is_packed_again_after_a_change(tmp_path: Path) -> None:
    _, settings = loaded(tmp_path)
    _, root = prepare_data(settings.dataset("tiny"), tmp_path / "rendered", workers=1)
    entry = {"kind": "culane", "root": str(root), "image_size": [32, 88], "crop_top": 240, "lane_width": 40}
    dataset = CulaneDataset.model_validate(entry)
    messages: list[str] = []

    def fingerprint() -> str:
        shards, _ = prepare_data(dataset, tmp_path / "data", workers=1, progress=messages.append)
        return ShardSet.open(shards).fingerprint

    before = fingerprint()
    assert fingerprint() == before and messages == ["packing training shards"]
    lanes = next(path for path in sorted(root.rglob("*.lines.txt")) if path.stat().st_size)
    lanes.write_text("")
    assert fingerprint() != before and len(messages) == 2


def test_rendered_data_are_prepared_again_by_other_code_or_without_their_shards(tmp_path: Path) -> None:
    _, settings = loaded(tmp_path)
    messages: list[str] = []

    def prepared() -> Path:
        dataset = settings.dataset("tiny")
        return prepare_data(dataset, tmp_path / "data", workers=1, progress=messages.append)[0]

    shards = prepared()
    before = ShardSet.open(shards).fingerprint
    assert prepared() == shards and len(messages) == 2
    packed = shards.with_name("packed")
    stamp = packed.read_text()
    packed.write_text(json.dumps({**json.loads(stamp), "code": "another"}))
    assert prepared() == shards and len(messages) == 4 and packed.read_text() == stamp
    shutil.rmtree(shards)
    assert ShardSet.open(prepared()).fingerprint == before and len(messages) == 6


def test_data_are_prepared_again_after_a_change_of_a_users_reader(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, settings = loaded(tmp_path)
    _, root = prepare_data(settings.dataset("tiny"), tmp_path / "rendered", workers=1)
    reader = tmp_path / "drives_reader.py"
    reader.write_text("from lgad_pipeline.datasets.culane import list_frames, parse_annotation\nLANES = 4\n")
    reader.write_text(reader.read_text() + "READER = __import__('sys').modules[__name__]\n")
    monkeypatch.syspath_prepend(tmp_path)
    entry = {"kind": "drives_reader:READER", "root": str(root), "frame_size": [590, 1640], "crop_top": 240}
    dataset = ImportedDataset.model_validate({**entry, "image_size": [32, 88], "lane_width": 40})
    messages: list[str] = []
    for lanes, times in (("4", 1), ("4", 1), ("2", 2)):
        reader.write_text(reader.read_text().replace("LANES = 4", f"LANES = {lanes}"))
        prepare_data(dataset, tmp_path / "data", workers=1, progress=messages.append)
        assert messages == ["packing training shards"] * times


def test_a_study_without_test_frames_raises_an_error_before_its_trainings(tmp_path: Path) -> None:
    study, settings = loaded(tmp_path)
    dataset, recipes = settings.dataset("tiny"), {"enet": settings.recipe("enet")}
    _, recordings = prepare_data(dataset, tmp_path / "data", workers=1)
    list_file = recordings / "list" / "test.txt"
    lines = [line.split()[0].lstrip("/") for line in list_file.read_text().splitlines()]
    frames = ingest(recordings, dataset.frame_size).frames
    frames = frames[~frames["frame"].isin(lines)].reset_index(drop=True)
    view = dataset.view
    pack_shards(
        frames,
        assign_lane_slots(frames),
        root=recordings,
        output=tmp_path / "no-test",
        view=view,
        lane_width=dataset.lane_width,
    )
    with pytest.raises(LgadError, match="no split 'test'"):
        distillation_gain(
            study,
            dataset=dataset,
            recipes=recipes,
            shards=tmp_path / "no-test",
            recordings=recordings,
            output=tmp_path / "out",
        )
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("study", "sentence"),
    [
        ("variants: {lgad: {}}", "rename them"),
        (
            "variants: {x: {recipe: {student: {steps: 3}}}}",
            "variants.x.recipe.student is not a known key; the keys here are .distillation",
        ),
        ("seed: 3", r"study.yaml: seed is not a known key; did you mean seeds\?"),
        ("data: {label_noise: {drp: 1}}", r"data.label_noise.drp is not a known key; did you mean drop\?"),
        ("data: {label_noise: {shifted: 0.5}}", "neither drop nor shift, so that it changes nothing"),
        ("variants: {x: {metod: lgad}}", r"variants.x.metod is not a known key; did you mean method\?"),
        ("compute: 3", "compute is 3; write its keys below it"),
        ("seeds: 0", "study.yaml: seeds is 0: input should be greater than or equal to 1."),
        ("variants: [", "is not valid YAML"),
        ("seeds: 010", "010"),  # octal in YAML 1.1
        ("seeds: 2\nseeds: 3", "seeds"),
    ],
)
def test_a_wrong_study_raises_one_sentence(tmp_path: Path, study: str, sentence: str) -> None:
    with pytest.raises(LgadError, match=sentence):
        loaded(tmp_path, study)


def test_a_variant_that_does_not_fit_the_recipe_is_named(tmp_path: Path) -> None:
    study, settings = loaded(tmp_path, "variants: {x: {recipe: {distillation: {wieght: 3}}}}")
    with pytest.raises(LgadError, match=r"variant x: distillation\.wieght"):
        plan(study, {"enet": settings.recipe("enet")}, output=tmp_path)


@pytest.mark.parametrize(
    ("study", "key"),
    [("steps: 1", "study: steps is 1"), ("variants: {x: {steps: 1}}", "variant x: steps is 1")],
)
def test_fewer_steps_than_the_warm_up_of_the_recipe_are_an_error(
    tmp_path: Path, study: str, key: str
) -> None:
    loaded(tmp_path, f"dataset: tiny\n{study}")
    with pytest.raises(LgadError, match=f"{key}, and the recipe has warmup_steps 1"):
        gain(tmp_path / "study.yaml", tmp_path / "out", settings=tmp_path / "lgad.yaml")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("variant", "reason"),
    [
        ("recipe: {sad: {weight: 1}}", "recipe.sad has no effect on the method lgad; write `method: sad or"),
        ("method: logits, recipe: {distillation: {power: 4}}", "recipe.distillation has no effect on"),
        ("recipe: {distillation: {weight: 3, balance: 0.3}}", "recipe.distillation.weight has no effect"),
        ("recipe: {distillation: {temperature: 3}}", "recipe.distillation.temperature has no effect"),
        ("recipe: {distillation: {temperature: 3, normalization: softmax}}", ""),
        ("method: logits, recipe: {logits: {temperature: 3}}", ""),
        ("recipe: {distillation: {weight: 3}}", ""),
        ("method: lgad+sad, recipe: {sad: {weight: 1}, distillation: {weight: 3}}", ""),
        ("method: label-head, recipe: {label_head: {weight: 1}}", ""),
    ],
)
def test_a_change_without_effect_is_named(tmp_path: Path, variant: str, reason: str) -> None:
    study, settings = loaded(tmp_path, f"dataset: tiny\nvariants: {{x: {{{variant}}}}}")
    assert study.variants["x"].without_effect(settings.recipe("enet")).startswith(reason)
    if reason:
        with pytest.raises(LgadError, match=f"study.yaml: variants.x.{re.escape(reason)}"):
            gain(tmp_path / "study.yaml", tmp_path / "out", settings=tmp_path / "lgad.yaml")
    balanced = settings.recipe("enet").model_copy(update={"distillation": DistillationConfig(balance=0.3)})
    if "distillation: {weight" in variant:
        assert "`balance` replaces it" in study.variants["x"].without_effect(balanced)


@pytest.mark.parametrize(
    "name",
    [
        "gain",
        "gain-zero-init",
        "gain-networks",
        "ablation-when",
        "ablation-paths",
        "ablation-maps",
    ],
)
def test_the_projects_own_studies_are_valid(name: str) -> None:
    folder = Path(__file__).parents[2] / "studies"
    study, settings = GainStudy.load(folder / f"{name}.yaml"), Settings.load(folder / "settings.yaml")
    runs = plan(study, {recipe: settings.recipe(recipe) for recipe in study.recipes}, output=folder)
    study.require_effects(name, map(settings.recipe, study.recipes))
    assert settings.dataset(study.dataset).image_size == (48, 128)
    assert len(runs) == study.seeds * len(study.all_variants) * len(study.recipes)
    assert all(run.training.recipe.sad.start_step < run.training.recipe.student.steps for run in runs)


def test_the_last_quarter_of_the_steps_tells_if_a_student_is_converged() -> None:
    history = pd.DataFrame({"step": [100, 200, 300, 400, 500], "val/miou": [None, 0.4, None, 0.56, 0.6]})
    # At step 375 of 500 the interpolated score is 0.4 + 0.16 * 175 / 200.
    assert _last_rise(history) == pytest.approx(0.6 - 0.54)
    assert _last_rise(history.tail(1)) == pytest.approx(0.6)  # nothing is known before
