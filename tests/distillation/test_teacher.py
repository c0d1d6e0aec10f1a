import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from lgad_pipeline.config.augmentation import AugmentationConfig
from lgad_pipeline.config.distillation import (
    DistillationConfig,
    LabelEncoding,
    TeacherInputConfig,
    default_paths,
)
from lgad_pipeline.config.network import NetworkSpec
from lgad_pipeline.data.augmentation import augment
from lgad_pipeline.data.loader import Batch
from lgad_pipeline.data.random_amounts import batch_generator
from lgad_pipeline.distillation.joint_teacher import JointLgadLoss
from lgad_pipeline.distillation.losses import LgadLoss
from lgad_pipeline.distillation.taps import FeatureTaps
from lgad_pipeline.distillation.teacher import (
    TeacherAttention,
    corrupt_label_planes,
    label_encoding,
    label_planes,
    label_stride,
    teacher_planes,
    teacher_spec,
)
from lgad_pipeline.errors import LgadError
from lgad_pipeline.networks.registry import build_network
from lgad_pipeline.training.cached_attention import CachedAttention, cache_attention, warped

SPEC = NetworkSpec(image_size=(16, 32), width=0.25)
LAYERS = ["encoder.stage2", "encoder.stage3"]
FLIPS = AugmentationConfig(rotation=0, scale=0, shift_x=0, shift_y=0)


def frames(count: int = 3) -> Batch:
    generator = torch.Generator().manual_seed(0)
    label = torch.randint(0, 5, (count, 16, 32), generator=generator, dtype=torch.uint8)
    image = torch.zeros(count, 3, 16, 32, dtype=torch.uint8)
    return Batch([f"{number}.jpg" for number in range(count)], image, label, torch.ones(count, 4))


@pytest.mark.parametrize("encoding", ["gray", "binary"])
def test_classes_cannot_be_read_from_planes_that_are_not_one_hot(encoding: LabelEncoding) -> None:
    teacher = nn.Sequential(nn.Conv2d(2, 4, 1))
    with pytest.raises(LgadError, match=f"{encoding} planes are unknown; give the argument classes"):
        TeacherAttention(teacher, ["0"], DistillationConfig(), encoding=encoding)


def test_encodings_of_a_label_map() -> None:
    label = torch.tensor([[[0, 1, 4]]], dtype=torch.uint8)
    assert label_planes(label, 5, "gray").tolist() == [[[[0.0, 0.25, 1.0]]]]
    assert label_planes(label, 5, "binary").tolist() == [[[[1.0, 0.0, 0.0]], [[0.0, 1.0, 1.0]]]]
    for encoding in ("one_hot", "gray", "binary"):
        spec = teacher_spec(SPEC, encoding)
        assert label_encoding(spec) == encoding
        assert label_planes(label, 5, encoding).shape[1] == spec.in_channels
    with pytest.raises(LgadError, match="folder of a teacher"):
        label_encoding(SPEC)


def test_stride_reads_every_second_row_and_column() -> None:
    label = (torch.arange(8, dtype=torch.uint8) % 5).repeat(4, 1)[None]
    planes = label_planes(label, 5, stride=2)
    assert planes.shape == (1, 5, 2, 4)
    assert planes.argmax(dim=1).tolist() == [[[0, 2, 4, 1]] * 2]  # columns 0, 2, 4 and 6


def test_size_of_the_teacher_tells_its_stride() -> None:
    spec = teacher_spec(SPEC, stride=2)
    assert spec.image_size == (8, 16)
    assert label_stride(spec, (16, 32)) == 2
    label = frames().label
    assert torch.equal(teacher_planes(label, spec), label_planes(label, 5, stride=2))
    with pytest.raises(LgadError, match="not a multiple of it; name a teacher"):
        label_stride(spec, (16, 40))
    with pytest.raises(LgadError, match=r"stride 3 does not divide the image size 16 x 32"):
        teacher_spec(SPEC, stride=3)


def test_student_mimics_a_teacher_of_half_size() -> None:
    torch.manual_seed(0)
    spec = NetworkSpec(image_size=(32, 64), width=0.25)
    student, teacher = build_network(spec), build_network(teacher_spec(spec, stride=2)).eval()
    label = torch.randint(0, 5, (3, 32, 64), dtype=torch.uint8)
    lgad = LgadLoss(student, teacher, default_paths(tuple(LAYERS)), DistillationConfig(weight=1.0), stride=2)
    with FeatureTaps(student, LAYERS) as student_taps, FeatureTaps(teacher, LAYERS) as teacher_taps:
        student(torch.rand(3, 3, 32, 64))
        loss = lgad(label)
        teacher(label_planes(label, 5, stride=2))
        pairs = list(zip(student_taps.pop().values(), teacher_taps.pop().values(), strict=True))
    divergences = []
    for student_features, teacher_features in pairs:
        energy = student_features.square().sum(dim=1)
        size, height, width = energy.shape
        cells = energy.reshape(size, height // 2, 2, width // 2, 2).mean(dim=(2, 4)).flatten(1)
        share, target = cells / cells.sum(1, True), teacher_features.square().sum(dim=1).flatten(1)
        target = target / target.sum(1, True)
        divergences.append((target * (target / share).log()).sum(1).mean())
    assert loss.item() == pytest.approx(torch.stack(divergences).mean().item(), rel=1e-4)


def test_what_is_not_asked_for_is_not_corrupt_label_planes() -> None:
    planes = label_planes(frames().label, 5)
    assert corrupt_label_planes(planes, TeacherInputConfig()) is planes


@pytest.mark.parametrize("encoding", ["one_hot", "gray", "binary"])
def test_erasing_leaves_background_behind(encoding) -> None:
    torch.manual_seed(0)
    label = torch.full((40, 16, 32), 2, dtype=torch.uint8)
    planes = label_planes(label, 5, encoding)
    holes = corrupt_label_planes(planes, TeacherInputConfig(encoding=encoding, erasing=1.0))
    background = label_planes(torch.zeros_like(label), 5, encoding)
    changed = (holes != planes).any(dim=1)
    assert torch.equal(holes, torch.where(changed[:, None], background, planes))
    assert 0.05 < changed.float().mean() < 0.5
    assert torch.equal(
        corrupt_label_planes(planes, TeacherInputConfig(encoding=encoding, erasing=0.0)), planes
    )


def test_bands_shift_on_their_own() -> None:
    torch.manual_seed(1)
    label = torch.zeros(1, 16, 32, dtype=torch.uint8)
    label[:, :, 16] = 1
    moved = corrupt_label_planes(label_planes(label, 5), TeacherInputConfig(shift=0.25))
    columns = moved[0, 1].argmax(dim=1)
    assert torch.equal(moved.sum(dim=1), torch.ones(1, 16, 32))
    assert columns[:8].unique().numel() == 1 and columns[8:].unique().numel() == 1
    assert columns[0] != columns[8] and (columns - 16).abs().max() <= 8


def test_noise_has_its_deviation() -> None:
    torch.manual_seed(0)
    planes = torch.zeros(4, 5, 16, 32)
    assert corrupt_label_planes(planes, TeacherInputConfig(noise=0.3)).std().item() == pytest.approx(
        0.3, rel=0.05
    )


def test_cached_attention_equals_computed_attention(tmp_path) -> None:
    torch.manual_seed(0)
    spec = teacher_spec(SPEC)
    teacher = build_network(spec)
    config = DistillationConfig(maps="cached")

    def cached(batches: list[Batch]) -> Path:
        return cache_attention(
            teacher,
            spec,
            layers=LAYERS,
            config=config,
            batches=lambda: batches,
            count=sum(len(batch.frames) for batch in batches),
            root=tmp_path,
            fingerprint="one",
        )

    folder = cached([frames()])
    assert cached([]) == folder
    cache, attention = CachedAttention(folder), TeacherAttention(teacher, LAYERS, config)
    batch = augment(frames(), FLIPS, batch_generator(0, 0))
    assert batch.flipped is not None and batch.flipped.any() and not batch.flipped.all()
    cached_maps, computed_maps = cache.maps(batch.frames, batch.flipped), attention(batch.label)
    for layer in LAYERS:
        peak = computed_maps[layer].amax().item()
        torch.testing.assert_close(cached_maps[layer], computed_maps[layer], rtol=1e-3, atol=1e-3 * peak)


def test_maps_of_many_frames_are_written_one_batch_after_the_other(tmp_path) -> None:
    spec = teacher_spec(NetworkSpec(image_size=(128, 128)))
    label = torch.randint(0, 5, (4, 128, 128), dtype=torch.uint8)
    batches = [
        Batch([f"{number}-{row}" for row in range(4)], label, label, torch.ones(4, 4)) for number in range(32)
    ]
    tracemalloc.start()  # of NumPy's arrays, not of torch's tensors
    folder = cache_attention(
        nn.Sequential(nn.Conv2d(5, 2, 1)),
        spec,
        layers=["0"],
        config=DistillationConfig(),
        batches=lambda: batches,
        count=4 * 32,
        root=tmp_path,
        fingerprint="one",
    )
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    maps, scales = np.load(folder / "0.npy"), np.load(folder / "0.scale.npy")
    assert maps.shape == (128, 2, 128, 128) and scales.shape == (128, 2) and maps.nbytes > 5 * peak
    assert np.array_equal(maps[-4:], maps[:4]) and np.array_equal(scales[-4:], scales[:4])


def test_stored_attention_maps_are_shifted_by_whole_cells() -> None:
    attention = torch.tensor([[[1.0, 5.0, 2.0, 3.0], [1.0, 1.0, 7.0, 1.0]]])
    one_cell_right = torch.tensor([[[1.0, 0.0, -2 / 4], [0.0, 1.0, 0.0]]])
    # The column that enters from the left has the smallest value of the map.
    torch.testing.assert_close(
        warped(attention, one_cell_right), torch.tensor([[[1.0, 1.0, 5.0, 2.0], [1.0, 1.0, 1.0, 7.0]]])
    )


def test_stored_attention_maps_move_as_their_frames() -> None:
    rows, columns = torch.meshgrid(torch.arange(48.0), torch.arange(96.0), indexing="ij")
    spot = 200 * torch.exp(-((rows - 20) ** 2 + (columns - 40) ** 2) / 50)
    image = spot.round().byte().expand(8, 3, 48, 96)
    batch = Batch(["one"] * 8, image, torch.zeros(8, 48, 96, dtype=torch.uint8), torch.ones(8, 4))
    geometry = AugmentationConfig(
        brightness=0,
        contrast=0,
        tone=0,
        saturation=0,
        colour=0,
        noise=0,
        blur=0,
        erasing=0,
        shadow=0,
        glare=0,
    )
    moved = augment(batch, geometry, batch_generator(0, 0))
    assert moved.flipped is not None and moved.affine is not None and 0 < moved.flipped.sum() < 8
    mirrored = torch.where(moved.flipped[:, None, None], image[:, 0].flip(2), image[:, 0]).float()
    torch.testing.assert_close(
        warped(mirrored, moved.affine), moved.image[:, 0].float(), rtol=0, atol=0.5 + 1e-3
    )
    # The same frame at half the size moves likewise.
    half = functional.avg_pool2d(mirrored[:, None], 2)[:, 0]
    expected = functional.avg_pool2d(moved.image[:, :1].float(), 2)[:, 0]
    assert (warped(half, moved.affine) - expected).abs().max() < 8


def test_a_joint_teacher_gets_gradients_from_its_own_loss_but_not_through_its_maps() -> None:
    teacher, paths = build_network(teacher_spec(SPEC)).train(), default_paths(tuple(LAYERS))
    joint = JointLgadLoss(build_network(SPEC), teacher, paths, DistillationConfig(), classes=5)
    output = joint.teacher_forward(frames().label)
    assert output.logits.requires_grad and joint.teacher.training
    assert not any(attention.requires_grad for attention in joint.teacher_maps().values())


def test_default_paths_pair_the_deepest_layers() -> None:
    paths = default_paths(("a", "b"), ("x", "y", "z"))
    assert [(path.student, path.teacher) for path in paths] == [("a", "y"), ("b", "z")]
