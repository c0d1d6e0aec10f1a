"""Time of a prediction on the CPU, on one thread, by its parts and against the public PyTorch ENet-SAD.

    python benchmarks/inference.py [--enet-sad FOLDER] [--network enet] [--size 288 800] [--rounds 20]

FOLDER is a clone of github.com/InhwanBae/ENet-SAD_Pytorch; without it only this project is timed. All parts
are timed in turn, in every round, by processor time, so that other processes disturb ratios little. Weights
are random; batch norms have statistics as after a training, and lanes are drawn into the maps to decode.
"""

import argparse
import sys
import time
from pathlib import Path

import numpy as np
import torch

from lgad_pipeline.config.decoding import DecodeConfig
from lgad_pipeline.config.network import NetworkSpec
from lgad_pipeline.inference.predictor import LanePredictor
from lgad_pipeline.lanes.decoding import decode
from lgad_pipeline.networks.folding import fold_batch_norms
from lgad_pipeline.networks.registry import build_network
from lgad_pipeline.view import View

PROBABILITIES = "probabilities: normalization, network, softmax"


def main() -> None:
    """Time the parts and print milliseconds and ratios."""
    parser = argparse.ArgumentParser(description="Time of the parts of a prediction.")
    parser.add_argument("--enet-sad", type=Path, help="clone of ENet-SAD_Pytorch")
    parser.add_argument("--network", default="enet")
    parser.add_argument("--size", type=int, nargs=2, default=(288, 800), metavar=("HEIGHT", "WIDTH"))
    parser.add_argument("--rounds", type=int, default=20)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    size = tuple(arguments.size)
    network = build_network(NetworkSpec(name=arguments.network, image_size=size))
    for layer in network.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            assert layer.running_mean is not None and layer.running_var is not None
            layer.running_mean.normal_(0, 0.1)
            layer.running_var.uniform_(0.5, 2)
            layer.weight.data.uniform_(0.5, 1.5)
    view = View((590, 1640), size, 240)
    plain = LanePredictor(network, view, decode_config=DecodeConfig(), device="cpu")
    folded = LanePredictor(fold_batch_norms(network.eval()), view, decode_config=DecodeConfig(), device="cpu")
    images = torch.randint(0, 256, (1, 3, *size), dtype=torch.uint8)
    planes = (images.float() / 255).contiguous(memory_format=torch.channels_last)
    maps, existence = lane_maps(size), np.ones((1, 4), np.float32)
    official = DecodeConfig(method="official")
    parts = {
        "network, as trained": lambda: plain.network(planes),
        "network, batch norms folded": lambda: folded.network(planes),
        PROBABILITIES: lambda: folded.probabilities(images),
        "decoding, centroid": lambda: decode(maps, existence, view, config=DecodeConfig()),
        "decoding, official": lambda: decode(maps, existence, view, config=official),
    }
    if arguments.enet_sad:
        sys.path.insert(0, str(arguments.enet_sad))
        from model_ENET_SAD import ENet_SAD  # type: ignore[import-not-found]

        other, image = ENet_SAD(size[::-1], sad=False).eval(), planes.contiguous()
        parts["ENet-SAD_Pytorch, network"] = lambda: other(image)
    seconds: dict[str, list[float]] = {name: [] for name in parts}
    with torch.inference_mode():
        for round_number in range(-3, arguments.rounds):  # the first three rounds warm up
            for name, part in parts.items():
                started = time.process_time()
                part()
                if round_number >= 0:
                    seconds[name].append(time.process_time() - started)
    for name, values in seconds.items():
        print(f"{name:48} median {1e3 * np.median(values):7.2f} ms, least {1e3 * min(values):7.2f} ms")
    if arguments.enet_sad:
        whole = np.add(
            seconds["probabilities: normalization, network, softmax"], seconds["decoding, centroid"]
        )
        ratios = np.array(seconds["ENet-SAD_Pytorch, network"]) / whole
        low, median, high = np.quantile(ratios, [0.25, 0.5, 0.75])
        print(f"ENet-SAD_Pytorch's network over this project's whole prediction: {median:.2f} times")
        print(f"quartiles of the rounds: {low:.2f} and {high:.2f}")


def lane_maps(size: tuple[int, int]) -> np.ndarray:
    """Draw four lanes with noise, float32 (1, 4, h, w)."""
    rng, (height, width) = np.random.default_rng(0), size
    rows, columns = np.arange(height)[:, None], np.arange(width)
    centres = [width * (0.2 + 0.2 * slot) + (rows - height / 2) * (slot - 1.5) for slot in range(4)]
    lanes = [0.95 * np.exp(-0.5 * ((columns - centre) / 8) ** 2) for centre in centres]
    return (np.stack(lanes) + rng.uniform(0, 0.02, (4, height, width)))[None].astype(np.float32)


if __name__ == "__main__":
    main()
