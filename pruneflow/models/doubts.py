"""Signs that a network which somebody trained elsewhere does not read the data as it was trained to."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from pruneflow.datasets.spec import Spec
from pruneflow.models.pixels import USUAL, Span, in_words
from pruneflow.runtime.records import fitted, read_json

SAMPLED = 1000  # examples on which another range of pixels is tried
STANDARD_ERRORS = 3.0  # by which an accuracy must be above chance, not to be taken for guessing


def guessing(accuracy: float, spec: Spec, examples: int, who: str = "The network as it came") -> str:
    """A sentence where a network that came trained knows the classes no better than chance.

    Args:
        accuracy: On examples that it is to know, [0, 1].

    Returns:
        What is likely to be wrong; empty where it is better than chance, and for numbers to predict.

    >>> guessing(0.5, Spec(kind="tokens", shape=(5,), classes=4, vocabulary_size=9), 400)
    ''
    """
    if not spec.classes or not examples:
        return ""
    chance = 1 / spec.classes
    error = math.sqrt(chance * (1 - chance) / examples)
    if accuracy > chance + STANDARD_ERRORS * error:
        return ""
    return (
        f"{who} gives the right one of {spec.classes} classes for {accuracy:.1%} of "
        f"{examples:,} examples; guessing gives {chance:.1%}. Likely causes: classes in another order "
        f"(dataset.class_names, where the data have it), {_MISREAD[spec.kind]}."
    )


@dataclass(frozen=True)
class Reading:
    """A range of pixels in which a network knows the classes.

    Attributes:
        span: Lowest and highest value of a pixel.
        accuracy: With it, [0, 1].
        examples: On how many examples.
    """

    span: Span
    accuracy: float
    examples: int

    @property
    def setting(self) -> str:
        """The words that say so on the command line."""
        return "model.pixels=[{:g},{:g}]".format(*self.span)

    def __str__(self) -> str:
        """Return accuracy and range in words."""
        return f"{self.accuracy:.1%} of {self.examples:,} examples with pixels {in_words(self.span)}"


def better_reading(
    accuracy_of: Callable[[Span], float], given: Span, spec: Spec, examples: int
) -> Reading | None:
    """Find the usual range of pixels by which a network that guesses knows the classes best.

    Args:
        accuracy_of: Of a range, on examples whose pixels are given in it.

    Returns:
        None where it guesses in every range, and for data without pixels.
    """
    if spec.kind != "image":
        return None
    found = [Reading(span, accuracy_of(span), examples) for span in USUAL if span != given]
    best = max(found, key=lambda reading: reading.accuracy)
    return None if guessing(best.accuracy, spec, examples) else best


_MISREAD = {
    "image": "pixels in another range (model.pixels), images that were resized or cropped in another way "
    "(dataset.height, dataset.width, dataset.resize), or colours in another order",
    "numbers": "numbers that were standardised in another way (dataset.standardise)",
    "signal": "channels that were standardised in another way (dataset.standardise)",
    "tokens": "words with other token ids (dataset.index_path, dataset.vocabulary_size, dataset.length)",
}


def other_words(file: Path, vocabulary: Mapping[str, int]) -> str:
    """Return a sentence where the vocabulary beside a network is not that of the data.

    Args:
        file: A JSON file of words and token ids, as a run leaves it.
        vocabulary: Words and token ids of the data.

    Returns:
        How many words differ, and what to do; empty where none does.
    """
    try:
        learned: dict[str, int] = fitted(read_json(file), dict[str, int])
    except (OSError, ValueError) as error:
        return f"{file} lies beside the network and cannot be compared with the words of the data: {error}."
    if learned == vocabulary:
        return ""
    same = sum(vocabulary.get(word) == number for word, number in learned.items())
    return (
        f"{file} lies beside the network, and the data give {same:,} of its {len(learned):,} words the same "
        f"token id. Set dataset.index_path={file}, so that the network reads the ids that it learned."
    )
