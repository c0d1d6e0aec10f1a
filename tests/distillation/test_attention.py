import math

import pytest
import torch

from lgad_pipeline.distillation.attention import attention_divergence, attention_map, normalized, resize
from lgad_pipeline.errors import LgadError

# All that the configuration allows.
COMBINATIONS = [
    (name, normalization)
    for name in ("squared_sum", "squared_mean", "l2_distance", "kl")
    for normalization in ("softmax", "l2", "sum")
    if (name, normalization) != ("kl", "l2")
]
# Two channels, one row of two cells.
FEATURES = torch.tensor([[[[1.0, -2.0]], [[3.0, 0.0]]]])


def maps(*cells: float) -> torch.Tensor:
    return torch.tensor(cells, dtype=torch.float64)[None, None]


@pytest.mark.parametrize(
    ("reduction", "power", "expected"),
    [("sum", 1, [4, 2]), ("sum", 2, [10, 4]), ("max", 1, [3, 2]), ("max", 2, [9, 4]), ("sum", 3, [28, 8])],
)
def test_attention_map_by_hand(reduction, power, expected) -> None:
    assert attention_map(FEATURES, reduction, power).tolist() == [[expected]]


@pytest.mark.parametrize(
    ("normalization", "temperature", "expected"),
    [
        ("l2", 1.0, [0.6, 0.8]),
        ("sum", 1.0, [3 / 7, 4 / 7]),
        ("softmax", 1.0, [1 / (1 + math.e), math.e / (1 + math.e)]),
        ("softmax", 2.0, [1 / (1 + math.exp(0.5)), math.exp(0.5) / (1 + math.exp(0.5))]),
    ],
)
def test_normalization_by_hand(normalization, temperature, expected) -> None:
    values = normalized(maps(3, 4), normalization, temperature)
    torch.testing.assert_close(values, torch.tensor([expected], dtype=torch.float64))


@pytest.mark.parametrize(
    ("name", "normalization", "expected"),
    [
        ("squared_sum", "sum", 0.08),  # (0.5, 0.5) against (0.7, 0.3)
        ("squared_mean", "sum", 0.04),
        ("l2_distance", "sum", math.sqrt(0.08)),
        ("kl", "sum", 0.7 * math.log(1.4) + 0.3 * math.log(0.6)),
        ("squared_sum", "l2", 2 - 2 / math.sqrt(2 * 0.58)),
    ],
)
def test_divergence_by_hand(name, normalization, expected) -> None:
    value = attention_divergence(maps(2, 2), maps(7, 3), divergence=name, normalization=normalization)
    assert value.item() == pytest.approx(expected, rel=1e-9)


def test_kl_of_softmax_equals_torch() -> None:
    student, teacher = torch.randn(3, 4, 5).abs(), torch.randn(3, 4, 5).abs()
    expected = torch.nn.functional.kl_div(
        (student.flatten(1) / 0.5).log_softmax(1),
        (teacher.flatten(1) / 0.5).softmax(1),
        reduction="batchmean",
    )
    torch.testing.assert_close(
        attention_divergence(student, teacher, divergence="kl", normalization="softmax", temperature=0.5),
        expected,
    )


@pytest.mark.parametrize(("name", "normalization"), COMBINATIONS)
def test_gradients(name, normalization) -> None:
    torch.manual_seed(0)
    features = torch.randn(2, 3, 2, 3, dtype=torch.float64, requires_grad=True)
    teacher = torch.rand(2, 4, 6, dtype=torch.float64)
    assert torch.autograd.gradcheck(
        lambda f: attention_divergence(
            attention_map(f), teacher, divergence=name, normalization=normalization
        ),
        (features,),
    )


@pytest.mark.parametrize(("name", "normalization"), COMBINATIONS)
def test_a_layer_of_zeros_gives_finite_loss_and_gradient(name, normalization) -> None:
    features = torch.zeros(1, 2, 3, 3, requires_grad=True)
    loss = attention_divergence(
        attention_map(features), torch.rand(1, 3, 3), divergence=name, normalization=normalization
    )
    loss.backward()
    assert torch.isfinite(loss) and features.grad is not None and torch.isfinite(features.grad).all()


def test_large_activations_stay_finite() -> None:
    student = torch.full((1, 2, 3, 3), 1e6).requires_grad_()
    teacher = attention_map(torch.rand(1, 2, 3, 3) * 1e6)
    loss = attention_divergence(attention_map(student), teacher, divergence="kl", normalization="softmax")
    loss.backward()
    assert torch.isfinite(loss) and torch.isfinite(student.grad).all()  # type: ignore[arg-type]


def test_bfloat16_features_are_summed_in_float32() -> None:
    features = torch.full((1, 300, 1, 1), 1.0, dtype=torch.bfloat16)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert attention_map(features).item() == 300  # bfloat16 knows 300 only as 299 or 301


def test_resize_is_bilinear_between_cell_centres() -> None:
    assert resize(torch.tensor([[[0.0, 4.0]]]), (1, 4)).tolist() == [[[0.0, 1.0, 3.0, 4.0]]]


@pytest.mark.parametrize("size", [(12, 24), (8, 16), (6, 12), (5, 20), (3, 6)], ids=str)
def test_each_cell_of_a_larger_map_of_the_student_gets_a_gradient(size) -> None:
    student = torch.rand(2, 24, 48, dtype=torch.float64, requires_grad=True)
    weights = torch.rand(2, *size, dtype=torch.float64)
    (resize(student, size) * weights).sum().backward()
    assert student.grad is not None
    assert bool((student.grad > 0).all())


def test_maps_of_half_a_side_are_bilinear_as_published() -> None:
    maps = torch.rand(2, 20, 64)
    bilinear = torch.nn.functional.interpolate(maps[:, None], size=(10, 32), mode="bilinear")[:, 0]
    assert torch.equal(resize(maps, (10, 32)), bilinear)


def test_maps_that_shrink_to_a_third_are_averaged() -> None:
    maps = torch.rand(2, 18, 63)
    torch.testing.assert_close(
        resize(maps, (6, 21)), maps.unflatten(2, (21, 3)).unflatten(1, (6, 3)).mean((2, 4))
    )


def test_maps_of_one_shape_do_not_diverge_whatever_their_scale() -> None:
    student = torch.rand(2, 3, 4, dtype=torch.float64)
    assert attention_divergence(
        student, 3 * student, divergence="squared_sum", normalization="l2"
    ).item() == pytest.approx(0, abs=1e-12)
    assert attention_divergence(
        student, 3 * student, divergence="kl", normalization="sum"
    ).item() == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize(
    ("call", "reason"),
    [
        (lambda x: attention_map(x[0]), r"A feature map is a tensor \(B, C, H, W\), not \(5, 4, 6\)"),
        (
            lambda x: attention_map(x, "mean"),  # type: ignore[arg-type]
            "The reduction 'mean' is unknown; choose sum or max",
        ),
        (lambda x: attention_divergence(x, x), r"Attention maps are tensors \(B, h, w\) of one batch, not"),
        (lambda x: attention_divergence(x[0, 0], x[0, 0]), "Attention maps are tensors"),
        (lambda x: attention_divergence(x[:, 0], x[:1, 0]), "give maps of the same images"),
        (
            lambda x: attention_divergence(x[:, 0], x[:, 0], divergence="mse"),  # type: ignore[arg-type]
            "The divergence 'mse' is unknown",
        ),
        (
            lambda x: attention_divergence(x[:, 0], x[:, 0], normalization="none"),  # type: ignore[arg-type]
            "The normalization 'none' is",
        ),
        (lambda x: attention_divergence(x[:, 0], x[:, 0], normalization="l2"), "kl needs maps that sum to 1"),
        (
            lambda x: attention_divergence(
                x[:, 0], x[:, 0], divergence="squared_sum", normalization="l2", floor=0.2
            ),
            r"floor 0\.2 needs maps that sum to 1",
        ),
    ],
)
def test_tensors_of_another_form_and_unknown_names_are_errors(call, reason: str) -> None:
    with pytest.raises(LgadError, match=reason):
        call(torch.rand(2, 5, 4, 6))
