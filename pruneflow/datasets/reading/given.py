"""Arrays that somebody brings, as a data set: what they are, which labels they have, how they are cut."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from pruneflow.datasets.looks import looked
from pruneflow.datasets.reading.checks import Array, described, expect
from pruneflow.datasets.reading.ids import checked_ids
from pruneflow.datasets.reading.kinds import kind_of
from pruneflow.datasets.reading.labels import Naming, numbered
from pruneflow.datasets.reading.names import require_every_class
from pruneflow.datasets.reading.numbers import checked_numbers, standardised
from pruneflow.datasets.reading.pixels import UNKNOWN, Reading, checked_pixels
from pruneflow.datasets.reading.targets import checked_targets, learnable
from pruneflow.datasets.spec import Data, Part, Spec
from pruneflow.datasets.split import (
    Halves,
    Indices,
    Plan,
    copies_of,
    held_out_by_seed,
    said_of_groups,
    said_of_test,
)
from pruneflow.options import require

__all__ = ["Aim", "Given", "Labelled", "assembled"]


@dataclass(frozen=True)
class Aim:
    """What is made of arrays.

    Attributes:
        name: Label in tables.
        source: Where they come from, for the result.
        standardise: Whether numbers get mean 0 and standard deviation 1, measured on the training part.
        numbers: Whether labels are numbers to predict, rather than classes.
        standardise_targets: Whether these are standardised too.
        examples: What examples are, one of `pruneflow.datasets.reading.kinds.KINDS`.
        pixels: What is said of images.
    """

    name: str
    source: str
    standardise: bool
    numbers: bool = False
    standardise_targets: bool = True
    examples: str = "auto"
    pixels: Reading = UNKNOWN


@dataclass(frozen=True)
class Labelled:
    """Examples and their labels, as somebody made them.

    Attributes:
        x: (n, ...) examples.
        y: (n,) labels, or (n, targets) numbers to predict.
        names: What messages call the two.
    """

    x: Array
    y: Array
    names: tuple[str, str]


@dataclass(frozen=True)
class Given:
    """Arrays of the parts that there are.

    Attributes:
        where: Where they come from, for messages.
        train: For training.
        test: For testing; None holds some of ``train`` out.
        validation: For validation; None takes some of what is left of ``train``.
        class_names: What class 0, 1, ... are called; empty takes the labels.
        class_order: The setting ``dataset.class_names``: the labels in the order of their numbers; empty
            takes their own order.
        note: What else is to be said of them.
        groups: (n,) of which person, or recording, each example of ``train`` is; those of one come into one
            part. None where that is not asked.
    """

    where: object
    train: Labelled
    test: Labelled | None = None
    validation: Labelled | None = None
    class_names: tuple[str, ...] = ()
    class_order: tuple[str, ...] = ()
    note: str = ""
    groups: Array | None = None

    @property
    def parts(self) -> list[Labelled]:
        """Those that there are: training, test, validation."""
        return [part for part in (self.train, self.test, self.validation) if part is not None]


def assembled(given: Given, plan: Plan, aim: Aim) -> Data:
    """Make a data set of arrays.

    Args:
        given: The arrays: images (n, height, width) or (n, height, width, channels), numbers (n, features),
            signals (n, ..., channels) or token ids (n, length).
        plan: How they are cut.
        aim: What is made of them.

    Raises:
        DataError: naming what is wrong with an array.
        ConfigError: if a part would be empty.
    """
    for part in given.parts:
        _check_pair(given, part)
    kind, xs, said, ids = _examples(given, aim)
    ys, names = _answers(given, numbers=aim.numbers)
    halves = _halves(given, plan, [Part(x, y) for x, y in zip(xs, ys, strict=True)])
    spec = Spec("numbers" if kind == "signal" else kind, xs[0].shape[1:], len(names), ids)
    data = plan.apply(halves, name=aim.name, spec=spec, source=aim.source)
    data = replace(data, note=" ".join(filter(None, (said, _drawn(given, data), given.note))))
    if spec.kind == "numbers":
        data = standardised(data, wanted=aim.standardise)
    if aim.numbers:
        return looked(learnable(data, standardise=aim.standardise_targets))
    require_every_class(data, names)
    plain = names == tuple(map(str, range(len(names))))
    return looked(replace(data, class_names=() if plain else names))


def _examples(given: Given, aim: Aim) -> tuple[str, list[Array], str, int]:
    """What the examples are, they as they are stored, what is to be said of that, and the number of ids."""
    found = [(part.names[0], part.x) for part in given.parts]
    kind, said = kind_of(given.where, found, aim.examples, white=aim.pixels.white)
    _refuse_unused(given, kind, aim)
    if kind == "image":
        xs, did = checked_pixels(given.where, found, aim.pixels)
        return kind, xs, did, 0
    if kind == "tokens":
        xs, count = checked_ids(given.where, found)
        return kind, xs, f"Token ids go from 0 to {count - 1:,}, the largest that occurs.", count
    return kind, checked_numbers(given.where, found), said, 0


def _refuse_unused(given: Given, kind: str, aim: Aim) -> None:
    """Refuse settings of images for what is none, which nothing would read."""
    for key, value in vars(aim.pixels).items():
        problem = f"{given.train.names[0]} of {given.where} has no pixels, but is read as {kind}"
        fits = value is None or kind == "image"
        require(fits, f"dataset.{key}", value, problem, "Set it to null, or dataset.examples=image.")


def _answers(given: Given, *, numbers: bool) -> tuple[list[Array], tuple[str, ...]]:
    """What is to be learned, of each part, and the names of the classes where it is classes."""
    found = [(part.names[1], part.y) for part in given.parts]
    if not numbers:
        ys, names = numbered(given.where, found, Naming(given.class_names, given.class_order))
        return list(ys), names
    named = ", ".join(given.class_names)
    expect(not named, given.where, "class_names", "none, as dataset.task=regression has no classes", named)
    return checked_targets(given.where, found), ()


def _check_pair(given: Given, part: Labelled) -> None:
    """Refuse what is no examples with labels, and examples of another shape than those for training."""
    (x_name, y_name), x, y, where = part.names, part.x, part.y, given.where
    shapes = "images (n, height, width) or (n, height, width, channels), signals, or numbers (n, features)"
    expect(x.ndim >= 2 and x.size > 0, where, x_name, f"{shapes}, at least one example", described(x))
    count = len(y) if y.ndim else 0
    expect(count == len(x), where, y_name, f"{len(x)} labels, one for each row of {x_name}", described(y))
    first = given.train.x
    alike = x.shape[1:] == first.shape[1:]
    expect(alike, where, x_name, f"examples of {first.shape[1:]} as in {given.train.names[0]}", described(x))


def _halves(given: Given, plan: Plan, parts: Sequence[Part]) -> Halves:
    """The parts that there are, or a test part drawn from the first one."""
    validation, groups = parts[-1] if given.validation else None, _groups(given)
    if given.test:
        return Halves(parts[0], parts[1], "", validation=validation, copies=groups)
    whole, fraction = parts[0], plan.test_fraction
    chosen = held_out_by_seed(whole.y, fraction, plan.split_seed, groups)
    rest = np.delete(np.arange(len(whole)), chosen)
    train, test = (Part(whole.x[at], whole.y[at]) for at in (rest, chosen))
    copies = None if groups is None else groups[rest]
    return Halves(train, test, "", validation=validation, copies=copies)


def _groups(given: Given) -> Indices | None:
    """Numbers of the groups of the training examples."""
    groups, count = given.groups, len(given.train.y)
    if groups is None:
        return None
    fits = groups.shape == (count,) and groups.dtype.kind in "biuUS"
    expected = f"whole numbers or texts ({count},), one for each training example"
    expect(fits, given.where, "of groups", expected, described(groups))
    return copies_of(list(map(str, groups.tolist())))


def _drawn(given: Given, data: Data) -> str:
    """A note where the test part was drawn."""
    how = "drawn by dataset.split_seed: there is none of its own"
    said = "" if given.test else said_of_test(data, "examples", how, validation_too=given.validation is None)
    groups = _groups(given)
    drawn = " and ".join(
        part for part, there in (("test", given.test), ("validation", given.validation)) if not there
    )
    of_groups = said_of_groups(groups, drawn)
    if groups is not None and not drawn:
        of_groups = "Groups were not used: all parts are given."
    return f"{said} {of_groups}".strip()
