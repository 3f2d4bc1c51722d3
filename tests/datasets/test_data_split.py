import hashlib

import numpy as np
import pytest

from pruneflow.datasets.spec import Part, Spec
from pruneflow.datasets.split import Halves, Plan, digest_of, draw, quotas, validation_size
from pruneflow.errors import ConfigError

SPEC = Spec(kind="tokens", shape=(1,), classes=3, vocabulary_size=100)


def part(*labels: int) -> Part:
    """Examples whose x is their position."""
    return Part(np.arange(len(labels), dtype=np.int32)[:, None], np.array(labels, np.int64))


def counts(y: np.ndarray) -> list[int]:
    return np.bincount(y, minlength=3).tolist()


def test_quotas_go_by_largest_remainder_and_ties_to_the_lower_label() -> None:
    # 7 of 12: 5 * 7 / 12 = 2.92, 4 * 7 / 12 = 2.33, 3 * 7 / 12 = 1.75
    assert quotas(np.array([5, 4, 3]), 7).tolist() == [3, 2, 2]
    assert quotas(np.array([2, 2, 2]), 1).tolist() == [1, 0, 0]
    assert quotas(np.array([2, 2, 2]), 5).tolist() == [2, 2, 1]


def test_quotas_of_nothing_and_of_everything() -> None:
    assert quotas(np.array([5, 1]), 0).tolist() == [0, 0]
    assert quotas(np.array([5, 1]), 6).tolist() == [5, 1]


def test_validation_size_rounds_halves_up_in_exact_arithmetic() -> None:
    assert validation_size(10, 0.25) == 3
    assert validation_size(10, 0.24) == 2
    assert validation_size(50, 0.07) == 4  # 3.5; in binary 0.07 is a little more
    assert validation_size(50, 0.29) == 15  # 14.5; in binary 0.29 is a little less


@pytest.mark.parametrize(("examples", "fraction"), [(4, 0.1), (4, 0.9), (1, 0.5), (100, 0.001)])
def test_a_fraction_that_leaves_a_part_empty_is_refused(examples: int, fraction: float) -> None:
    with pytest.raises(
        ConfigError, match=rf"^dataset\.validation_fraction={fraction}: puts \d+ of {examples} "
    ):
        validation_size(examples, fraction)


def test_a_draw_is_stratified_ascending_and_without_repetition() -> None:
    y = np.array([0, 1, 2] * 4 + [0, 0, 0, 0])
    chosen = draw(y, 8, np.random.default_rng(0))
    assert counts(y[chosen]) == [4, 2, 2]
    assert sorted(set(chosen.tolist())) == chosen.tolist()


def test_the_validation_part_is_stratified_and_both_parts_keep_their_order() -> None:
    half = part(*[0, 1] * 10, *[2] * 20)
    data = Plan(0.25, split_seed=3, limit=None).apply(
        Halves(half, part(0, 1), "note"), name="d", spec=SPEC, source="s"
    )
    assert counts(data.validation.y) == [3, 2, 5]  # 2.5, 2.5 and 5: the tie goes to label 0
    assert counts(data.train.y) == [7, 8, 15]
    positions = [x[:, 0].tolist() for x in (data.train.x, data.validation.x)]
    assert all(sorted(held) == held for held in positions)
    assert sorted(positions[0] + positions[1]) == list(range(40))
    assert [half.y[at] for at in positions[1]] == data.validation.y.tolist()
    assert (data.note, data.source, data.name) == ("note", "s", "d")
    assert data.test.x.tolist() == [[0], [1]]


def test_the_split_depends_on_its_seed_only() -> None:
    halves = Halves(part(*[0] * 100), part(0), "")
    digests = [
        Plan(0.5, split_seed=seed, limit=None).apply(halves, name="", spec=SPEC, source="").digest
        for seed in (1, 1, 2)
    ]
    assert digests[0] == digests[1] != digests[2]


def test_the_limit_comes_first_and_is_stratified_in_both_halves() -> None:
    halves = Halves(part(*[0] * 60, *[1] * 30, *[2] * 10), part(*[0] * 10, *[1] * 10), "")
    data = Plan(0.2, split_seed=0, limit=10).apply(halves, name="", spec=SPEC, source="")
    assert counts(np.concatenate([data.train.y, data.validation.y])) == [6, 3, 1]
    assert (len(data.train), len(data.validation)) == (8, 2)
    assert counts(data.test.y) == [5, 5, 0]


def test_a_limit_above_the_size_of_a_half_takes_all_of_it() -> None:
    data = Plan(0.5, split_seed=0, limit=3).apply(
        Halves(part(0, 1, 0, 1), part(1, 0), ""), name="", spec=SPEC, source=""
    )
    assert (len(data.train), len(data.validation), len(data.test)) == (1, 2, 2)


def test_the_digest_is_sha256_over_type_shape_and_bytes_in_order() -> None:
    one = Part(np.array([[1, 2]], np.uint8), np.array([3], np.int64))
    expected = hashlib.sha256(b"|u1(1, 2)\x01\x02<i8(1,)\x03\0\0\0\0\0\0\0").hexdigest()
    assert digest_of(one) == expected
    other = Part(np.array([[1], [2]], np.uint8), one.y)
    assert digest_of(other) != expected
    assert digest_of(one, other) != digest_of(other, one)
