"""Lane slots of a data set: their number, their names, and the rows on which lanes are labelled."""

from dataclasses import dataclass


@dataclass(frozen=True)
class SlotScheme:
    """Number of lane slots, and rows on which lanes are labelled.

    Attributes:
        slots: number of slots, an even number: half of them are to the left of the car, half to the right.
        rows: number of label rows, from the bottom of the frame up.
        divisions: the label rows are 1 / `divisions` of the frame's height apart.
    """

    slots: int = 4
    rows: int = 35
    divisions: int = 59


CULANE = SlotScheme()
"""CULane's scheme: four slots, 35 rows that are 10 px apart in a frame 590 px high."""


def slot_names(slots: int) -> tuple[str, ...]:
    """Return the names of the slots from left to right."""
    if slots == CULANE.slots:
        return ("far left", "left", "right", "far right")
    half = slots // 2
    left = [f"left {place}" if place > 1 else "left" for place in range(half, 0, -1)]
    right = [f"right {place}" if place > 1 else "right" for place in range(1, half + 1)]
    return (*left, *right)
