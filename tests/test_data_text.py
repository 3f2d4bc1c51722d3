import doctest

import numpy as np
import pytest

from pruneflow.data import split, text
from pruneflow.data.text import Reviews, encode, end_to_end, joined, rank_words, words


def reviews(*rows: list[int]) -> Reviews:
    return joined(list(rows), np.zeros(len(rows), np.int64))


def test_a_short_review_is_padded_in_front_of_its_start_mark() -> None:
    assert encode(reviews([1, 2]), vocabulary_size=10, length=5).tolist() == [[0, 0, 1, 4, 5]]


def test_a_review_that_fills_the_length_keeps_its_start_mark() -> None:
    assert encode(reviews([1, 2]), vocabulary_size=10, length=3).tolist() == [[1, 4, 5]]


def test_a_review_one_word_too_long_loses_the_start_mark_only() -> None:
    assert encode(reviews([1, 2]), vocabulary_size=10, length=2).tolist() == [[4, 5]]


def test_a_long_review_keeps_its_end() -> None:
    assert encode(reviews([1, 2, 3, 4]), vocabulary_size=10, length=2).tolist() == [[6, 7]]


def test_ids_from_the_vocabulary_size_on_become_unknown() -> None:
    # ranks 4, 5, 6 would be ids 7, 8, 9
    assert encode(reviews([4, 5, 6]), vocabulary_size=8, length=3).tolist() == [[7, 2, 2]]


def test_the_largest_rank_that_int32_holds_becomes_unknown() -> None:
    assert encode(reviews([2**31 - 1]), vocabulary_size=8, length=1).tolist() == [[2]]


def test_an_empty_review_between_others_is_a_start_mark_and_takes_none_of_their_words() -> None:
    encoded = encode(reviews([1], [], [2]), vocabulary_size=10, length=2)
    assert encoded.tolist() == [[1, 4], [0, 1], [1, 5]]
    assert encoded.dtype == np.int32


def test_more_reviews_than_fit_into_one_block_come_out_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    five = reviews([1], [1, 2], [3], [], [2, 2, 2])
    whole = encode(five, vocabulary_size=6, length=3)
    monkeypatch.setattr(text, "ROWS_AT_ONCE", 2)
    assert whole.tolist() == [[0, 1, 4], [1, 4, 5], [0, 1, 2], [0, 0, 1], [5, 5, 5]]
    assert np.array_equal(encode(five, vocabulary_size=6, length=3), whole)


def test_words_are_split_as_the_keras_tokenizer_splits_them() -> None:
    assert words("It's 9/10;  GREAT\tfilm\nreally!") == ["it's", "9", "10", "great", "film", "really"]


def test_other_white_space_stays_within_a_word_as_in_keras() -> None:
    assert words("a\u00a0b c\rd") == ["a\u00a0b", "c\rd"]


def test_rank_1_is_the_most_frequent_word_and_ties_go_to_the_one_seen_first() -> None:
    assert rank_words([["d", "b"], ["c", "b", "c"]]) == {"b": 1, "c": 2, "d": 3}


def test_words_without_a_rank_are_skipped() -> None:
    flat = end_to_end([["b", "new"], ["new"], ["a", "b"]], {"a": 1, "b": 2}, np.zeros(3, np.int64))
    assert flat.tokens.tolist() == [2, 1, 2]
    assert flat.offsets.tolist() == [0, 1, 1, 3]


def test_a_rank_beyond_int32_is_refused() -> None:
    with pytest.raises(OverflowError):
        reviews([2**31])


@pytest.mark.parametrize("module", [text, split])
def test_examples_in_docstrings_hold(module: object) -> None:
    result = doctest.testmod(module)  # type: ignore[arg-type]
    assert result.failed == 0
    assert result.attempted > 0
