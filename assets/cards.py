"""The text that stands with a registered version."""

from collections.abc import Mapping

from assets.scores import Comparison
from assets.shown import markdown_table


def model_card(dataset: str, recipe: str, comparison: Comparison, tags: Mapping[str, str]) -> str:
    """A version's card: what it is for, what it learnt from, how well it does; markdown."""
    total = comparison.total
    low, high = comparison.gain_interval
    return f"""Finds up to four lanes (far left, left, right, far right) in a camera frame.

**Input** JPEG or PNG bytes of a frame of data set `{dataset}`'s size. **Output** lanes as points (x, y) in
frame pixels, with slot and confidence.

**Made by** recipe `{recipe}` with label-guided attention distillation, from data
`{tags["data_fingerprint"]}`, commit `{tags["git_commit"][:14]}`, Dagster run
[{tags["dagster.run_id"][:8]}]({tags["dagster.run"]}).

**Scores** CULane F1 at IoU 0.5 on {total.frames} test frames: {total.lgad.f1:.3f}, against
{total.alone.f1:.3f} of the same student without distillation (gain {100 * (total.gain or 0):+.1f} points,
95 % within {100 * low:+.1f} and {100 * high:+.1f}).

{markdown_table(comparison.table())}
"""
