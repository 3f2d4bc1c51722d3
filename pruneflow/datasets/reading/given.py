"""Arrays that somebody brings, as a data set: what they are, which labels they have, how they are cut."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from pruneflow.datasets.groups import refuse_shared_groups, said_of_groups
from pruneflow.datasets.looks import looked
from pruneflow.datasets.reading.checks import Array, described, expect
from pruneflow.datasets.reading.ids import checked_ids
from pruneflow.datasets.reading.kinds import kind_of
from pruneflow.datasets.reading.labels import Naming, numbered
from pruneflow.datasets.reading.names import require_every_class
from pruneflow.datasets.reading.numbers import checked_numbers, standardised
from pruneflow.datasets.reading.pixels import UNKNOWN, Reading, checked_pixels, white_taken
from pruneflow.datasets.reading.targets import checked_targets, learnable
from pruneflow.datasets.spec import Data, Part, Spec
from pruneflow.datasets.split import (
    Halves,
    Indices,
    Plan,
    copies_of,
    held_out_by_seed,
    said_of_test,
    taken,
)
from pruneflow.datasets.weights import checked_weights, said_of_weights
from pruneflow.options import require


@dataclass(frozen=True)
class Aim:
    """The kind of data that arrays become.

    Attributes:
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
        groups: (n,) of which person, or recording, each example is; None where that is not known.
        weights: (n,) how much each example counts in the training loss; None counts each once.
    """

    x: Array
    y: Array
    names: tuple[str, str]
    groups: Array | None = None
    weights: Array | None = None


@dataclass(frozen=True)
class Given:
    """Arrays of the parts that there are.

    Attributes:
        test: For testing; None holds some of ``train`` out.
        validation: For validation; None takes some of what is left of ``train``.
        class_names: What class 0, 1, ... are called; empty takes the labels.
        class_order: The setting ``dataset.class_names``: the labels in the order of their numbers; empty
            takes their own order.
        note: What else is to be said of them.
    """

    where: object
    train: Labelled
    test: Labelled | None = None
    validation: Labelled | None = None
    class_names: tuple[str, ...] = ()
    class_order: tuple[str, ...] = ()
    note: str = ""

    @property
    def named(self) -> dict[str, Labelled]:
        """The parts that there are, by their names."""
        found = {"training": self.train, "test": self.test, "validation": self.validation}
        return {name: part for name, part in found.items() if part is not None}

    @property
    def parts(self) -> list[Labelled]:
        """The parts that exist: training, test, validation."""
        return list(self.named.values())


def assembled(given: Given, plan: Plan, aim: Aim) -> Data:
    """Make a data set of arrays.

    Args:
        given: The arrays: images (n, height, width) or (n, height, width, channels), numbers (n, features),
            signals (n, ..., channels) or token ids (n, length).
    """
    for part in given.parts:
        _check_pair(given, part)
    kind, xs, said, ids = _examples(given, aim)
    ys, names = _answers(given, numbers=aim.numbers)
    weights, groups = _weights(given), _groups(given)
    parts = [Part(x, y) for x, y in zip(xs, ys, strict=True)]
    halves = _halves(given, plan, [replace(parts[0], weights=weights), *parts[1:]], groups.get("training"))
    spec = Spec(kind, xs[0].shape[1:], len(names), ids)
    data = plan.apply(halves, name=aim.name, spec=spec, source=aim.source)
    notes = (said, _drawn(given, data), _said_of_groups(given, groups), said_of_weights(weights), given.note)
    data = replace(data, note=" ".join(filter(None, notes)))
    if kind == "image":
        white = white_taken([part.x for part in given.parts], aim.pixels)
        data = replace(data, white=white, channels_first=bool(aim.pixels.channels_first))
    if spec.is_measured:
        data = standardised(data, wanted=aim.standardise)
    if aim.numbers:
        return looked(learnable(data, standardise=aim.standardise_targets))
    require_every_class(data, names)
    plain = names == tuple(map(str, range(len(names))))
    return looked(replace(data, class_names=() if plain else names))


def _examples(given: Given, aim: Aim) -> tuple[str, list[Array], str, int]:
    """Return the kind of the examples, the stored examples, a note on them, and the number of ids."""
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
    """Return the labels or numbers of each part, and the names of classes."""
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


def _halves(given: Given, plan: Plan, parts: Sequence[Part], groups: Indices | None) -> Halves:
    """The parts that there are, or a test part drawn from the first one."""
    validation = parts[-1] if given.validation else None
    if given.test:
        return Halves(parts[0], parts[1], "", validation=validation, copies=groups)
    whole, fraction = parts[0], plan.test_fraction
    chosen = held_out_by_seed(whole.y, fraction, plan.split_seed, groups)
    rest = np.delete(np.arange(len(whole)), chosen)
    train, test = taken(whole, rest), replace(taken(whole, chosen), weights=None)
    copies = None if groups is None else groups[rest]
    return Halves(train, test, "", validation=validation, copies=copies)


def _weights(given: Given) -> Array | None:
    weights = given.train.weights
    if weights is None:
        return None
    return checked_weights(given.where, "of sample weights", weights, len(given.train.y))


def _groups(given: Given) -> dict[str, Indices]:
    """Numbers of the groups of each part where they are known; nobody is in two parts that are given."""
    known = {name: part for name, part in given.named.items() if part.groups is not None}
    texts = {name: _texts_of_groups(given, name, part) for name, part in known.items()}
    refuse_shared_groups(given.where, texts)
    return {name: copies_of(each) for name, each in texts.items()}


def _texts_of_groups(given: Given, name: str, part: Labelled) -> list[str]:
    groups, count = part.groups, len(part.y)
    assert groups is not None
    fits = groups.shape == (count,) and groups.dtype.kind in "biuUS"
    expected = f"whole numbers or texts ({count},), one for each {name} example"
    expect(fits, given.where, "of groups", expected, described(groups))
    return list(map(str, groups.tolist()))


def _drawn(given: Given, data: Data) -> str:
    """A note where the test part was drawn."""
    if given.test:
        return ""
    how = "drawn by dataset.split_seed: there is none of its own"
    return said_of_test(data, "examples", how, validation_too=given.validation is None)


def _said_of_groups(given: Given, groups: dict[str, Indices]) -> str:
    """Say that nobody is in two parts, and of which parts that is not known."""
    if "training" not in groups:
        return ""
    drawn = " and ".join(name for name in ("test", "validation") if name not in given.named)
    unknown = " and ".join(name for name in given.named if name not in groups)
    if not drawn and len(groups) == 1:
        return f"dataset.groups was not used: the groups of the {unknown} part are not known."
    return said_of_groups(groups["training"], drawn, unknown)
