"""Bilinear resizing as TensorFlow does it, bit for bit, without TensorFlow.

``tf.image.resize(image, size)``, and so ``keras.utils.image_dataset_from_directory``, takes the four pixels
around each point, also where an image becomes much smaller (no antialiasing), and gives float32.
"""

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]


def resized_as_keras(pixels: npt.NDArray[np.uint8], size: tuple[int, int]) -> Floats:
    """Resize one image.

    Args:
        pixels: (height, width, channels) uint8.
        size: Height and width that are wanted.

    Returns:
        (*size, channels) float32 in [0, 255], not rounded.

    >>> resized_as_keras(np.array([[[0], [100]]], np.uint8), (1, 4))[0, :, 0].tolist()
    [0.0, 25.0, 75.0, 100.0]
    """
    if pixels.shape[:2] == size:
        return pixels.astype(np.float32)
    top, bottom, down = _between(pixels.shape[0], size[0])
    left, right, along = _between(pixels.shape[1], size[1])
    along, down = along[None, :, None], down[:, None, None]
    upper, lower = (pixels.take(rows, 0).astype(np.float32) for rows in (top, bottom))
    # The order of the arithmetic, all in float32, is that of the kernel ResizeBilinear (TensorFlow 2.21).
    above, below = (
        before + (rows.take(right, 1) - before) * along
        for rows, before in ((upper, upper.take(left, 1)), (lower, lower.take(left, 1)))
    )
    resized: Floats = above + (below - above) * down
    return resized


def _between(count: int, wanted: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], Floats]:
    """For each wanted row: the rows before and behind it, and where it lies between them, [0, 1)."""
    scale = np.float32(count) / np.float32(wanted)
    at = (np.arange(wanted, dtype=np.float32) + np.float32(0.5)) * scale - np.float32(0.5)
    floor = np.floor(at)
    first = np.maximum(floor.astype(np.int64), 0)
    second = np.minimum(np.ceil(at).astype(np.int64), count - 1)
    return first, second, (at - floor).astype(np.float32)
