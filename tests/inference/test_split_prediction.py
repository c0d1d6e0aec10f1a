from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import torch

from lgad_pipeline.config.decoding import DecodeConfig
from lgad_pipeline.data.shards import ShardSet
from lgad_pipeline.inference.predictor import write_predictor
from lgad_pipeline.inference.split_prediction import predict_split
from lgad_pipeline.networks.checkpoint import save_network
from lgad_pipeline.networks.registry import build_network
from lgad_pipeline.process_pool import on_cluster
from tests.support.trainings import SPEC, pack_road


def test_frames_that_another_process_predicts_have_the_same_lane_files(tmp_path: Path) -> None:
    (tmp_path / "road").mkdir()
    shards = ShardSet.open(pack_road(tmp_path / "road"))
    torch.manual_seed(0)
    save_network(tmp_path / "student", build_network(SPEC), spec=SPEC)
    everything = DecodeConfig(existence_threshold=0.0, peak_threshold=0.0)
    write_predictor(tmp_path / "student", shards.view, decode_config=everything)
    counts: list[int] = []

    def predict(output: Path) -> dict[str, bytes]:
        predict_split(
            tmp_path / "student",
            shards["train"],
            output_root=output,
            progress=lambda done, total: counts.append(done),
            device="cpu",
            batch_size=4,
        )
        return {path.name: path.read_bytes() for path in output.rglob("*.lines.txt")}

    here = predict(tmp_path / "here")
    assert len(here) == 6 and any(here.values()) and counts == [4, 6]
    with ProcessPoolExecutor(1, get_context("spawn")) as pool, on_cluster(pool.map):
        assert predict(tmp_path / "there") == here
    assert counts == [4, 6, 6]
