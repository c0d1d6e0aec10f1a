import math

import pytest
import torch

from lgad_pipeline.config.training import OptimizerConfig
from lgad_pipeline.training import segmentation_losses as losses
from lgad_pipeline.training.optimizer import learning_rate
from lgad_pipeline.training.validation import lane_miou

# One frame of three pixels, background and one slot.
PROBABILITY = torch.tensor([[[[0.8, 0.4, 0.5]], [[0.2, 0.6, 0.5]]]], dtype=torch.float64)
LABEL = torch.tensor([[[0, 1, 1]]])


def test_cross_entropy_weighs_the_background_down() -> None:
    expected = -(0.4 * math.log(0.8) + math.log(0.6) + math.log(0.5)) / 2.4
    assert losses.cross_entropy(PROBABILITY.log(), LABEL, 0.4).item() == pytest.approx(expected)


def test_soft_iou_by_hand() -> None:
    overlap, union = 0.6 + 0.5, 0.2 + 0.6 + 0.5 + 2 - (0.6 + 0.5)
    assert losses.soft_iou(PROBABILITY.log(), LABEL).item() == pytest.approx(1 - overlap / union)


def test_soft_iou_leaves_out_slots_that_no_label_holds() -> None:
    empty_slot = torch.full((1, 1, 1, 3), 1e-9, dtype=torch.float64)
    three = torch.cat([PROBABILITY, empty_slot], dim=1).log()
    assert losses.soft_iou(three, LABEL).item() == pytest.approx(
        losses.soft_iou(PROBABILITY.log(), LABEL).item()
    )
    assert losses.soft_iou(three, torch.zeros_like(LABEL)).item() == 0


def test_existence_takes_logits() -> None:
    expected = -(math.log(1 / (1 + math.exp(-2))) + math.log(1 - 1 / (1 + math.exp(1)))) / 2
    value = losses.existence(torch.tensor([[2.0, -1.0]]), torch.tensor([[1.0, 0.0]]))
    assert value.item() == pytest.approx(expected, rel=1e-6)


def test_bfloat16_logits_are_read_in_float32() -> None:
    assert losses.log_probabilities(torch.zeros(1, 5, 2, 2, dtype=torch.bfloat16)).dtype == torch.float32


def test_one_cycle_has_the_shape_of_torch() -> None:
    config = OptimizerConfig(learning_rate=0.4, warmup_steps=29, schedule="one_cycle")
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, 0.4, total_steps=101, pct_start=0.3, div_factor=25, final_div_factor=1000 / 25
    )
    rates = []
    for _ in range(101):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        if len(rates) < 101:
            scheduler.step()
    computed = [learning_rate(config, step, 100) for step in range(100)]
    assert computed == pytest.approx(rates[1:], abs=0.01)
    assert max(computed) == pytest.approx(0.4)


def test_poly_by_hand() -> None:
    config = OptimizerConfig(learning_rate=0.2, warmup_steps=4, schedule="poly")
    rates = [learning_rate(config, step, 104) for step in (0, 3, 4, 54, 103)]
    assert rates == pytest.approx([0.04, 0.16, 0.2, 0.2 * 0.5**0.9, 0.2 * 0.01**0.9])


def test_lane_miou_by_hand() -> None:
    # Rows are labels: slot 1 has 6 of 8 + 2 pixels right, slot 2 none, slot 3 appears nowhere.
    counts = torch.tensor([[90, 2, 0, 0], [2, 6, 0, 0], [5, 0, 0, 0], [0, 0, 0, 0]])
    assert lane_miou(counts) == pytest.approx((0.6 + 0) / 2)
    assert lane_miou(torch.tensor([[9, 0], [0, 0]])) == 0
