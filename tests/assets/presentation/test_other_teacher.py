"""A student and a teacher of different architecture, in the pictures of the asset pages and of the report."""

import pytest
import torch

from assets.networks import mimicking_paths_of
from assets.presentation.pictures import network_pictures
from assets.presentation.report_page import AttentionRow
from assets.report import attention_rows
from lgad_pipeline.config.roles import STUDENTS
from lgad_pipeline.config.synthetic import SyntheticConfig
from lgad_pipeline.data.ingestion import ingest
from lgad_pipeline.data.lane_labels import assign_lane_slots
from lgad_pipeline.data.shards import ShardSet, pack_shards
from lgad_pipeline.distillation.teacher import teacher_spec
from lgad_pipeline.networks.checkpoint import save_network
from lgad_pipeline.networks.registry import build_network
from lgad_pipeline.synthetic.dataset_writer import write_dataset
from resources.project import Project

SETTINGS = """
datasets:
  synthetic:
    kind: synthetic
    image_size: [48, 128]
    crop_top: 240
    lane_width: 32
    world: {seed: 0, train: 2, val: 2, test: 2}
recipes:
  mixed: {network: {name: enet}, teacher_network: {name: resnet18}, teacher: {}, student: {}}
  together:
    network: {name: enet}
    teacher_network: {name: resnet18}
    teacher: {}
    student: {}
    distillation: {teacher: together}
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mixed")
    (folder / "lgad.yaml").write_text(SETTINGS)
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("LGAD_STATE", raising=False)
        project = Project(file=str(folder / "lgad.yaml"))
        paths, entry = project.paths("synthetic"), project.dataset("synthetic")
        write_dataset(paths.recordings, SyntheticConfig(seed=0, train=2, val=2, test=2))
        frames = ingest(paths.recordings, entry.frame_size, kind="culane").frames
        labels = assign_lane_slots(frames, scheme=entry.slot_scheme)
        pack_shards(
            frames,
            labels,
            root=paths.recordings,
            output=paths.shards,
            view=entry.view,
            lane_width=entry.lane_width,
        )
        torch.manual_seed(0)
        for name in ("mixed", "together"):
            recipe, here = project.recipe(name), project.paths("synthetic", name)
            student = recipe.network.spec(entry.image_size)
            for role in STUDENTS:
                save_network(here.network(role), build_network(student), spec=student)
            if recipe.trains_teacher_first:
                teacher = teacher_spec(recipe.teachers_network.spec(entry.image_size))
                save_network(here.teacher, build_network(teacher), spec=teacher)
        yield project


def drawn_rows(project: Project, recipe: str) -> list[AttentionRow]:
    paths = project.paths("synthetic", recipe)
    return list(attention_rows(project.recipe(recipe), paths, shards=ShardSet.open(paths.shards)))


def test_layers_are_paired_as_training_pairs_them(project):
    paths = mimicking_paths_of(project.recipe("mixed"), (48, 128))
    students, teachers = [path.student for path in paths], [path.teacher for path in paths]
    # Layers are paired from the deepest upwards: ENet has two layers, the teacher three.
    assert students == ["encoder.stage2", "encoder.stage3"], students
    assert teachers == ["encoder.stage3", "encoder.stage4"], teachers


def test_report_draws_each_network_at_its_own_layers(project):
    rows = drawn_rows(project, "mixed")
    assert {row.path for row in rows} == {
        "encoder.stage3 → encoder.stage2",
        "encoder.stage4 → encoder.stage3",
    }
    assert all(len(row.pictures) == 4 for row in rows)


@pytest.mark.parametrize("role", ["teacher", *STUDENTS])
def test_page_of_each_network_draws_its_own_layers(project, role):
    paths = project.paths("synthetic", "mixed")
    layers = [
        pair.teacher if role == "teacher" else pair.student
        for pair in mimicking_paths_of(project.recipe("mixed"), (48, 128))
    ]
    split = ShardSet.open(paths.shards)["val"]
    pictures = network_pictures(paths.network(role), split, role=role, layers=layers)
    assert set(pictures) == {"overlays", "attention"}


def test_teacher_that_is_not_stored_is_not_drawn(project):
    rows = drawn_rows(project, "together")
    assert rows and all(row.teacher is None and len(row.pictures) == 3 for row in rows)
