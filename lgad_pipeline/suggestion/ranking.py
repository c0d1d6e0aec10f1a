"""Score of the frames to label next, and their greedy choice without near-identical frames."""

from typing import NamedTuple

import numpy as np

from lgad_pipeline.data.duplicates import NEAR, different_bits, hash_words, near_pictures
from lgad_pipeline.suggestion.measures import FrameMeasures


class Suggestion(NamedTuple):
    """A frame to label.

    Attributes:
        index: index of the frame in the pool.
        score: mean of the three ranks at the time of its choice, 0..1.
        uncertainty: rank of its uncertainty in the pool, 0..1.
        disagreement: rank of its disagreement in the pool, 0..1.
        novelty: rank of its distance to the nearest labelled or chosen frame, 0..1.
    """

    index: int
    score: float
    uncertainty: float
    disagreement: float
    novelty: float


class Choice(NamedTuple):
    """Frames to label, best first, and frames that are not needed.

    Attributes:
        chosen: suggested frames, best first.
        repeats: number of frames of the pool that show nearly the same picture as a labelled or a chosen one.
    """

    chosen: list[Suggestion]
    repeats: int


def choose(pool: FrameMeasures, labelled: FrameMeasures, count: int) -> Choice:
    """Choose the frames of a pool that would improve the student most, one after the other.

    The score of a frame is the mean of three ranks. A rank is the share of the pool with a smaller value: of
    the uncertainty, of the disagreement, and of the novelty, which is the distance to the nearest frame that
    is labelled or already chosen. So every choice lowers the score of frames that resemble it. A frame whose
    picture is nearly the same as a labelled or chosen one (`duplicates.NEAR`) is never chosen.

    Args:
        pool: measures of the frames without labels.
        labelled: measures of the labelled frames; at least one.
        count: greatest number of frames to choose.
    """
    features, known = _standardized(pool.features, labelled.features)
    distance = np.array([np.sqrt(((known - each) ** 2).mean(axis=1)).min() for each in features])
    ranks = [_ranks(values, values) for values in (pool.uncertainty, pool.disagreement)]
    initial = distance.copy()
    repeats = np.zeros(len(features), bool)
    repeats[list(near_pictures(pool.hashes, labelled.hashes))] = True
    hashed, hashes = hash_words(pool.hashes)
    position = {row: index for index, row in enumerate(hashed.tolist())}
    chosen: list[Suggestion] = []
    free = ~repeats
    while len(chosen) < count and free.any():
        novelty = _ranks(distance, initial)
        score = (ranks[0] + ranks[1] + novelty) / 3
        best = int(np.where(free, score, -1.0).argmax())
        values = (score[best], ranks[0][best], ranks[1][best], novelty[best])
        chosen.append(Suggestion(best, *map(float, values)))
        free[best] = False
        if best in position:
            near = hashed[different_bits(hashes, hashes[position[best]]) <= NEAR]
            repeats[near] |= free[near]
            free[near] = False
        step = np.sqrt(((features - features[best]) ** 2).mean(axis=1))
        distance = np.minimum(distance, step)
    return Choice(chosen, int(repeats.sum()))


def _ranks(values: np.ndarray, among: np.ndarray) -> np.ndarray:
    """Return the share of `among` that is smaller than each value, float64 (N,), 0..1."""
    return np.searchsorted(np.sort(among), values, side="left") / max(len(among) - 1, 1)


def _standardized(features: np.ndarray, known: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Scale every feature to mean 0 and deviation 1 over the labelled frames and the pool together."""
    both = np.concatenate([features, known])
    mean, deviation = both.mean(axis=0), both.std(axis=0)
    varied = deviation > 1e-9 * np.abs(mean) + 1e-12
    scale = np.where(varied, deviation, 1.0)
    return (features - mean) / scale, (known - mean) / scale
