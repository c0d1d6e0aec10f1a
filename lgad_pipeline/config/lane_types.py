"""Names of the lane types that a network tells apart."""

from typing import Annotated

from pydantic import AfterValidator

LONGEST_TYPE = 60
"""Number of characters of the longest type of a lane, annotated or named."""

_MOST = 16


def _checked(names: tuple[str, ...]) -> tuple[str, ...]:
    """Return the names in lower case, with one space between their words.

    Raises:
        ValueError: there is one name only, there are too many, or a name is empty, too long or a repetition.
    """
    plain = tuple(" ".join(dict.fromkeys(name.lower().split())) for name in names)
    if len(plain) == 1:
        raise ValueError(f"it names {plain[0]!r} alone; add the types to tell it from, or leave the key out")
    if len(plain) > _MOST:
        raise ValueError(f"it names {len(plain)} types; leave {_MOST} of them at most")
    words: dict[frozenset[str], str] = {}
    for name in plain:
        if not name or not name.isprintable():
            raise ValueError(f"it holds the name {name!r}; write the words of a type, such as solid")
        if len(name) > LONGEST_TYPE:
            raise ValueError(f"{name!r} has {len(name)} characters; write {LONGEST_TYPE} at most")
        known = words.setdefault(frozenset(name.split()), name)
        if known is not name:
            raise ValueError(f"{known!r} and {name!r} have the same words; remove one of them")
    return plain


LaneTypes = Annotated[tuple[str, ...], AfterValidator(_checked)]
"""Names of lane types, each one or several words; empty for none."""
