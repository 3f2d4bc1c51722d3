"""The word index: which rank a word has, as a JSON object such as Keras' ``imdb_word_index.json``."""

import json
from pathlib import Path

from pruneflow.datasets.reading.files import content_of, decoded, reading
from pruneflow.datasets.reading.text import RANK_OFFSET, UNRANKED
from pruneflow.errors import DataError

INDEX_FILE = "imdb_word_index.json"
FORM = 'a JSON object of words and ranks, such as {"the": 1, "and": 2}'

Ranks = dict[str, int]


def read_index(path: Path) -> Ranks:
    """Read a word index, or the ``vocabulary.json`` of a run, whose ids become ranks again.

    The ids of a vocabulary are 4, 5, 6 and so on, without a gap; no index begins with the rank 4.
    """
    with reading(path, FORM):
        content = content_of(path)
    found = parsed_index(content, path)
    if sorted(found.values()) == list(range(RANK_OFFSET + 1, RANK_OFFSET + 1 + len(found))):
        return {word: id_ - RANK_OFFSET for word, id_ in found.items()}
    return found


def parsed_index(content: bytes, where: object) -> Ranks:
    """Read a word index from the bytes of a file called ``where``."""
    text = decoded(content, where)
    try:
        index = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{where}: not {FORM} ({error}).") from error
    if not isinstance(index, dict) or not index:
        raise DataError(f"{where}: not {FORM}, but {type(index).__name__} of length {len(text)}.")
    for word, rank in index.items():
        if type(rank) is not int or not 1 <= rank < UNRANKED:
            raise DataError(f"{where}: the rank of {word!r} is {rank!r}, expected a whole number from 1.")
    return index
