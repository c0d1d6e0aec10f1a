from pathlib import Path

import torch

from lgad_pipeline.training.tensor_packing import pack, unpack


def test_what_is_packed_comes_back_through_a_file_with_its_layout(tmp_path: Path) -> None:
    image = torch.randn(2, 3, 4, 5).to(memory_format=torch.channels_last)
    content = {
        "network": {"weight": image, "count": torch.tensor(7)},
        "groups": [{"lr": 0.1, "betas": (0.9, 0.999)}, {"empty": torch.zeros(0)}],
        "average": None,
    }
    torch.save(pack(content), tmp_path / "packed.pt")
    packed = torch.load(tmp_path / "packed.pt", weights_only=True)
    assert set(packed["values"]) == {"float32", "int64"}
    back = unpack(packed, torch.device("cpu"))
    assert torch.equal(back["network"]["weight"], image)
    assert back["network"]["weight"].stride() == image.stride()
    assert back["network"]["count"].item() == 7
    assert back["groups"][0] == {"lr": 0.1, "betas": (0.9, 0.999)}
    assert back["groups"][1]["empty"].shape == (0,)
    assert back["average"] is None
