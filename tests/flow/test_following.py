"""Stages that workers of a training make together."""

import json
from types import SimpleNamespace

import pytest

from pruneflow.errors import PruneflowError
from pruneflow.flow.following import _EndedError, _FollowedStage
from pruneflow.flow.store import Stage
from pruneflow.runtime.replicas import BEGINS, CalledOffError

MADE, NO_FILES, END = b'{"made": "0"}', b"[]", b'{"end": 130}'


def made(folder, messages, error=None, *, in_step=False):
    """Make a stage beside a chief that says so much; what is raised, and what it had to say in vain."""
    left = list(messages)
    together = SimpleNamespace(in_step=in_step, told=lambda _: left.pop(0))
    held, raised = _FollowedStage(Stage("0" * 64, str(folder), False), True, {}, together), None
    try:
        with held.making():
            if error:
                raise error
    except (PruneflowError, _EndedError) as reason:
        raised = reason
    return raised, left


SHORT = PruneflowError("memory is short")


@pytest.mark.parametrize(
    ("in_step", "messages", "raised", "unheard"),
    [
        (False, [MADE, NO_FILES], None, []),  # it failed in the chief too, which had done it before
        (True, [MADE, NO_FILES], SHORT, [MADE, NO_FILES]),  # the chief waits for the step, not for words
        (False, [BEGINS, NO_FILES], SHORT, [NO_FILES]),  # the chief begins a training, and waits in it
    ],
)
def test_a_worker_that_fails_ends_where_the_chief_does_not(in_step, messages, raised, unheard, tmp_path):
    assert made(tmp_path, messages, SHORT, in_step=in_step) == (raised, unheard)


@pytest.mark.parametrize("error", [SHORT, None])
def test_a_worker_ends_with_the_chief_after_its_work(error, tmp_path):
    raised, left = made(tmp_path, [END, b""], error)
    assert (type(raised), raised.code, left) == (_EndedError, 130, [])


def test_a_worker_that_waits_in_a_training_ends_with_the_chief(tmp_path):
    raised, left = made(tmp_path, [b""], CalledOffError(json.dumps({"end": 130}).encode()))
    assert (type(raised), raised.code, left) == (_EndedError, 130, [])
