import pytest
import torch

from lgad_pipeline.config.augmentation import AugmentationConfig
from lgad_pipeline.config.distillation import DistillationConfig, TeacherInputConfig, default_paths
from lgad_pipeline.config.network import NetworkSpec
from lgad_pipeline.data.augmentation import augment, batch_generator
from lgad_pipeline.data.loader import Batch
from lgad_pipeline.distillation.stored import CachedAttention, check_geometry, store_attention
from lgad_pipeline.distillation.teacher import (
    JointTeacherAttention,
    TeacherAttention,
    label_form,
    label_planes,
    spoiled,
    teacher_spec,
)
from lgad_pipeline.errors import LgadError
from lgad_pipeline.networks.registry import build_network

SPEC = NetworkSpec(image_size=(16, 32), width=0.25)
LAYERS = ["encoder.stage2", "encoder.stage3"]
FLIPS = AugmentationConfig(rotation=0, scale=0, shift_x=0, shift_y=0)


def frames(count: int = 3) -> Batch:
    generator = torch.Generator().manual_seed(0)
    label = torch.randint(0, 5, (count, 16, 32), generator=generator, dtype=torch.uint8)
    image = torch.zeros(count, 3, 16, 32, dtype=torch.uint8)
    return Batch([f"{number}.jpg" for number in range(count)], image, label, torch.ones(count, 4))


def test_forms_of_a_label_map() -> None:
    label = torch.tensor([[[0, 1, 4]]], dtype=torch.uint8)
    assert label_planes(label, 4, "grey").tolist() == [[[[0.0, 0.25, 1.0]]]]
    assert label_planes(label, 4, "merged").tolist() == [[[[1.0, 0.0, 0.0]], [[0.0, 1.0, 1.0]]]]
    for form in ("planes", "grey", "merged"):
        spec = teacher_spec(SPEC, form)
        assert label_form(spec) == form
        assert label_planes(label, 4, form).shape[1] == spec.in_channels
    with pytest.raises(LgadError, match="folder of a teacher"):
        label_form(SPEC)


def test_what_is_not_asked_for_is_not_spoiled() -> None:
    planes = label_planes(frames().label, 4)
    assert spoiled(planes, TeacherInputConfig()) is planes


@pytest.mark.parametrize("form", ["planes", "grey", "merged"])
def test_erasing_leaves_background_behind(form) -> None:
    torch.manual_seed(0)
    label = torch.full((40, 16, 32), 2, dtype=torch.uint8)
    planes = label_planes(label, 4, form)
    holes = spoiled(planes, TeacherInputConfig(form=form, erasing=1.0))
    background = label_planes(torch.zeros_like(label), 4, form)
    changed = (holes != planes).any(dim=1)
    assert torch.equal(holes, torch.where(changed[:, None], background, planes))
    assert 0.05 < changed.float().mean() < 0.5
    assert torch.equal(spoiled(planes, TeacherInputConfig(form=form, erasing=0.0)), planes)


def test_bands_shift_on_their_own() -> None:
    torch.manual_seed(1)
    label = torch.zeros(1, 16, 32, dtype=torch.uint8)
    label[:, :, 16] = 1
    moved = spoiled(label_planes(label, 4), TeacherInputConfig(shift=0.25))
    columns = moved[0, 1].argmax(dim=1)
    assert torch.equal(moved.sum(dim=1), torch.ones(1, 16, 32))
    assert columns[:8].unique().numel() == 1 and columns[8:].unique().numel() == 1
    assert columns[0] != columns[8] and (columns - 16).abs().max() <= 8


def test_noise_has_its_deviation() -> None:
    torch.manual_seed(0)
    planes = torch.zeros(4, 5, 16, 32)
    assert spoiled(planes, TeacherInputConfig(noise=0.3)).std().item() == pytest.approx(0.3, rel=0.05)


def test_stored_attention_is_the_computed_one(tmp_path) -> None:
    torch.manual_seed(0)
    spec = teacher_spec(SPEC)
    teacher = build_network(spec)
    config = DistillationConfig(maps="stored")
    folder = store_attention(teacher, spec, LAYERS, config, lambda: [frames()], tmp_path, "one")
    assert store_attention(teacher, spec, LAYERS, config, lambda: [], tmp_path, "one") == folder
    stored, computed = CachedAttention(folder), TeacherAttention(teacher, spec, LAYERS, config)
    batch = augment(frames(), FLIPS, batch_generator(0, 0))
    assert batch.flipped is not None and batch.flipped.any() and not batch.flipped.all()
    ours, theirs = stored(batch), computed(batch)
    for layer in LAYERS:
        peak = theirs[layer].amax().item()
        torch.testing.assert_close(ours[layer], theirs[layer], rtol=1e-3, atol=1e-3 * peak)


def test_stored_attention_refuses_what_moves_label_maps() -> None:
    check_geometry(FLIPS)
    with pytest.raises(LgadError, match=r"rotation, scale, shift_x, shift_y.*maps to computed"):
        check_geometry(AugmentationConfig())


def test_a_teacher_in_the_same_loop_learns_but_not_through_its_maps() -> None:
    spec = teacher_spec(SPEC)
    joint = JointTeacherAttention(build_network(spec).train(), spec, LAYERS, DistillationConfig())
    output = joint.learn(frames())
    assert output.logits.requires_grad and joint.teacher.training
    assert not any(attention.requires_grad for attention in joint(frames()).values())


def test_default_paths_pair_the_deepest_layers() -> None:
    paths = default_paths(("a", "b"), ("x", "y", "z"))
    assert [(path.student, path.teacher) for path in paths] == [("a", "y"), ("b", "z")]
