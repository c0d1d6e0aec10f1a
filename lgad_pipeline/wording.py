"""Words of messages that depend on a number."""


def counted(number: int, noun: str) -> str:
    """Return a number and its noun, such as `1 line` or `2 lines`."""
    return f"{number} {noun}{'s' * (number != 1)}"
