"""F1 of a blind guess: the same lanes in every frame. A student must score above it."""

import numpy as np

from assets.scores import Comparison
from resources.paths import ProjectPaths


def blind_lanes(paths: ProjectPaths) -> list[np.ndarray]:
    """The median training lane of every slot that most training frames have; (x, y) in frame pixels."""
    from lgad_pipeline.data import frame_table as tables

    splits = tables.read_table(paths.frames)["split"].to_numpy()
    labels = tables.read_table(paths.lane_labels)[splits == "train"]
    existence = np.array([list(flags) for flags in labels["existence"]], bool)
    rows = np.asarray(list(labels["rows"].iloc[0]), float)
    lanes = []
    for slot in range(4):
        chosen = labels["xs"][existence[:, slot]]
        if 2 * len(chosen) < len(labels) or not len(chosen):
            continue
        xs = np.array([np.asarray(list(lane[slot]), float) for lane in chosen])
        usual = np.isfinite(xs).mean(axis=0) >= 0.5
        lanes.append(np.stack([np.nanmedian(xs[:, usual], axis=0), rows[usual]], axis=1).astype(np.float32))
    return lanes


def blind_f1(paths: ProjectPaths, frame_size: tuple[int, int]) -> float:
    """F1 at IoU 0.5 on the test frames of drawing `blind_lanes` into every one of them."""
    from lgad_pipeline.data import frame_table as tables
    from lgad_pipeline.evaluation.culane import true_positives
    from lgad_pipeline.evaluation.types import Counts

    table = tables.read_table(paths.frames)
    annotated = [tables.lanes_of(lanes) for lanes in table.loc[table["split"] == "test", "lanes"]]
    guess = blind_lanes(paths)
    hits = int(true_positives([(lanes, guess) for lanes in annotated], frame_size=frame_size).sum())
    guesses, lanes = len(guess) * len(annotated), sum(len(lanes) for lanes in annotated)
    return Counts(hits, guesses - hits, lanes - hits).f1


def chance_objection(paths: ProjectPaths, comparison: Comparison, frame_size: tuple[int, int]) -> str:
    """Why a student that does no better than a blind guess must not be used, as a clause; else empty."""
    chance, f1 = blind_f1(paths, frame_size), comparison.total.lgad.f1 or 0.0
    if f1 > chance:
        return ""
    return f"its F1 on test frames, {f1:.3f}, is not above the {chance:.3f} of a blind guess"
