"""The shares of a batch that replicas take."""

import numpy as np

from pruneflow.datasets.batches import Order, training_batches
from pruneflow.datasets.spec import Part, Spec

SPEC = Spec(kind="numbers", shape=(1,), classes=2)


def taken(examples, **order):
    part = Part(np.arange(examples, dtype=np.float32)[:, None], np.zeros(examples, np.int64))
    batches = training_batches(part, SPEC, Order(seed=(1, 2), **order))
    return [x.numpy().ravel().tolist() for x, _ in batches]


def test_replicas_share_the_batches_of_one_device():
    whole = taken(10, epochs=range(2), batch_size=4)
    first = taken(10, epochs=range(2), batch_size=4, replicas=2, own=range(1))
    second = taken(10, epochs=range(2), batch_size=4, replicas=2, own=range(1, 2))
    assert [one + other for one, other in zip(first, second, strict=True)] == whole
    both = taken(10, epochs=range(2), batch_size=4, replicas=2, own=range(2))
    assert both == [share for pair in zip(first, second, strict=True) for share in pair]


def test_a_phase_that_is_taken_up_goes_on_with_the_same_shares():
    order = {"epochs": range(2), "batch_size": 4, "replicas": 2, "own": range(2)}
    assert taken(10, skip=2, **order) == taken(10, **order)[4:]


def test_replicas_that_do_not_divide_the_last_batch_have_some_of_its_examples_twice():
    *_, whole = taken(11, epochs=range(1), batch_size=8)
    shares = taken(11, epochs=range(1), batch_size=8, replicas=4, own=range(4))[4:]
    assert len(whole) == 3
    assert [example for share in shares for example in share] == [*whole, whole[0]]


def test_each_share_has_a_number_of_its_own():
    numbers = {
        Order(range(1), 8, (1,), replicas=4, own=own).number(place, first=5)
        for own in (range(2), range(2, 4))
        for place in range(6)
    }
    assert numbers == set(range(20, 32))
    assert Order(range(1), 8, (1,)).number(3, first=5) == 8
