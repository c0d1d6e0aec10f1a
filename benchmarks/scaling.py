"""Estimate of a training on several GPUs, from measured pieces: bytes, messages, steps, hours.

    python benchmarks/scaling.py --step-ms 30 --bytes-per-frame 140000

`--step-ms` is the time of one step of the whole batch on one GPU (`1000 / steps_per_second` of a training's
metrics), `--bytes-per-frame` the size of the packed shards divided by their frames. The formulae are in
docs/scaling.md.
"""

import argparse
import math

from torch import nn

from lgad_pipeline.config.network import NetworkSpec
from lgad_pipeline.networks.registry import build_network

NETWORKS = {"enet": 1.0, "erfnet": 1.0, "resnet18": 1.0, "resnet34": 1.0}
FRAMES = (88_880, 10_000_000, 1_000_000_000)
GPUS = (1, 8, 64)


def exchange_ms(megabytes: float, gpus: int, *, gigabytes_per_second: float) -> float:
    """Return the time of a ring all-reduce of the gradients, milliseconds."""
    return 2 * (gpus - 1) / gpus * megabytes / gigabytes_per_second


def step_ms(options: argparse.Namespace, megabytes: float, norms: int, gpus: int) -> float:
    """Return the time of a step on several GPUs, milliseconds: share of the batch, and what is exchanged."""
    alone = options.fixed_ms + (options.step_ms - options.fixed_ms) / gpus
    if gpus == 1:
        return alone
    messages = 2 * norms * options.latency_us / 1000 * math.log2(gpus)
    return alone + exchange_ms(megabytes, gpus, gigabytes_per_second=options.gigabytes) + messages


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--network", default="enet", choices=NETWORKS)
    parser.add_argument("--step-ms", type=float, required=True, help="step of the whole batch on one GPU")
    parser.add_argument(
        "--fixed-ms", type=float, default=15.0, help="part of it that no division makes shorter"
    )
    parser.add_argument("--bytes-per-frame", type=float, required=True, help="packed, image and label map")
    parser.add_argument("--batch", type=int, default=128, help="frames of all GPUs together")
    parser.add_argument("--epochs", type=float, default=30.0)
    parser.add_argument("--gigabytes", type=float, default=10.0, help="bandwidth between GPUs, GB/s")
    parser.add_argument("--latency-us", type=float, default=20.0, help="time of a small message")
    options = parser.parse_args()

    print("| network | weights | gradients, MB | batch norms |\n|---|---|---|---|")
    sizes: dict[str, tuple[float, int]] = {}
    for name in NETWORKS:
        network = build_network(NetworkSpec(name=name))
        weights = sum(parameter.numel() for parameter in network.parameters())
        norms = sum(isinstance(module, nn.BatchNorm2d) for module in network.modules())
        sizes[name] = weights * 4 / 1e6, norms
        print(f"| {name} | {weights:,} | {sizes[name][0]:.1f} | {norms} |")

    print("\n| frames | GPUs | shards, GB | steps | ms a step | hours | read, MB/s |")
    print("|---|---|---|---|---|---|---|")
    for frames in FRAMES:
        for gpus in GPUS:
            steps = math.ceil(frames * options.epochs / options.batch)
            each = step_ms(options, *sizes[options.network], gpus)
            cells = [
                f"{frames:,}",
                f"{gpus}",
                f"{frames * options.bytes_per_frame / 1e9:,.0f}",
                f"{steps:,}",
                f"{each:.1f}",
                f"{steps * each / 3.6e6:,.1f}",
                f"{options.batch * options.bytes_per_frame / each / 1000:,.0f}",
            ]
            print(f"| {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
