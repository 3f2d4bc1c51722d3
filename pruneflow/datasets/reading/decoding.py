"""Image files as pixels, with Pillow; JPEG files that are read as Keras does with TensorFlow.

Pillow where it gives the same pixels: it knows palettes, 16 bits and the turned photographs of telephones,
and needs no TensorFlow, so that bad files are told before that is loaded. JPEG files have other pixels in
TensorFlow, which takes a faster and coarser transform.
"""

import io
import warnings
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from pruneflow.datasets.reading.files import content_of
from pruneflow.datasets.reading.names import printable
from pruneflow.datasets.reading.resizing import resized_as_keras
from pruneflow.errors import DataError
from pruneflow.runtime import backend
from pruneflow.runtime.device import processors, started

FORMATS = ("PNG", "JPEG", "BMP", "GIF", "WEBP")
JPEG = b"\xff\xd8\xff"  # that such a file begins with
RESIZES = ("keras", "nearest", "box", "bilinear", "bicubic", "lanczos")
GREY_WEIGHTS = np.array([9797, 19234, 32768 - 9797 - 19234])  # of red, green, blue, in units of 1 / 32768
COLOURS = 3
MODES = {1: "L", 3: "RGB", 4: "RGBA"}  # of Pillow, by channels
MOST_PIXELS = 1 << 27  # a file that declares more is refused, not unpacked
WAITING = 4  # results that may wait, for each worker

T = TypeVar("T")
U = TypeVar("U")


class UndecodableError(DataError):
    """A file that holds no whole image."""


@dataclass(frozen=True)
class Decoding:
    """The settings that turn files into pixels.

    Attributes:
        size: Height and width; None takes those of the file.
        channels: 1 for grey, 3 for colours, 4 for colours and transparency.
        resize: How other sizes are brought to this one; one of `RESIZES`.
        white: Value of a white pixel in the files; None takes all bits.
    """

    size: tuple[int, int] | None
    channels: int
    resize: str
    white: float | None = None

    @property
    def dtype(self) -> np.dtype[Any]:
        """float32 where pixels are resized without rounding, as Keras does, else uint8."""
        return np.dtype(np.float32 if self.resize == "keras" and self.size else np.uint8)

    def decode(self, path: Path) -> npt.NDArray[Any]:
        """Read one image.

        What its EXIF data say about how the camera was held is followed, unless it is read as Keras does.

        Returns:
            (height, width, channels) of `dtype`.

        Raises:
            UndecodableError: if the file is no image, cut short or changed.
            PruneflowError: if it cannot be read, or if TensorFlow is needed and cannot be started.
        """
        try:
            content = content_of(path)
        except OSError as error:
            shown = printable(str(path))
            raise DataError(f"{shown}: cannot be read ({error.strerror}). Check its permissions.") from error
        return self.pixels(content)

    def pixels(self, content: bytes) -> npt.NDArray[Any]:
        """Decode the content of one file, as `decode` has it."""
        if self.resize == "keras" and content.startswith(JPEG):
            started()
        try:
            return self._pixels(content)
        except Exception as error:  # a broken file can raise anything
            said = " ".join(str(error).split()) or type(error).__name__
            raise UndecodableError(_reason(content, said)) from error

    def _pixels(self, content: bytes) -> npt.NDArray[Any]:
        from PIL import Image, ImageOps

        as_keras = self.resize == "keras"
        with Image.open(io.BytesIO(content), formats=FORMATS) as image:
            if image.width * image.height > MOST_PIXELS:
                raise ValueError(f"it declares {image.width} x {image.height} pixels, too many to read")
            turned = self._as_tensorflow(image, content) if as_keras else ImageOps.exif_transpose(image)
            plain = self._converted(_eight_bits(turned, self.white))
            if not as_keras and self.size and (plain.height, plain.width) != self.size:
                method = Image.Resampling[self.resize.upper()]
                plain = plain.resize(self.size[::-1], method)
            pixels = np.asarray(plain, np.uint8)
        pixels = pixels.reshape(*pixels.shape[:2], self.channels)
        return resized_as_keras(pixels, self.size) if as_keras and self.size else pixels

    def _as_tensorflow(self, image: Any, content: bytes) -> Any:
        """Decode a JPEG file with TensorFlow; what it does not read, CMYK as grey, is left to Pillow."""
        from PIL import Image

        grey = self.channels == 1
        if not content.startswith(JPEG) or (grey and image.mode == "CMYK"):
            return image
        tf = backend.tensorflow()
        try:
            pixels = tf.raw_ops.DecodeJpeg(contents=content, channels=1 if grey else COLOURS).numpy()
        except tf.errors.InvalidArgumentError:
            image.load()  # says better what is wrong
            raise
        return Image.fromarray(pixels[..., 0] if grey else pixels)

    def _converted(self, image: Any) -> Any:
        """Bring an image to the channels that are asked for."""
        coloured = image.mode not in ("1", "L", "LA")
        if self.resize == "keras" and self.channels == 1 and coloured:
            return _grey_as_keras(image)
        return image.convert(MODES[self.channels])


def _grey_as_keras(image: Any) -> Any:
    """Grey of a picture in colours with the weights, and the rounding down, of libpng in TensorFlow."""
    from PIL import Image

    colours = np.asarray(image.convert("RGB")).astype(np.int64)
    return Image.fromarray((colours @ GREY_WEIGHTS >> 15).astype(np.uint8))


def _eight_bits(image: Any, white: float | None) -> Any:
    """An image whose white is 255; of 16 bits, Pillow would cut everything above 255 off."""
    deep = image.mode.startswith("I")
    if white is None and not deep:
        return image
    from PIL import Image

    if white is None:
        values = np.asarray(image).astype(np.int64) >> 8
    else:
        plain = image.convert("RGB") if image.mode in ("P", "1", "CMYK", "YCbCr") else image
        values = np.rint(np.asarray(plain).astype(np.float64) * (255 / white))
    return Image.fromarray(values.clip(0, 255).astype(np.uint8))


def _reason(content: bytes, said: str) -> str:
    if not content:
        return "empty"
    return "not an image" if "cannot identify" in said else said


@contextmanager
def strictly() -> Iterator[None]:
    """Take Pillow's warning of images that are suspiciously large for what it is, and no other of its own."""
    from PIL import Image

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        yield


def workers() -> int:
    """Threads that decode: one for each processor that this process may use."""
    return processors()


def in_parallel(function: Callable[[T], U], items: Iterable[T]) -> Generator[U]:
    """Results in the order of the items, of which a few are worked on at a time."""
    count = workers()
    with ThreadPoolExecutor(count) as executor:
        waiting: deque[Future[U]] = deque()
        try:
            for item in items:
                waiting.append(executor.submit(function, item))
                if len(waiting) > WAITING * count:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
