"""Pictures of masks: one square or oblong per position, large enough to be seen."""

from typing import Any

import numpy as np
import numpy.typing as npt

MOST = 256  # positions shown, and pixels, in each direction


def picture(matrix: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    """Draw a mask, its upper left corner where it is large.

    Each direction is enlarged by a whole factor of its own, as far as there is room: most matrices are much
    longer than wide.

    Args:
        matrix: (inputs, outputs); not zero = kept.

    Returns:
        (height, width, 1), at most 256 x 256; 255 (white) = kept, 0 (black) = masked.

    >>> picture(np.eye(2))[[0, 127, 128, 255], 0, 0]
    array([255, 255,   0,   0], dtype=uint8)
    """
    shown = np.where(matrix[:MOST, :MOST], np.uint8(255), np.uint8(0))
    down, across = (MOST // size for size in shown.shape)
    drawn: npt.NDArray[np.uint8] = shown.repeat(down, axis=0).repeat(across, axis=1)
    return drawn[:, :, np.newaxis]
