import numpy as np
import pytest

from pruneflow.datasets.reading import text
from pruneflow.datasets.reading.text import (
    Reviews,
    encode,
    encode_text,
    end_to_end,
    joined,
    rank_words,
    vocabulary_of,
    words,
)


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


def test_reviews_that_are_all_empty_are_start_marks() -> None:
    assert encode(reviews([], []), vocabulary_size=10, length=2).tolist() == [[0, 1], [0, 1]]


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


def test_words_without_a_rank_become_unknown_whatever_the_vocabulary() -> None:
    flat = end_to_end([["b", "new"], ["new"], [], ["a", "b"]], {"a": 1, "b": 2}, np.zeros(4, np.int64))
    assert flat.offsets.tolist() == [0, 2, 3, 3, 5]
    encoded = encode(flat, vocabulary_size=1000, length=3)
    assert encoded.tolist() == [[1, 5, 2], [0, 1, 2], [0, 0, 1], [1, 4, 5]]


@pytest.mark.parametrize("length", [1, 2, 4, 5, 6, 9])
@pytest.mark.parametrize("vocabulary_size", [5, 6, 7, 50])
def test_one_text_gets_the_ids_that_loading_gives_it(length: int, vocabulary_size: int) -> None:
    texts = ["The film, the END.", "", "A new film\u00a0", "the " * 20, "?!"]
    ranks = rank_words(map(words, texts[:1]))
    loaded = encode(
        end_to_end(map(words, texts), ranks, np.zeros(5, np.int64)),
        vocabulary_size=vocabulary_size,
        length=length,
    )
    vocabulary = vocabulary_of(ranks, vocabulary_size=vocabulary_size)
    alone = [encode_text(text, vocabulary, length=length) for text in texts]
    assert np.array_equal(np.stack(alone), loaded)
    assert alone[0].dtype == loaded.dtype == np.int32


def test_the_vocabulary_ends_below_its_size() -> None:
    assert vocabulary_of({"a": 1, "b": 2, "c": 3}, vocabulary_size=6) == {"a": 4, "b": 5}


def test_a_rank_beyond_int32_is_refused() -> None:
    with pytest.raises(OverflowError):
        reviews([2**31])
