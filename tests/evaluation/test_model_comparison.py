"""Comparison of two networks on the packed frames of a small road data set."""

from pathlib import Path

import pytest
import torch

from lgad_pipeline.config.decoding import DecodeConfig
from lgad_pipeline.config.promotion import PromotionConfig
from lgad_pipeline.data.ingestion import ingest
from lgad_pipeline.data.lane_labels import assign_lane_slots
from lgad_pipeline.data.shards import ShardSet, pack_shards
from lgad_pipeline.evaluation.model_comparison import ChangedFrameError, compare_with_champion
from lgad_pipeline.evaluation.promotion import Verdict
from lgad_pipeline.inference.predictor import write_predictor
from lgad_pipeline.networks.checkpoint import save_network
from lgad_pipeline.networks.registry import build_network
from tests.support.trainings import SPEC, pack_road

SPLITS = {"train": range(4), "val": [4, 5, 6], "test": [7]}


def test_all_packed_frames_are_scored_and_a_missing_or_changed_one_is_an_error(tmp_path: Path):
    packed = ShardSet.open(pack_road(tmp_path, SPLITS))
    frames = ingest(tmp_path).frames
    networks = tmp_path / "champion", tmp_path / "challenger"
    for seed, folder in enumerate(networks):
        torch.manual_seed(seed)
        save_network(folder, build_network(SPEC), spec=SPEC)
        write_predictor(folder, packed.view, decode_config=DecodeConfig())

    def verdict(shards: ShardSet) -> Verdict:
        rule = PromotionConfig(least_frames=3)
        return compare_with_champion(*networks, frames=frames, shards=shards, recordings=tmp_path, rule=rule)

    found = verdict(packed)
    assert (found.total.frames, found.total.judged, found.scenarios[0].frames) == (3, True, 1)
    frame = tmp_path / "5.jpg"
    content = frame.read_bytes()
    frame.write_bytes((tmp_path / "4.jpg").read_bytes())
    with pytest.raises(ChangedFrameError, match=r"5\.jpg has changed since it was ingested; restore it, or"):
        verdict(packed)
    frame.unlink()
    with pytest.raises(ChangedFrameError, match=r"5\.jpg cannot be read; restore it, or ingest"):
        verdict(packed)
    fewer = pack_shards(
        frames,
        assign_lane_slots(frames),
        root=tmp_path,
        output=tmp_path / "fewer",
        view=packed.view,
        lane_width=40,
    )
    few = verdict(fewer)  # packing has reported this frame
    assert list(fewer.rejected["file"]) == ["5.jpg"] and few.total.frames == 2
    assert few.objections[0] == "there are 2 validation frames, fewer than the 3 of least_frames"
    frame.write_bytes(content)
    assert verdict(packed).total == found.total
