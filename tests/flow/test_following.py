"""Stages that workers of a training make together."""

from types import SimpleNamespace

import pytest

from pruneflow.errors import PruneflowError
from pruneflow.flow.following import _FollowedStage
from pruneflow.flow.store import Stage


@pytest.mark.parametrize(("in_step", "heard"), [(False, ["told", "told"]), (True, [])])
def test_a_worker_that_fails_within_a_step_ends_and_does_not_wait_for_words_of_the_chief(
    in_step, heard, tmp_path
):
    """Which waits for that step."""
    said = []

    def told(_):
        said.append("told")
        return b"[]"

    together = SimpleNamespace(in_step=in_step, told=told)
    held = _FollowedStage(Stage("0" * 64, str(tmp_path), False), True, {}, together)
    failed = None
    try:
        with held.making():
            raise PruneflowError("memory is short")
    except PruneflowError as error:
        failed = error
    assert bool(failed) == in_step
    assert said == heard
