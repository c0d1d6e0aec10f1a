"""Adapters, one map for each slot, weights of frames, and pooled maps, against plain numpy."""

import numpy as np
import pytest
import torch
from torch import nn

from lgad_pipeline.config.distillation import DistillationConfig, MimickingPath
from lgad_pipeline.config.network import NetworkSpec
from lgad_pipeline.distillation.attention import attention_divergence, attention_map, pooled
from lgad_pipeline.distillation.base import StudentForward
from lgad_pipeline.distillation.controls import BlurredLabelsLoss, blurred_lanes
from lgad_pipeline.distillation.losses import LgadLoss
from lgad_pipeline.distillation.student_maps import channel_adapter, item_weights, label_error, split_slots
from lgad_pipeline.distillation.teacher import label_planes
from lgad_pipeline.errors import LgadError

PATH = MimickingPath(student="0", teacher="0")


def network(planes: int, channels: int = 8) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(planes, channels, 3, stride=2, padding=1), nn.Conv2d(channels, 5, 1))


def labels() -> torch.Tensor:
    """Two frames with lanes in slots 1 and 3, and in slot 2 alone; one pixel to ignore."""
    label = torch.zeros(2, 8, 8, dtype=torch.uint8)
    label[0, :, 1], label[0, 2:, 5], label[1, 4:, 3] = 1, 3, 2
    label[0, 0, 7] = 255
    return label


@pytest.mark.parametrize("normalization", ["sum", "softmax"])
@pytest.mark.parametrize("name", ["kl", "squared_sum", "l2_distance"])
def test_floor_mixes_both_maps_with_a_uniform_one(name, normalization) -> None:
    generator = np.random.default_rng(0)
    student, teacher = generator.random((2, 3, 4, 5))

    def shares(maps: np.ndarray) -> np.ndarray:
        flat = maps.reshape(3, -1)
        flat = np.exp(flat) if normalization == "softmax" else flat
        return 0.7 * flat / flat.sum(1, keepdims=True) + 0.3 / 20

    s, t = shares(student), shares(teacher)
    squared = ((s - t) ** 2).sum(1)
    expected = {
        "kl": (t * np.log(t / s)).sum(1).mean(),
        "squared_sum": squared.mean(),
        "l2_distance": np.sqrt(squared).mean(),
    }[name]
    value = attention_divergence(
        torch.from_numpy(student), torch.from_numpy(teacher),
        divergence=name, normalization=normalization, floor=0.3,
    )  # fmt: skip
    assert value.item() == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("name", ["kl", "squared_sum", "squared_mean", "l2_distance"])
def test_gradients_with_floor_pooling_and_weights(name) -> None:
    torch.manual_seed(0)
    features = torch.randn(2, 3, 4, 5, dtype=torch.float64, requires_grad=True)
    teacher = pooled(torch.rand(2, 6, 7, dtype=torch.float64), 2)
    weights = torch.tensor([0.2, 0.5], dtype=torch.float64)
    assert torch.autograd.gradcheck(
        lambda f: attention_divergence(
            pooled(attention_map(f), 2), teacher, divergence=name, floor=0.2, weights=weights
        ),
        (features,),
    )


def test_the_derivative_with_a_floor_is_bounded() -> None:
    student = torch.zeros(1, 2, 2, dtype=torch.float64)
    student[0, 0, 0] = 1
    teacher = 1 - student
    for floor, bound in ((0.5, 8.0), (0.1, 40.0)):
        share = (student / student.sum()).requires_grad_()
        attention_divergence(share, teacher, floor=floor).backward()
        assert share.grad is not None and share.grad.abs().max() <= 2 * bound


def test_pooled_maps_are_means_over_squares() -> None:
    maps = torch.arange(15.0).view(1, 3, 5)
    expected = [[[3.0, 5.0, 6.5], [10.5, 12.5, 14.0]]]
    assert pooled(maps, 2).tolist() == expected
    assert pooled(maps, 1) is maps


def test_an_adapter_starts_as_the_identity_and_gets_gradients() -> None:
    torch.manual_seed(0)
    student, teacher = network(3), network(5)
    image, label = torch.rand(2, 3, 8, 8), labels()
    plain = LgadLoss(student, teacher, [PATH], DistillationConfig(weight=1.0))
    adapted = LgadLoss(
        student, teacher, [PATH], DistillationConfig(weight=1.0, adapter=True), channels={"0": 8}
    )
    student(image)
    torch.testing.assert_close(adapted(label), plain(label))
    student(image)
    adapted(label).backward()
    assert adapted.companion is not None
    gradients = [value.grad for value in adapted.companion.parameters()]
    assert len(gradients) == 2 and all(value is not None and value.norm() > 0 for value in gradients)
    assert not any("adapter" in name for name in student.state_dict())
    values = torch.randn(1, 6, 3, 3)
    outputs = channel_adapter(6, 4)(values)  # two outputs more, for four groups
    torch.testing.assert_close(outputs, torch.cat([values, values[:, :2]], dim=1))
    with pytest.raises(LgadError, match="give the argument channels"):
        LgadLoss(student, teacher, [PATH], DistillationConfig(adapter=True))


def test_an_adapter_is_on_the_device_of_the_student_and_works_outside_of_autocast() -> None:
    config = DistillationConfig(weight=1.0, adapter=True)
    with torch.device("meta"):
        elsewhere = network(3)
    moved = LgadLoss(elsewhere, network(5), [PATH], config, channels={"0": 8}).companion
    assert moved is not None and {value.device.type for value in moved.parameters()} == {"meta"}
    student = network(3)
    loss = LgadLoss(student, network(5), [PATH], config, channels={"0": 8})
    with torch.autocast("cpu", torch.bfloat16):
        student(torch.rand(2, 3, 8, 8))
    loss(labels()).backward()
    assert torch.isfinite(next(student.parameters()).grad).all()  # type: ignore[arg-type]


def test_logits_of_another_size_than_the_labels_are_an_error() -> None:
    with pytest.raises(LgadError, match=r"logits of \(4, 4\) with label maps of \(8, 8\); enlarge"):
        label_error(torch.rand(2, 5, 4, 4), torch.zeros(2, 8, 8, dtype=torch.long))


def test_split_slots_keeps_one_slot_and_the_pixels_to_ignore() -> None:
    label = labels()
    split = split_slots(label, 4).view(2, 4, 8, 8)
    for frame in range(2):
        for slot in range(4):
            kept = (label[frame] == slot + 1) | (label[frame] == 255)
            assert torch.equal(split[frame, slot], label[frame] * kept)


def test_per_slot_loss_in_numpy() -> None:
    """Mean over the three lanes of the divergence of a group of two channels from the teacher's map."""
    torch.manual_seed(0)
    student, teacher = network(3), network(5)
    image, label = torch.rand(2, 3, 8, 8), labels()
    loss = LgadLoss(student, teacher, [PATH], DistillationConfig(per_slot=True))
    value = loss.compute(StudentForward(image, student(image), label))
    features = student[0](image).detach().double().numpy()
    divergences = []
    for frame, slot in ((0, 1), (0, 3), (1, 2)):
        alone = torch.where((label[frame] == slot) | (label[frame] == 255), label[frame], 0)[None]
        t = teacher[0](label_planes(alone, 5)).double().square().sum(1).detach().numpy()[0]
        s = (features[frame, 2 * slot - 2 : 2 * slot] ** 2).sum(0)
        t, s = t / t.sum(), s / s.sum()
        divergences.append((t * np.log(t / s)).sum())
    assert value.item() == pytest.approx(np.mean(divergences), rel=1e-5)


def test_channels_that_cannot_be_divided_are_an_error() -> None:
    student, label = network(3, channels=6), labels()
    image = torch.rand(2, 3, 8, 8)
    loss = LgadLoss(student, network(5), [PATH], DistillationConfig(per_slot=True))
    with pytest.raises(LgadError, match=r"6 channels of layer 0 .* 4 groups.*set adapter to true"):
        loss.compute(StudentForward(image, student(image), label))
    config = DistillationConfig(per_slot=True, adapter=True)
    loss = LgadLoss(student, network(5), [PATH], config, channels={"0": 6})
    assert loss.compute(StudentForward(image, student(image), label)).requires_grad


def test_frames_weigh_as_much_as_the_student_fails() -> None:
    torch.manual_seed(0)
    label, logits = labels(), torch.randn(2, 5, 8, 8, requires_grad=True)
    probability = logits.detach().double().softmax(1).numpy()
    errors = [
        1 - np.mean([probability[b, label[b, y, x], y, x] for y in range(8) for x in range(8)
                     if 0 < label[b, y, x] < 5])
        for b in range(2)
    ]  # fmt: skip
    np.testing.assert_allclose(label_error(logits, label), errors, rtol=1e-6)
    assert not label_error(logits, label).requires_grad
    np.testing.assert_allclose(item_weights(label, logits), np.array(errors) / 2, rtol=1e-6)
    by_slot = item_weights(label, logits, 4).view(2, 4).numpy()
    e = errors
    expected = np.array([[e[0], 0, e[0], 0], [0, e[1], 0, 0]]) / 3
    np.testing.assert_allclose(by_slot, expected, rtol=1e-6)
    assert label_error(logits, torch.zeros_like(label)).tolist() == [0, 0]  # no lane

    student, teacher = network(3), network(5)
    image = torch.rand(2, 3, 8, 8)
    loss = LgadLoss(student, teacher, [PATH], DistillationConfig(weight=2.0, frame_weight="error"))
    single = [
        LgadLoss(student, teacher, [PATH], DistillationConfig()).compute(
            StudentForward(image[b : b + 1], student(image[b : b + 1]), label[b : b + 1])
        )
        for b in range(2)
    ]
    student(image)
    value = loss(label, logits=logits)
    assert value.item() == pytest.approx(
        sum(e * v.item() for e, v in zip(errors, single, strict=True)), rel=1e-5
    )
    student(image)
    with pytest.raises(LgadError, match="give the argument logits"):
        loss(label)


def test_the_blurred_control_has_the_same_variants() -> None:
    torch.manual_seed(0)
    student, label, image = network(3), labels().clamp(max=4), torch.rand(2, 3, 8, 8)
    path = MimickingPath(student="0", teacher="of no student", pool=2)
    spec = NetworkSpec(image_size=(8, 8))
    loss = BlurredLabelsLoss(student, spec, [path], DistillationConfig(per_slot=True, floor=0.1))
    value = loss.compute(StudentForward(image, student(image), label))
    features = student[0](image).detach()
    present = [(0, 1), (0, 3), (0, 4), (1, 2)]  # the pixel of value 255 is now a lane of slot 4
    terms = []
    for frame, slot in present:
        target = blurred_lanes((label[frame : frame + 1] == slot).to(torch.uint8), (4, 4))
        group = attention_map(features[frame : frame + 1, 2 * slot - 2 : 2 * slot])
        terms.append(attention_divergence(pooled(group, 2), pooled(target, 2), floor=0.1))
    torch.testing.assert_close(value, torch.stack(terms).mean())


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        (
            {"floor": 0.1, "normalization": "l2", "divergence": "squared_sum"},
            "floor needs maps that sum to 1",
        ),
        ({"floor": 1.0}, "less than 1"),
        ({"per_slot": True, "maps": "cached"}, "per_slot needs a teacher trained before"),
        ({"balance": 0.0}, "greater than 0"),
    ],
)
def test_settings_that_disagree_are_an_error(settings: dict, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        DistillationConfig(**settings)
