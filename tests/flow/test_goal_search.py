"""The search for one file: which network comes next, and which file is the best."""

import math
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from results_fixtures import SIZES, exported, result, typed

from pruneflow.errors import ConfigError
from pruneflow.flow.goal import MUCH, Fastest, FileFigures, MostAccurate, Smallest, Way
from pruneflow.flow.goal_search import Proposal, Tried, best, nearest, next_proposal

WAYS = {"zeros": Way(start=0.8), "ranked": Way(["criterion=lamp"])}
COMMON = {
    "measure": "gzip_bytes",
    "max_accuracy_drop": None,
    "max_bytes": None,
    "max_latency_ms": None,
    "confidence": 0.9,
    "max_trainings": 20,
    "max_minutes": None,
    "tolerance": 0.02,
    "kinds": ["int8"],
    "ways": WAYS,
}


def goal(kind=Smallest, **changes):
    return kind(name="goal", **{**COMMON, **changes})


def file(kind="int8", size=1000.0, drop=0.0, error=0.0, latency_ms=None):
    return FileFigures(kind, size, 0.9 - drop, drop, drop + error, size, latency_ms)


def searched(wanted, files_of):
    """Search to the end, with files as a function of the proposal."""
    tried = []
    while proposal := next_proposal(wanted, wanted.ways, tried):
        tried.append(Tried(proposal, tuple(files_of(proposal)), seconds=60.0))
    return tried


def knee(at, size=10_000):
    """Files whose size follows what is kept, and which lose 0.005 at this share."""
    return lambda share, kind="int8": file(kind, size * (1 - share), 0.005 * ((1 - at) / (1 - share)) ** 2)


def test_it_begins_at_the_first_share_and_steps_by_halves_of_what_is_kept():
    of = knee(0.97)
    tried = searched(goal(ways={"zeros": WAYS["zeros"]}), lambda proposal: [of(proposal.share)])
    assert [each.proposal.share for each in tried][:3] == [0.8, 0.9, 0.95]


@settings(deadline=None, max_examples=60)
@given(at=st.floats(0.3, 0.985))
def test_the_best_share_is_found_within_a_tenth_of_what_is_kept(at):
    of = knee(at)
    wanted = goal(ways={"zeros": WAYS["zeros"]}, tolerance=0.001)
    tried = searched(wanted, lambda proposal: [of(proposal.share)])
    found = best(wanted, tried)
    kept = 1 - tried[found.tried].proposal.share
    assert 1 - at <= kept * (1 + 1e-3) and kept <= (1 - at) * 2**0.125 * (1 + 1e-3)
    assert len(tried) <= 12


def test_a_kind_that_is_smaller_but_fails_earlier_is_searched_at_lower_shares():
    large, small = knee(0.95, size=20_000), knee(0.85, size=5_000)
    tried = searched(
        goal(ways={"zeros": WAYS["zeros"]}),
        lambda proposal: [large(proposal.share, "int8"), small(proposal.share, "int4")],
    )
    found = best(goal(), tried)
    assert found.file.kind == "int4"
    assert 0.83 < tried[found.tried].proposal.share <= 0.85


def tried_at(*points, way="zeros"):
    """Networks of a way with one file each: its share, size, and drop, of which 0.005 is allowed."""
    return [
        Tried(Proposal(way, (), "schedule.final_sparsity", share), (file(size=size, drop=drop),))
        for share, size, drop in points
    ]


def test_two_networks_say_where_the_limit_is_reached():
    """Between 0.5 and 0.75, one halving apart, the drop grows by 16: 0.9 of the limit is log16(9) along."""
    tried = tried_at((0.5, 5000, 0.0005), (0.75, 2500, 0.008))
    wanted = goal(ways={"zeros": WAYS["zeros"]})
    along = min(math.log(9, 16), 0.65)
    assert next_proposal(wanted, wanted.ways, tried).share == pytest.approx(1 - 0.5 * 2**-along, abs=1e-4)
    tried = tried_at((0.5, 5000, 0.0025), (0.75, 2500, 0.04))  # log16(1.8) = 0.212 is too near to be worth it
    assert next_proposal(
        goal(max_trainings=9, ways={"zeros": Way()}), wanted.ways, tried
    ).share == pytest.approx(1 - 0.5 * 2**-0.25, abs=1e-4)


def test_networks_that_miss_a_limit_say_how_far_back_the_next_one_is():
    """From 0.75 to 0.875 the drop grows by 4; a drop of 0.009 is twice 0.9 of the limit: half a halving."""
    wanted = goal(ways={"zeros": WAYS["zeros"]})
    steep = tried_at((0.75, 2500, 0.009), (0.875, 1250, 0.036))
    assert next_proposal(wanted, wanted.ways, steep).share == pytest.approx(1 - 0.25 * 2**0.5, abs=1e-4)
    for later in (0.009, 0.007):  # the step from 0.875 to 0.75 has gained nothing
        assert next_proposal(wanted, wanted.ways, tried_at((0.75, 2500, 0.009), (0.875, 1250, later))) is None


def test_a_smaller_network_is_tried_with_fewer_zeros_whatever_larger_ones_weigh():
    zeros = tried_at((0.75, 3400, 0.0045), (0.875, 2150, 0.04))
    wanted = goal(ways={"zeros": WAYS["zeros"], "channels": CUT})
    (cut,) = tried_at((0.75, 1000, 0.009), way="channels")
    of_cut = replace(cut, proposal=replace(cut.proposal, key="then.final_sparsity"))
    assert next_proposal(wanted, wanted.ways, [*zeros, cut]).way == "zeros"
    assert next_proposal(wanted, wanted.ways, [*zeros, of_cut]) == replace(of_cut.proposal, share=0.5)


def test_a_kind_that_went_back_for_nothing_does_so_in_no_later_way():
    """Of int4 files, which lose more where more weights are left."""
    wanted = goal(ways={"zeros": WAYS["zeros"], "ranked": Way(["criterion=lamp"])})
    large = tried_at((0.75, 3400, 0.0045), (0.875, 2150, 0.04))

    def searched_after(*drops):
        small = tried_at(*zip((0.7, 0.75, 0.875), (1800, 1500, 750), drops, strict=True))
        int4 = [replace(each.files[0], kind="int4") for each in small]
        zeros = [replace(large[0], proposal=small[0].proposal, files=(int4[0],))]
        zeros += [
            replace(each, files=(*each.files, file)) for each, file in zip(large, int4[1:], strict=True)
        ]
        ranked = [
            replace(each, files=(replace(each.files[0], kind="int4"),))
            for each in tried_at((0.75, 200, 0.009), way="ranked")
        ]
        return next_proposal(wanted, wanted.ways, [*zeros, *ranked])

    assert searched_after(0.0045, 0.009, 0.04).way == "ranked"
    assert searched_after(0.009, 0.009, 0.04).way == "zeros"


def test_a_way_that_would_be_larger_than_the_best_file_ends_after_one_network():
    """The first way has 10,000 bytes for all weights: with half of them the second has 1,000 + 2,500."""
    zeros = tried_at((0.75, 3400, 0.0045), (0.875, 2150, 0.04))
    wanted = goal(ways={"zeros": WAYS["zeros"], "ranked": Way(["criterion=lamp"])})
    fails = [*zeros, *tried_at((0.75, 1000, 0.009), way="ranked")]
    assert next_proposal(wanted, wanted.ways, fails).way == "zeros"
    light = [*zeros, *tried_at((0.75, 800, 0.009), way="ranked")]
    assert next_proposal(wanted, wanted.ways, light) == replace(light[-1].proposal, share=0.5)


def test_a_later_way_begins_at_the_best_share_and_keeps_the_best_settings():
    at = {(): 0.9, ("criterion=lamp",): 0.95, ("criterion=lamp", "sharing.values=16"): 0.8}
    wanted = goal(ways={**WAYS, "shared": Way(["sharing.values=16"])})
    tried = searched(wanted, lambda proposal: [knee(at[proposal.settings])(proposal.share)])
    ways = [each.proposal.way for each in tried]
    first = {way: tried[ways.index(way)].proposal for way in wanted.ways}
    assert first["ranked"].share == pytest.approx(0.9, abs=0.02)
    assert first["shared"].settings == ("criterion=lamp", "sharing.values=16")
    assert tried[best(wanted, tried).tried].proposal.way == "ranked"


CUT = Way(["structure=channel", "schedule.final_sparsity=0.5", "then=unstructured"], "then.final_sparsity")


def last_way(way, **below):
    """The first network of a way, on top of ways of which each is better than those before it."""
    wanted = goal(ways={"zeros": WAYS["zeros"], **below, "last": way}, max_trainings=30)
    sizes = {name: 10_000 / 2**place for place, name in enumerate(wanted.ways)}
    tried = searched(wanted, lambda proposal: [knee(0.9, sizes[proposal.way])(proposal.share)])
    return next(each.proposal for each in tried if each.proposal.way == "last")


def test_a_way_on_top_of_a_cut_searches_the_share_after_the_cut():
    found = last_way(Way(["sharing.values=8"]), channels=CUT)
    assert found.settings == (*CUT.settings, "sharing.values=8")
    assert found.key == "then.final_sparsity" and found.below == ("zeros", "channels")


def test_a_way_that_sets_a_key_of_one_below_takes_the_place_of_the_whole_way():
    lamp = Way(["criterion=lamp"])
    found = last_way(Way(["structure=block_4x1"]), ranked=lamp, channels=CUT)
    assert found.settings == ("criterion=lamp", "structure=block_4x1")
    assert found.key == "schedule.final_sparsity" and found.below == ("zeros", "ranked")
    found = last_way(Way(["criterion=magnitude"], "schedule.final_sparsity"), channels=CUT)
    assert found.settings == ("criterion=magnitude",)


def test_a_later_setting_of_the_same_key_wins():
    wanted = goal(ways={**WAYS, "plain": Way(["criterion=magnitude"])})
    tried = searched(wanted, lambda proposal: [knee(0.9)(proposal.share)])
    plain = [each.proposal for each in tried if each.proposal.way == "plain"]
    assert {each.settings for each in plain} == {("criterion=magnitude",)}


def test_a_way_ends_where_a_run_fails():
    tried = searched(goal(), lambda proposal: [] if proposal.settings else [knee(0.9)(proposal.share)])
    assert sum(each.proposal.way == "ranked" for each in tried) == 1
    assert best(goal(), tried).file.measure < 1100


def test_a_measure_that_the_share_does_not_change_is_not_searched_further():
    tried = searched(goal(measure="bytes"), lambda _: [file(size=1000.0)])
    assert [each.proposal.share for each in tried] == [0.8, 0.9] * 2  # of each way


def test_the_drop_must_hold_at_the_upper_end_of_its_interval():
    wanted = goal(max_accuracy_drop=0.005)
    tried = [Tried(Proposal("zeros", (), "schedule.final_sparsity", 0.8), (file(drop=0.004, error=0.002),))]
    assert best(wanted, tried) is None
    assert wanted.misses(tried[0].files[0]) == {"max_accuracy_drop": pytest.approx(0.2)}
    assert nearest(wanted, tried).file == tried[0].files[0]


def test_half_a_point_is_allowed_where_nothing_limits_the_file():
    assert goal().allowed_drop == 0.005
    assert goal(max_bytes=1000).allowed_drop is None
    assert goal(max_bytes=1000, max_accuracy_drop=0.01).allowed_drop == 0.01


@pytest.mark.parametrize("kind", [Smallest, MostAccurate])
def test_the_most_accurate_file_below_a_size_has_the_lowest_share_that_fits(kind):
    wanted = goal(kind, max_bytes=1000, ways={"zeros": WAYS["zeros"]}, tolerance=0.001)
    tried = searched(wanted, lambda proposal: [knee(0.8)(proposal.share)])
    found = best(wanted, tried)
    assert 0.9 <= tried[found.tried].proposal.share < 0.91
    assert all(each.files[0].bytes > 1000 for each in tried if each.proposal.share < 0.9)


def test_the_most_accurate_file_is_looked_for_where_the_drop_is_limited_too():
    wanted = goal(MostAccurate, max_bytes=1000, max_accuracy_drop=0.03, ways={"zeros": WAYS["zeros"]})
    tried = searched(wanted, lambda proposal: [knee(0.8)(proposal.share)])
    assert 0.9 <= tried[best(wanted, tried).tried].proposal.share < 0.91
    strict = replace(wanted, max_accuracy_drop=0.01)  # which the file of 1,000 bytes does not keep
    tried = searched(strict, lambda proposal: [knee(0.8)(proposal.share)])
    assert best(strict, tried) is None
    assert [each.proposal.share for each in tried][:2] == [0.8, 0.9]
    assert max(each.proposal.share for each in tried) == 0.9  # more zeros would lose more


def test_the_budget_ends_the_search():
    assert len(searched(goal(max_trainings=2), lambda proposal: [knee(0.9)(proposal.share)])) == 2
    assert len(searched(goal(max_minutes=2.5), lambda proposal: [knee(0.9)(proposal.share)])) == 3


def test_a_goal_that_nothing_reaches_ends_at_the_lowest_share():
    wanted = goal(ways={"zeros": WAYS["zeros"]})
    tried = searched(wanted, lambda proposal: [file(drop=0.1 + proposal.share / 10, size=9.0)])
    assert best(wanted, tried) is None
    assert [each.proposal.share for each in tried] == [0.8, 0.6, 0.2]
    assert tried[nearest(wanted, tried).tried].proposal.share == 0.2


def test_a_network_that_guesses_keeps_no_limit():
    wanted = goal(MostAccurate, max_bytes=5000)
    assert wanted.misses(replace(file(), guesses=True)) == {"guessing": MUCH}
    tried = [Tried(Proposal("zeros", (), "k", 0.9), (replace(file(), guesses=True),))]
    assert best(wanted, tried) is None


def test_a_limit_of_0_allows_a_gain():
    wanted = goal(max_accuracy_drop=0.0)
    assert wanted.misses(file(drop=0.001)) == {"max_accuracy_drop": MUCH}
    assert wanted.misses(file(drop=0.0)) == wanted.misses(file(drop=-0.01)) == {}


def test_a_limit_of_what_was_not_measured_is_missed():
    assert goal(max_latency_ms=5.0).misses(file(latency_ms=None)) == {"max_latency_ms": MUCH}


def test_a_schedule_begins_below_a_low_share():
    words = Proposal("zeros", ("a=1",), "schedule.final_sparsity", 0.2).words
    assert words == ["a=1", "schedule.initial_sparsity=0", "schedule.final_sparsity=0.2"]
    assert Proposal("zeros", (), "then.final_sparsity", 0.2).words == ["then.final_sparsity=0.2"]


def test_a_way_is_made_of_what_yaml_says():
    wanted = goal(ways={"rows": {"settings": ["structure=block_4x1"], "start": 0.7}})
    assert wanted.ways["rows"] == Way(["structure=block_4x1"], None, 0.7)


def test_latency_is_a_limit_of_its_own():
    wanted = goal(Fastest, measure="latency_ms", max_accuracy_drop=0.01, max_latency_ms=2.0)
    assert wanted.times
    assert wanted.misses(file(latency_ms=3.0)) == {"max_latency_ms": 0.5}
    assert not goal().times


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"tolerance": 0.0}, "goal.tolerance=0.0: it is a share; allowed are numbers between 0 and 1."),
        ({"max_trainings": 0}, "goal.max_trainings=0: allowed are numbers above 0."),
        ({"max_minutes": -1.0}, "goal.max_minutes=-1.0: allowed are numbers above 0."),
        ({"max_latency_ms": 0.0}, "goal.max_latency_ms=0.0: allowed are numbers above 0."),
        ({"ways": {}}, r"goal.ways={}: there is nothing to try."),
    ],
)
def test_a_goal_that_cannot_be_is_refused(changes, message):
    with pytest.raises(ConfigError, match=message):
        goal(**changes)


def test_figures_are_read_off_a_file():
    paired = {"drop": 0.01, "standard_error": 0.002, "examples": 500}
    made = {
        **exported("int8", gzip_bytes=500),
        "validation_metrics": {"accuracy": 0.9},
        "against_dense": paired,
    }
    made["latency"]["pruned"]["median_ms"] = 0.5
    found = goal().figures_of(typed(result(made)).tflite[0])
    assert (found.measure, found.bytes, found.accuracy, found.latency_ms) == (500, 500, 0.9, 0.5)
    assert math.isclose(found.drop_at_most, 0.01 + 1.2815515655446004 * 0.002)


@pytest.mark.parametrize(
    ("measure", "found"),
    [("gzip_bytes", 500), ("bytes", SIZES["bytes"]), ("latency_ms", 0.5), ("multiply_adds", 100)],
)
def test_each_measure_is_read_off_a_file(measure, found):
    paired = {"drop": 0.01, "standard_error": 0.002, "examples": 500}
    made = {**exported("int8", gzip_bytes=500), "against_dense": paired}
    made["latency"]["pruned"]["median_ms"] = 0.5
    figures = goal(measure=measure).figures_of(typed(result(made)).tflite[0])
    assert figures.measure == found
    assert figures.bytes == (SIZES["bytes"] if measure == "bytes" else 500)  # what max_bytes limits
