"""The errors that a user can mend."""


class LgadError(Exception):
    """Bad input or a bad setting: one sentence that names the file or key, what is wrong, and the remedy."""
