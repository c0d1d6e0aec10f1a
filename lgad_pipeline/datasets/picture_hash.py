"""Hash of a picture, which is nearly the same for nearly the same pictures."""

import cv2
import numpy as np

_ROWS, _COLUMNS = 16, 16
_FLAT = 6.0  # grey levels; a picture with a smaller standard deviation has no structure to compare


def picture_hash(grey: np.ndarray) -> str | None:
    """Compute the difference hash: a bit for each of 16 x 16 cells, 1 if brighter than its left neighbour.

    Args:
        grey: grey picture, uint8 (H, W), at least 16 x 17; a reduced decoding is sufficient.

    Returns:
        The hash, 256 bits, hexadecimal; None for a picture without structure, such as a black one.
    """
    cells = cv2.resize(grey, (_COLUMNS + 1, _ROWS), interpolation=cv2.INTER_AREA)
    if cv2.meanStdDev(cells)[1] < _FLAT:
        return None
    return np.packbits(cells[:, 1:] > cells[:, :-1]).tobytes().hex()
