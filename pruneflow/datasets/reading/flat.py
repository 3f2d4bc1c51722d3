"""Reviews as arrays of word ranks, in two layouts of .npz files.

The flat layout: ``x_train_tokens`` (int32 ranks, all reviews end to end), ``x_train_offsets`` (int64,
n + 1), ``y_train``, and the same for test; beside them ``note``, ``source`` and ``index``, the bytes of the
word index as JSON. The Keras layout: ``x_train`` (pickled object array of lists of ranks), ``y_train``,
``x_test``, ``y_test``.
"""

import json
from itertools import chain
from pathlib import Path

import numpy as np
import numpy.typing as npt

from pruneflow.datasets.reading.checks import Array, Arrays, checked_labels, described, expect
from pruneflow.datasets.reading.corpus import Corpus
from pruneflow.datasets.reading.files import array_names, read_arrays, read_text
from pruneflow.datasets.reading.pickles import read_rows
from pruneflow.datasets.reading.text import Reviews, joined
from pruneflow.datasets.reading.vocabulary import INDEX_FILE, Ranks, parsed_index, read_index
from pruneflow.errors import DataError

CLASSES = 2
HALVES = ("train", "test")


def read_ranks(path: Path, index: Ranks | None) -> Corpus:
    """Read and check a file in the flat or in the Keras layout.

    Args:
        index: Its word index; None looks into the file, then for imdb_word_index.json beside it.
    """
    names = array_names(path)
    is_flat, keras = "x_train_tokens" in names, "x_train" in names
    found = "only " + ", ".join(names)
    expect(is_flat or keras, path, "x_train_tokens or x_train", "to be there", found)
    train, test = ((_flat_half if is_flat else _keras_half)(path, half) for half in HALVES)
    ranks = index or _index_of(path, names)
    return Corpus(train, test, read_text(path, "note"), ranks=ranks, origin=read_text(path, "source"))


def flat(corpus: Corpus, *, source: str) -> Arrays:
    """Lay a corpus out as the arrays of the flat layout, to be read by `read_ranks`."""
    arrays: Arrays = {"source": np.array(source), "note": np.array(corpus.note)}
    if corpus.ranks is not None:
        content = json.dumps(dict(corpus.ranks), ensure_ascii=False).encode()
        arrays["index"] = np.frombuffer(content, np.uint8)
    for half, reviews in zip(HALVES, (corpus.train, corpus.test), strict=True):
        arrays[f"x_{half}_tokens"], arrays[f"x_{half}_offsets"] = reviews.tokens, reviews.offsets
        arrays[f"y_{half}"] = reviews.y.astype(np.uint8)
    return arrays


def _index_of(path: Path, names: list[str]) -> Ranks | None:
    if "index" in names:
        content = read_arrays(path, ["index"])["index"]
        expect(content.dtype == np.uint8, path, "index", "uint8", described(content))
        return parsed_index(content.tobytes(), f"{path}: array index")
    beside = path.with_name(INDEX_FILE)
    return read_index(beside) if beside.is_file() else None


def _flat_half(path: Path, half: str) -> Reviews:
    names = (f"x_{half}_tokens", f"x_{half}_offsets", f"y_{half}")
    arrays = read_arrays(path, names)
    tokens, offsets, y = (arrays[name] for name in names)
    _check_offsets(path, names[1], offsets, tokens=len(tokens) if tokens.ndim else 0)
    _check_tokens(path, names[0], tokens)
    return Reviews(tokens, offsets, _labels(path, half, y, count=len(offsets) - 1))


def _keras_half(path: Path, half: str) -> Reviews:
    name = f"x_{half}"
    rows = read_rows(path, name)
    expect(len(rows) > 0, path, name, "at least one review", "none")
    y = read_arrays(path, [f"y_{half}"])[f"y_{half}"]
    labels = _labels(path, half, y, count=len(rows))
    try:
        kinds = set(map(type, chain.from_iterable(rows)))
        whole = all(issubclass(kind, (int, np.integer)) for kind in kinds)
        expect(whole, path, name, "lists of whole numbers", ", ".join(kind.__name__ for kind in kinds))
        reviews = joined(rows, labels)
    except (TypeError, OverflowError) as error:
        raise DataError(f"{path}: array {name}: expected lists of word ranks ({error}).") from error
    _check_tokens(path, name, reviews.tokens)
    return reviews


def _labels(path: Path, half: str, y: Array, *, count: int) -> npt.NDArray[np.int64]:
    return checked_labels(path, f"y_{half}", y, count=count, classes=CLASSES)


def _check_tokens(path: Path, name: str, tokens: Array) -> None:
    fits = tokens.dtype == np.int32 and tokens.ndim == 1 and len(tokens) > 0
    expect(fits, path, name, "int32 (tokens,), at least one", described(tokens))
    expect(bool(tokens.min() >= 1), path, name, "word ranks from 1", f"the rank {tokens.min()}")


def _check_offsets(path: Path, name: str, offsets: Array, *, tokens: int) -> None:
    fits = offsets.dtype == np.int64 and offsets.ndim == 1 and len(offsets) >= 2
    expect(fits, path, name, "int64 (n + 1,), n at least 1", described(offsets))
    ordered = bool((np.diff(offsets) >= 0).all())
    expect(ordered, path, name, "ascending positions", "a descent")
    ends = (int(offsets[0]), int(offsets[-1]))
    expect(ends == (0, tokens), path, name, f"0 first and {tokens} last", f"{ends[0]} and {ends[1]}")
