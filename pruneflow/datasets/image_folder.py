"""A folder of images of the user's own: an option of the group ``dataset``."""

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from pruneflow.datasets.base import Own, check_white
from pruneflow.datasets.looks import looked
from pruneflow.datasets.preparation import Preparation
from pruneflow.datasets.reading.cache import Place, image_folder
from pruneflow.datasets.reading.decoded import Cache, Decoded, decoded
from pruneflow.datasets.reading.decoding import MODES, RESIZES, Decoding
from pruneflow.datasets.reading.folders import HALVES, Listing, listed_images
from pruneflow.datasets.reading.names import check_class_names, listed, printable, require_every_class
from pruneflow.datasets.reading.network_input import image_shape_in
from pruneflow.datasets.rows import Rows
from pruneflow.datasets.spec import Data, Part, Spec
from pruneflow.datasets.split import (
    TEST_STREAM,
    TRAIN_STREAM,
    VALIDATION_STREAM,
    Halves,
    held_out_by_seed,
    said_of_test,
)
from pruneflow.errors import DataError
from pruneflow.options import Numbers, at_most, option, require, require_number, require_one_of, whole_from
from pruneflow.runtime.surroundings import expanded

SHAPE = ("height", "width", "channels")
CACHED_BY = (*SHAPE, "resize", "white", "limit")  # settings that decide pixels
COLOURS = 3

FORMATS = "a folder with a folder of images for each class, or one with train, validation and test of them"


@option("dataset", "image_folder")
@dataclass(kw_only=True)
class ImageFolder(Own):
    """Images in a folder for each class."""

    kind = "image"

    path: str | None
    class_names: list[str] | None
    network: str | None
    height: int | None = at_most(10_000)
    width: int | None = at_most(10_000)
    channels: int | None
    resize: str
    white: float | None
    corrupt: str
    cache_dir: str | None
    cache_max_bytes: int = at_most(2**63 - 1)

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_names("cache_dir", "network")
        self._named("path", FORMATS)
        self._check_size()
        check_class_names(self.class_names or ())
        require_one_of("dataset.resize", self.resize, RESIZES)
        require_one_of("dataset.corrupt", self.corrupt, ("refuse", "skip"))
        modes = Numbers("allowed are 1, 3 and 4, or null", lambda value: value in MODES)
        remedy = "1 is grey, 3 colours, 4 colours and transparency."
        require_number("dataset.channels", self.channels, modes, remedy)
        check_white(self.white)
        most, remedy = self.cache_max_bytes, "0 decodes at each epoch."
        require_number("dataset.cache_max_bytes", most, whole_from(0), remedy)

    def _check_size(self) -> None:
        for key, other in (("height", "width"), ("width", "height")):
            value = getattr(self, key)
            require_number(f"dataset.{key}", value, whole_from(1).said("{}, or null"), "Raise it.")
            both, problem = value is None or getattr(self, other) is not None, f"dataset.{other} is null"
            require(both, f"dataset.{key}", value, problem, "Set both or none.")

    def load(self) -> Data:
        """List the images, decode them where that was not done before, and cut them into parts.

        Returns:
            Parts with x `Rows` of (n, height, width, channels) uint8, or float32 where they are resized as
            Keras does, which are read when they are asked for, and y (n,) labels 0 .. classes - 1.
        """
        place = self._named("path", FORMATS)
        whole = place.read(partial(listed_images, order=self.class_names or ()))
        listing = self._limited(self._tested(whole))
        found = decoded(listing, self._decoding, self._cache, skip=self.corrupt == "skip")
        _require_some_of_each(listing, found)
        data = self._cut(listing, found, place)
        require_every_class(data, data.class_names)
        said = "" if len(whole.of("test")) else self._said(data, whole)
        note = " ".join(filter(None, (self._said_of_network(), said, _left_out(found, len(listing)))))
        return looked(replace(data, note=note, left_out=tuple(map(printable, found.left_out))))

    def preparation(self, data: Data) -> Preparation:
        """Resize and brighten as the examples were."""
        return replace(super().preparation(data), resize=self.resize, white=self.white)

    def _tested(self, listing: Listing) -> Listing:
        """Hold a test part out where there is none."""
        if len(listing.of("test")):
            return listing
        train = listing.of("train")
        chosen = train[held_out_by_seed(listing.y[train], self.test_fraction, self.split_seed)]
        part = listing.part.copy()
        part[chosen] = HALVES.index("test")
        return replace(listing, part=part)

    def _said(self, data: Data, listing: Listing) -> str:
        how = "drawn by dataset.split_seed: there is no folder test"
        return said_of_test(data, "images", how, validation_too=not len(listing.of("validation")))

    def _limited(self, listing: Listing) -> Listing:
        """Draw the limit before anything is decoded."""
        streams = {"train": TRAIN_STREAM, "validation": VALIDATION_STREAM, "test": TEST_STREAM}
        kept = []
        for half, stream in streams.items():
            places = listing.of(half)
            kept.append(places[self._plan.limited(listing.y[places], stream)])
        return listing.at(np.sort(np.concatenate(kept)))

    def _cut(self, listing: Listing, found: Decoded, place: Place) -> Data:
        rows, kept = Rows(found.source, np.arange(len(found.kept))), listing.at(found.kept)
        parts = {half: kept.of(half) for half in HALVES}
        train, validation, test = (Part(rows.taken(at), kept.y[at]) for at in parts.values())
        halves = Halves(train, test, "", validation=validation if len(validation) else None)
        spec = Spec("image", found.source.shape, len(listing.classes))
        plan = replace(self._plan, limit=None)
        data = plan.apply(halves, name=self.name, spec=spec, source=place.source(""))
        return replace(data, class_names=listing.classes)

    @property
    def _read_by_network(self) -> dict[str, int]:
        """Return height, width and channels of the network, those that no setting names."""
        found = image_shape_in(expanded("dataset.network", self.network)) if self.network else None
        sizes = dict(zip(SHAPE, found or (), strict=False))
        if self.height or sizes.get("height") is None or sizes.get("width") is None:
            sizes = {"channels": sizes.get("channels")}
        unset = {key: size for key, size in sizes.items() if size and getattr(self, key) is None}
        return unset if unset.get("channels", 3) in MODES else {}

    def _said_of_network(self) -> str:
        found = self._read_by_network
        if not found:
            return ""
        sizes = ", ".join(f"{key} {size}" for key, size in found.items())
        return f"Images have what {Path(str(self.network)).name} reads: {sizes}."

    @property
    def _shape(self) -> tuple[int | None, int | None, int]:
        """Height, width and channels that are asked for, by settings or by the network."""
        height, width, channels = (self._read_by_network.get(key, getattr(self, key)) for key in SHAPE)
        return height, width, channels or COLOURS

    @property
    def _decoding(self) -> Decoding:
        height, width, channels = self._shape
        size = (height, width) if height and width else None
        return Decoding(size, channels, self.resize, self.white)

    @property
    def _cache(self) -> Cache:
        asked = {key: getattr(self, key) for key in CACHED_BY}
        asked |= dict(zip(SHAPE, self._shape, strict=True))
        if self.limit is not None:  # other images are drawn
            asked |= {"split_seed": self.split_seed, "test_fraction": self.test_fraction}
            asked |= {"class_names": list(self.class_names or ())}
        return Cache(image_folder(self.cache_dir), self.cache_max_bytes, asked)


def _left_out(found: Decoded, count: int) -> str:
    if not found.left_out:
        return ""
    left = f"{len(found.left_out):,} of {count:,} images cannot be decoded and were left out"
    return f"{left}: {listed(list(found.left_out))}."


def _require_some_of_each(listing: Listing, found: Decoded) -> None:
    """Refuse a part of which nothing is left: what was drawn in its place would be another."""
    for half in HALVES:
        places = listing.of(half)
        if len(places) and not np.isin(places, found.kept).any():
            bad = [listing.names[place] for place in places]
            shown = listed([f"{name} ({found.left_out[name]})" for name in bad])
            raise DataError(
                f"{listing.root}: none of the {len(bad):,} images of the {half} part can be decoded: "
                f"{shown}. Mend or remove them."
            )
