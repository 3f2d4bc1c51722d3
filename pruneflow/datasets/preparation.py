"""The steps from a file with one example to the input of a network."""

from __future__ import annotations

from dataclasses import dataclass

from pruneflow.datasets.spec import Data

IMAGE_CHANNELS = (1, 3, 4)  # of image files: grey, colours, colours and transparency


@dataclass(frozen=True)
class Preparation:
    """The steps from a file to the input of a network.

    Attributes:
        file: What the file is: ``"image"``, ``"text"``, or ``"array"``, a .npy file.
        kind: What an example is, see `pruneflow.Spec`.
        shape: Of one example.
        pixels: What black and white become; None where there are no pixels.
        resize: How an image of another size is resized, see `pruneflow.datasets.image_folder.ImageFolder`;
            empty where it must have the size.
        white: Value of white in image files and arrays; None takes all bits of files, 8 or 16, and bytes of
            arrays as they are.
        words: How texts are cut: at ``"blanks"``, or into ``"characters"``; empty for others.
        vocabulary_size: Number of token ids; 0 for others.
        mean: What is taken off each feature or channel; empty where they are read as they are.
        scale: What the rest is divided by.
        channels_first: Whether the channels of an image in a .npy file lie before height and width.
    """

    file: str
    kind: str
    shape: tuple[int, ...]
    pixels: tuple[float, float] | None = None
    resize: str = ""
    white: float | None = None
    words: str = ""
    vocabulary_size: int = 0
    mean: tuple[float, ...] = ()
    scale: tuple[float, ...] = ()
    channels_first: bool = False

    @classmethod
    def of(cls, data: Data) -> Preparation:
        """Return the steps that follow from the data alone, whichever option they come from."""
        spec, facts = data.spec, data.standardisation or {}
        image = spec.kind == "image"
        mean, scale = (tuple(map(float, facts.get(key, ()))) for key in ("mean", "scale"))
        moved = spec.is_measured and len(mean) == len(scale) == spec.shape[-1]
        return cls(
            file="image" if image and spec.shape[-1] in IMAGE_CHANNELS else "array",
            kind=spec.kind,
            shape=tuple(map(int, spec.shape)),
            pixels=(spec.pixels or (0.0, 1.0)) if image else None,
            white=data.white,
            channels_first=data.channels_first,
            vocabulary_size=int(spec.vocabulary_size),
            mean=mean if moved else (),
            scale=scale if moved else (),
        )
