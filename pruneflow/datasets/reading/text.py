"""Reviews as numbers: words to ranks by frequency, ranks to token ids of one length."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
import numpy.typing as npt

from pruneflow.runtime.memory import require_memory

PAD, START, UNKNOWN = 0, 1, 2
RANK_OFFSET = 3  # rank 1, the most frequent word, has id 4; Keras leaves id 3 unused
UNRANKED = 2**31 - 1  # a word that never occurs where ranks were counted: beyond every vocabulary

# The default filters of the Keras Tokenizer, which made the Keras file of the reviews.
FILTERS = '!"#$%&()*+,-./:;<=>?@[\\]^_`{|}~\t\n'
BLANKED = str.maketrans(FILTERS, " " * len(FILTERS))

ROWS_AT_ONCE = 4096  # bounds the memory of the index arrays in `encode`


@dataclass(frozen=True)
class Reviews:
    """Labelled texts of different lengths, end to end.

    Attributes:
        tokens: (tokens,) int32 word ranks, 1 = most frequent.
        offsets: (n + 1,) int64; review i is ``tokens[offsets[i]:offsets[i + 1]]``.
        y: (n,) int64 labels.
    """

    tokens: npt.NDArray[np.int32]
    offsets: npt.NDArray[np.int64]
    y: npt.NDArray[np.int64]


def words(text: str) -> list[str]:
    """Split a text as the Keras Tokenizer does: lower case, filters to blanks, split on blanks.

    >>> words("A film, isn't it?<br />Yes")
    ['a', 'film', "isn't", 'it', 'br', 'yes']
    """
    return [word for word in text.lower().translate(BLANKED).split(" ") if word]


def characters(text: str) -> list[str]:
    """Split a text into its characters, lower case, without blanks and what `words` takes as blanks.

    >>> characters("好吃, ok")
    ['好', '吃', 'o', 'k']
    """
    return [sign for sign in text.lower().translate(BLANKED) if not sign.isspace()]


def rank_words(texts: Iterable[Sequence[str]]) -> dict[str, int]:
    """Number words by how often they occur: 1 = most often, first seen first where counts tie.

    >>> rank_words([["b", "a"], ["a", "c"]])
    {'a': 1, 'b': 2, 'c': 3}
    """
    counts = Counter(chain.from_iterable(texts))
    return {word: rank for rank, (word, _) in enumerate(counts.most_common(), start=1)}


def vocabulary_of(ranks: Mapping[str, int], *, vocabulary_size: int) -> dict[str, int]:
    """Words that have a token id of their own, with it.

    Args:
        ranks: Word to rank, 1 = most frequent.

    Returns:
        Word to id, 4 .. vocabulary_size - 1, in the order of the ids.

    >>> vocabulary_of({"film": 3, "a": 1, "the": 2}, vocabulary_size=6)
    {'a': 4, 'the': 5}
    """
    known = ((word, rank + RANK_OFFSET) for word, rank in ranks.items())
    return dict(
        sorted(((word, id_) for word, id_ in known if id_ < vocabulary_size), key=lambda pair: pair[1])
    )


def end_to_end(texts: Iterable[Sequence[str]], ranks: Mapping[str, int], y: npt.NDArray[np.int64]) -> Reviews:
    """Turn split texts into ranks; a word without one gets `UNRANKED`, and so becomes the id 2, unknown.

    >>> end_to_end([["b", "new"], ["a"]], {"a": 1, "b": 2}, np.array([0, 1])).tokens.tolist()
    [2, 2147483647, 1]
    """
    rows = [np.array([ranks.get(word, UNRANKED) for word in text], np.int32) for text in texts]
    offsets = np.zeros(len(rows) + 1, np.int64)
    np.cumsum([len(row) for row in rows], out=offsets[1:])
    return Reviews(np.concatenate([np.zeros(0, np.int32), *rows]), offsets, y)


def encode_text(
    text: str,
    vocabulary: Mapping[str, int],
    *,
    length: int,
    split: Callable[[str], list[str]] = words,
) -> npt.NDArray[np.int32]:
    """Turn one text into what a model reads: the ids that loading it as part of a data set gives.

    Args:
        text: A review, as it is written.
        vocabulary: Word to token id, as `pruneflow.Data.vocabulary`.
        length: Ids that the model reads, at least 1: ``dataset.length`` of its run.
        split: `characters` where its run had ``dataset.words=characters``.

    Returns:
        (length,) int32: zeros in front, the start mark 1, then a word's id, 2 where it has none. A text that
        is too long loses its front.

    >>> encode_text("A GREAT film!", {"a": 6, "film": 20}, length=6).tolist()
    [0, 0, 1, 6, 2, 20]
    """
    ids = [START, *(vocabulary.get(word, UNKNOWN) for word in split(text))][-length:]
    return np.array([PAD] * (length - len(ids)) + ids, np.int32)


def joined(rows: Sequence[Sequence[int]], y: npt.NDArray[np.int64]) -> Reviews:
    """Lay lists of ranks end to end.

    Raises:
        TypeError: if a row has no length.
        OverflowError: if a rank is too large for int32.
    """
    offsets = np.zeros(len(rows) + 1, np.int64)
    np.cumsum([len(row) for row in rows], out=offsets[1:])
    tokens = np.fromiter(chain.from_iterable(rows), np.int64, count=int(offsets[-1]))
    if tokens.size and tokens.max() > np.iinfo(np.int32).max:
        raise OverflowError(f"{tokens.max()} is no int32")
    return Reviews(tokens.astype(np.int32), offsets, y)


def encode(reviews: Reviews, *, vocabulary_size: int, length: int) -> npt.NDArray[np.int32]:
    """Turn reviews into token ids of one length, as Keras does.

    A review becomes the start mark 1 and its words, rank + 3 each; ids from ``vocabulary_size`` on become 2,
    unknown. Short reviews get zeros in front, long ones lose their front, the start mark first. The same as
    ``imdb.load_data(num_words=vocabulary_size)`` followed by ``pad_sequences(maxlen=length)``.

    Args:
        reviews: n reviews as ranks.
        vocabulary_size: Number of ids, at least 3.
        length: Ids per review, at least 1.

    Returns:
        (n, length) int32 in [0, vocabulary_size).

    >>> two = Reviews(np.array([1, 9, 2], np.int32), np.array([0, 2, 3]), np.array([0, 1]))
    >>> encode(two, vocabulary_size=6, length=4).tolist()
    [[0, 1, 4, 2], [0, 0, 1, 5]]
    """
    n = len(reviews.offsets) - 1
    needed = 8 * n * length  # int32, and again where parts are cut
    require_memory("dataset.length", length, needed, f"{n:,} texts of this length", "Lower it.")
    encoded = np.full((n, length), PAD, np.int32)
    for row in range(0, n, ROWS_AT_ONCE):
        block = encoded[row : row + ROWS_AT_ONCE]
        bounds = reviews.offsets[row : row + len(block) + 1]
        ids = _ids(reviews.tokens[bounds[0] : bounds[-1]], vocabulary_size)
        bounds = bounds - bounds[0]
        first, at = bounds[:-1, None], bounds[1:, None] + np.arange(-length, 0)
        np.copyto(block, ids[np.maximum(at, 0)], where=at >= first)
        block[at == first - 1] = START
    return encoded


def _ids(ranks: npt.NDArray[np.int32], vocabulary_size: int) -> npt.NDArray[np.int32]:
    """Ids of words, and one more at the end, so that there is one even where all reviews are empty."""
    ids = np.full(len(ranks) + 1, UNKNOWN, np.int32)
    known = ranks < vocabulary_size - RANK_OFFSET
    ids[:-1][known] = ranks[known] + RANK_OFFSET
    return ids
