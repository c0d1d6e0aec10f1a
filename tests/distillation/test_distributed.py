"""Taps and losses inside DistributedDataParallel: two processes get the gradients of one on both batches."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

PROGRAM = """
import sys
import torch
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel

from lgad_pipeline.config.distillation import DistillationConfig, MimickingPath
from lgad_pipeline.config.distillation import LabelHeadConfig
from lgad_pipeline.config.network import NetworkSpec
from lgad_pipeline.distillation.base import StudentForward
from lgad_pipeline.distillation.controls import LabelHead
from lgad_pipeline.distillation.losses import LgadLoss

rank, ranks, folder = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
torch.manual_seed(0)
student = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 5, 1))
teacher = nn.Sequential(nn.Conv2d(5, 4, 3, padding=1))
labels, images = torch.randint(0, 5, (2, 6, 6)), torch.rand(2, 3, 6, 6)
labels[0, labels[0] > 1] = 0  # the first frame has one lane, the second one four
path = MimickingPath(student="0", teacher="0")
config = DistillationConfig(paths=(path,), per_slot=True, frame_weight="error", balance=0.4)
mine = slice(rank, rank + 1) if ranks > 1 else slice(0, 2)
loss = LgadLoss(student, teacher, config.paths, config)
learner = student
if ranks > 1:
    store = distributed.FileStore(folder + "/store", ranks)
    distributed.init_process_group("gloo", store=store, rank=rank, world_size=ranks)
    learner = DistributedDataParallel(student)
heads = LabelHead(student, NetworkSpec(image_size=(6, 6)), ["0"], LabelHeadConfig(balance=0.2))
for step in range(2):  # the first one measures the gradients, the second one uses them
    student.zero_grad()
    output = learner(images[mine])
    value = loss(labels[mine], logits=output) + output.square().mean()
    forward = StudentForward(images[mine], output, labels[mine], weight=0.2)
    (value + 0.2 * heads.compute(forward)).backward()
torch.save({name: value.grad for name, value in student.named_parameters()}, f"{folder}/{ranks}-{rank}.pt")
"""


def test_two_processes_get_the_gradients_of_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    processes = [
        subprocess.Popen([sys.executable, "-c", PROGRAM, str(rank), "2", str(tmp_path)], env=environment)
        for rank in (0, 1)
    ]
    monkeypatch.setattr(sys, "argv", ["one", "0", "1", str(tmp_path)])
    exec(PROGRAM, {})
    assert [process.wait(60) for process in processes] == [0, 0]
    one, *two = [torch.load(tmp_path / f"{name}.pt") for name in ("1-0", "2-0", "2-1")]
    for gradients in two:
        for name, gradient in one.items():
            torch.testing.assert_close(gradients[name], gradient)
