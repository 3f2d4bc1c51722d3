"""Timing of TFLite files: numbers worked out by hand, one real measurement, processes that end."""

import json
import os
import signal
import subprocess
import sys
import time
import warnings
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from test_scoring import lstm_file

from pruneflow import latency as command
from pruneflow.datasets.spec import Spec
from pruneflow.errors import ConfigError, PruneflowError
from pruneflow.exports import latency, latency_child, tflite, verdict
from pruneflow.exports.exporters import DynamicRange, Float
from pruneflow.exports.latency import Latency, Timing
from pruneflow.exports.verdict import KernelFacts, Speedup, speedup
from pruneflow.runtime import backend, child
from pruneflow.runtime.signals import undisturbed

SHORT = Latency(seconds=0.3, warmup=2, threads=1)
LINUX = sys.platform == "linux"


@pytest.fixture(autouse=True)
def _children():
    """Children that load what they need: how large they are is measured."""


def dense_network(inputs, units):
    keras = backend.keras()
    x = keras.Input((inputs,), name="input")
    return keras.Model(x, keras.layers.Dense(units, name="dense")(x), name="network")


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A tiny network, one with a million times its multiply-adds (a few milliseconds), and broken files."""
    folder = tmp_path_factory.mktemp("files")
    for name, inputs, units in (("tiny", 4, 10), ("big", 2048, 2048)):
        spec = Spec(kind="image", shape=(inputs,), classes=units)
        content = Float(name="float").convert(dense_network(inputs, units), spec, np.empty(0))
        (folder / f"{name}.tflite").write_bytes(content)
    (folder / "half.tflite").write_bytes(content[: len(content) // 2])
    (folder / "empty.tflite").write_bytes(b"")
    (folder / "text.tflite").write_text("This is a letter.")
    (folder / "flex.tflite").write_bytes(flex())
    return folder


def flex():
    """A file with an operation that only TensorFlow has."""
    tf = backend.tensorflow()
    function = tf.function(lambda x: tf.strings.length(tf.strings.as_string(x)))
    signature = tf.TensorSpec((1, 4), tf.float32)
    with backend.quiet(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        function = function.get_concrete_function(signature)
        converter = tf.lite.TFLiteConverter.from_concrete_functions([function])
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS, tf.lite.OpsSet.SELECT_TF_OPS]
        return converter.convert()


class Clock:
    """Time that passes only where files run."""

    def __init__(self):
        self.now, self.ran = 0, []

    def __call__(self):
        return self.now

    def run_of(self, name, milliseconds):
        def run():
            self.now += milliseconds * 1_000_000
            self.ran.append(name)
            return milliseconds * 1_000_000

        return run


# Settings


def test_usual_settings_are_accepted():
    assert Latency(seconds=0, warmup=0, threads=1).seconds == 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"seconds": -1.0},
            "latency.seconds=-1.0: allowed are numbers from 0 (measures nothing). 5 is usual.",
        ),
        ({"seconds": float("inf")}, "latency.seconds=inf: allowed"),
        ({"seconds": float("nan")}, "latency.seconds=nan: allowed"),
        ({"warmup": -1}, "latency.warmup=-1: allowed are whole numbers from 0."),
        ({"threads": 0}, "latency.threads=0: allowed are whole numbers from 1."),
    ],
)
def test_settings_that_cannot_be_are_refused_by_key(change, message):
    with pytest.raises(ConfigError) as caught:
        Latency(**{"seconds": 1, "warmup": 1, "threads": 1, **change})
    assert str(caught.value).startswith(message)


# The order and the length of blocks


def test_every_file_is_at_every_place_equally_often():
    for files in (1, 2, 3, 5):
        orders = [latency_child.order(files, turn) for turn in range(2 * files)]
        for place in range(files):
            assert sorted(order[place] for order in orders) == sorted([*range(files), *range(files)])


def test_blocks_of_files_alternate_and_last_the_same():
    clock = Clock()
    runs = [clock.run_of("a", 1), clock.run_of("b", 2)]
    times = latency_child.interleaved(runs, seconds=0.08, clock_ns=clock)  # 4 passes of two blocks of 10 ms
    a, b = 10 * "a", 5 * "b"
    assert "".join(clock.ran) == a + b + b + a + b + a + a + b
    assert [list(each) for each in times] == [4 * 9 * [1_000_000], 4 * 4 * [2_000_000]]  # no first of a block
    assert clock.now == 80_000_000


def test_the_next_process_begins_in_another_order():
    clock = Clock()
    runs = [clock.run_of("a", 1), clock.run_of("b", 1)]
    latency_child.interleaved(runs, seconds=0.001, turn=1, clock_ns=clock)
    assert "".join(clock.ran) == "bbaabbaa"


def test_slow_files_have_two_passes_of_one_invocation_all_the_same():
    clock = Clock()
    (times,) = latency_child.interleaved([clock.run_of("a", 500)], seconds=0.01, clock_ns=clock)
    assert list(times) == 2 * [500_000_000]
    assert len(clock.ran) == 4


def test_no_pass_is_begun_that_would_end_late():
    clock = Clock()
    latency_child.interleaved([clock.run_of("a", 160)], seconds=1.0, clock_ns=clock)
    assert clock.now == 960_000_000  # 3 passes of two invocations


@pytest.mark.parametrize(("count", "share_ms", "ran"), [(5, 100, 5), (5, 25, 3), (5, 1, 1), (0, 100, 1)])
def test_warming_up_ends_after_its_share_of_time_but_runs_once(count, share_ms, ran):
    clock = Clock()
    latency_child._warm_up(clock.run_of("a", 10), count, share_ms * 1e6)
    assert len(clock.ran) == ran


def test_files_are_loaded_in_turn_and_answered_in_their_own_order(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(latency_child, "runner", lambda file, _: clock.run_of(file, {"a": 1, "b": 2}[file]))
    *said, last = latency_child._time(job(files=["a", "b"], turn=1, seconds=0))
    assert said == [{"at": "b"}, {"at": "a"}, {"at": None}]
    answer = last["answer"]
    assert answer["files"] == [
        {"n": 2, "times_ns": [1_000_000] * 2},
        {"n": 2, "times_ns": [2_000_000] * 2},
    ]
    assert 0 < answer["seconds"] < 60


@pytest.mark.run
@pytest.mark.parametrize(
    ("seconds_of_a_round", "rounds"),
    [(0.1, 12), (0.13, 10), (1.0, 6)],  # 1.2 s in all
)
def test_there_are_twelve_processes_and_of_slow_files_six(monkeypatch, files, seconds_of_a_round, rounds):
    asked = []

    def answer(job):
        asked.append(job)
        times = [1e6 * (10 * len(asked) + index) for index in (1, 2, 4)]
        return 7 if job.task == "memory" else {"seconds": seconds_of_a_round, "files": [times_of(times)] * 2}

    def times_of(times):
        return {"n": 1000, "times_ns": times}

    monkeypatch.setattr(latency, "_answer", answer)
    pair = [files / "tiny.tflite", files / "big.tflite"]
    found = latency.measure(pair, Latency(seconds=1.2, warmup=3, threads=2), token_bound=9)
    expected = latency_child.Job("time", [str(file) for file in pair], 0, 1.2 / 12, 3, 2, 9)
    assert asked[:rounds] == [replace(expected, turn=turn) for turn in range(rounds)]
    assert [(job.task, job.files) for job in asked[rounds:]] == [("memory", [str(file)]) for file in pair]
    assert [each.file for each in found] == ["tiny.tflite", "big.tflite"]
    assert (found[1].rounds, found[1].n, found[1].peak_memory_bytes) == (rounds, 1000 * rounds, 7)
    assert found[1].round_medians_ms == tuple(10.0 * turn + 2 for turn in range(1, rounds + 1))


# Figures of one file


def test_percentiles_are_over_all_invocations_and_medians_over_each_round():
    milliseconds = [[1, 2, 3, 4, 5], [6, 7, 8, 9, 10, 11]]
    assert latency_child.summary([[1_000_000 * one for one in times] for times in milliseconds]) == {
        "median_ms": 6.0,
        "p10_ms": 2.0,
        "p90_ms": 10.0,
        "rounds": 2,
        "round_medians_ms": (3.0, 8.5),
    }


def test_many_times_travel_as_1001_quantiles():
    assert latency_child.thinned([3, 1, 2]) == [3, 1, 2]
    assert latency_child.thinned(range(1001)) == list(range(1001))
    assert latency_child.thinned(range(2001)) == pytest.approx(range(0, 2001, 2))


class FakeInterpreter:
    """Takes 100 ns to reset and 7 to run."""

    def __init__(self, model_path, num_threads):
        self.threads = num_threads

    def allocate_tensors(self):
        self.calls, self.now = [], 0

    def get_input_details(self):
        return []

    def reset_all_variables(self):
        self.calls.append("reset")
        self.now += 100

    def invoke(self):
        self.calls.append("invoke")
        self.now += 7


def job(**changes):
    return latency_child.Job(
        **{"task": "time", "files": [], "turn": 0, "seconds": 1, "warmup": 1, "threads": 3, "token_bound": 2}
        | changes
    )


def test_the_reset_before_each_invocation_is_not_timed(monkeypatch):
    made = []
    fake = SimpleNamespace(Interpreter=lambda **how: made.append(FakeInterpreter(**how)) or made[-1])
    monkeypatch.setattr(latency_child.backend, "litert", lambda: fake)
    monkeypatch.setattr(latency_child, "time", SimpleNamespace(perf_counter_ns=lambda: made[0].now))
    run = latency_child.runner("file", job())
    assert [run(), run()] == [7, 7]
    assert made[0].calls == ["reset", "invoke"] * 2
    assert made[0].threads == 3


@pytest.mark.run
def test_an_lstm_starts_from_the_same_state_each_time(tmp_path, monkeypatch):
    from ai_edge_litert.interpreter import Interpreter

    file, *_ = lstm_file(tmp_path)
    outputs = []

    class Watched(Interpreter):
        def invoke(self):
            super().invoke()
            outputs.append(float(self.get_tensor(self.get_output_details()[0]["index"])[0, 0]))

    monkeypatch.setattr(latency_child.backend, "litert", lambda: SimpleNamespace(Interpreter=Watched))
    run = latency_child.runner(str(file), job())
    for _ in range(3):
        assert run() > 0
    assert outputs[0] == outputs[1] == outputs[2]


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_floats_are_drawn_from_0_to_1(dtype):
    values = latency_child.filling((1, 1000), np.dtype(dtype), 2)
    assert (values.dtype, values.shape) == (dtype, (1, 1000))
    assert values.min() >= 0 and values.max() <= 1 and 0.4 < values.astype(float).mean() < 0.6


@pytest.mark.parametrize(("bound", "found"), [(1, [0]), (2, [0, 1]), (5, [0, 1, 2, 3, 4])])
def test_token_ids_stay_below_the_bound(bound, found):
    for dtype in (np.int32, np.int64):
        values = latency_child.filling((1, 1000), np.dtype(dtype), bound)
        assert values.dtype == dtype and np.unique(values).tolist() == found


@pytest.mark.parametrize(("dtype", "low", "high"), [(np.int8, -128, 127), (np.uint8, 0, 255), (bool, 0, 1)])
def test_bytes_take_all_values(dtype, low, high):
    values = latency_child.filling((5000,), np.dtype(dtype), 2)
    assert (values.dtype, values.min(), values.max()) == (dtype, low, high)


def test_inputs_are_the_same_each_time():
    dtype = np.dtype(np.float32)
    np.testing.assert_array_equal(
        latency_child.filling((9,), dtype, 2), latency_child.filling((9,), dtype, 2)
    )


def test_inputs_that_are_no_numbers_are_refused():
    with pytest.raises(ValueError, match="input of type"):
        latency_child.filling((1,), np.dtype(np.bytes_), 2)


# Two files


def timed(*round_medians_ms, **changes):
    return Timing(
        **{
            "file": "a.tflite",
            "median_ms": 1.5,
            "p10_ms": 1.25,
            "p90_ms": 2.0,
            "n": 1234,
            "rounds": len(round_medians_ms),
            "threads": 1,
            "warmup": 2,
            "peak_memory_bytes": 2_500_000,
            "round_medians_ms": round_medians_ms,
        }
        | changes
    )


def test_speedup_is_the_time_of_the_dense_file_over_that_of_the_pruned_one():
    found = speedup(timed(1, 2, 3, 4, 5, 6, 7, 8, 9), timed(*9 * [1]))
    assert (found.ratio, found.low, found.high, found.rounds) == (5, 2, 8, 9)
    assert found.spread == pytest.approx(8.2 / 1.8)


def test_speedup_is_the_median_of_ratios_not_the_ratio_of_medians():
    dense, pruned = timed(1, 2, 4, 8, 16, 32, 64), timed(2, 4, 8, 4, 8, 16, 32)
    assert speedup(dense, pruned).ratio == 2.0  # of 0.5 three times and 2 four times; the medians are 8 and 8


def test_a_file_against_itself_is_as_fast():
    assert speedup(timed(*6 * [3]), timed(*6 * [3])) == Speedup(1, 1, 1, 6, 1)


@pytest.mark.parametrize(
    ("count", "left_out"),
    [(6, 0), (8, 0), (9, 1), (11, 1), (12, 2), (20, 5), (40, 13), (100, 39)],  # as in tables of the sign test
)
def test_the_interval_is_that_of_the_sign_test(count, left_out):
    found = speedup(timed(*range(1, count + 1)), timed(*count * [1]))
    assert (found.low, found.high) == (1 + left_out, count - left_out)


def test_too_few_rounds_and_rounds_that_do_not_match_have_no_speedup():
    with pytest.raises(ValueError, match="5 rounds have no interval; there must be 6"):
        speedup(timed(*5 * [1]), timed(*5 * [1]))
    with pytest.raises(ValueError):
        speedup(timed(*6 * [1]), timed(*7 * [1]))


# The sentence

FASTER = Speedup(1.6, 1.5, 1.7, 40, 1.1)
SAME = Speedup(1.0, 0.98, 1.02, 40, 1.1)
SLOWER = Speedup(0.8, 0.75, 0.8, 40, 1.1)
KERNEL = ("FULLY_CONNECTED",)
NO_KERNEL = (
    "LiteRT has no kernel here that skips zeros among dense weights; for blocks of 4 inputs in fully "
    "connected layers, exported with export.encoding=sparse, it has one."
)
NO_INT8 = (
    "LiteRT has no kernel here that skips zeros among int8 weights; for blocks of 4 inputs in fully "
    "connected layers, exported with export=float export.encoding=sparse, it has one."
)
UNEXPLAINED = "zeros do not explain it, but noise or arithmetic that depends on the data: "


@pytest.mark.parametrize(
    ("found", "facts", "sentence"),
    [
        (
            FASTER,
            KernelFacts("float", 0.9, KERNEL, 0, 9.81),
            "1.60x faster (1.50 to 1.70): FULLY_CONNECTED runs on a sparse kernel; multiply-adds fell 9.8x.",
        ),
        (
            FASTER,
            KernelFacts("float", 0.9, KERNEL, 1200, 9.81),
            "1.60x faster (1.50 to 1.70): FULLY_CONNECTED runs on a sparse kernel (1,200 other weights are "
            "made dense when the file is loaded); multiply-adds fell 9.8x.",
        ),
        (
            FASTER,
            KernelFacts("int8", 0.9, KERNEL, 0, 9.81),
            "1.60x faster (1.50 to 1.70): FULLY_CONNECTED runs on a sparse kernel in int8 instead of float "
            "arithmetic; multiply-adds fell 9.8x.",
        ),
        (
            FASTER,
            KernelFacts("int8", 0.8, (), 0, 5),
            f"1.60x faster (1.50 to 1.70): int8 arithmetic instead of float, not the zeros: {NO_INT8}",
        ),
        (
            FASTER,
            KernelFacts("float", 0, (), 0, 2, shrunk=2),
            "1.60x faster (1.50 to 1.70): the network itself is smaller; multiply-adds fell 2.0x.",
        ),
        (
            FASTER,
            KernelFacts("float", 0.8, (), 0, 10, shrunk=2),
            "1.60x faster (1.50 to 1.70): the network itself is smaller; multiply-adds fell 2.0x. Its zeros "
            f"save no time: {NO_KERNEL}",
        ),
        (
            FASTER,
            KernelFacts("float", 0.8, KERNEL, 0, 10, shrunk=2),
            "1.60x faster (1.50 to 1.70): the network itself is smaller; multiply-adds fell 2.0x, 10.0x with "
            "its zeros; FULLY_CONNECTED runs on a sparse kernel.",
        ),
        (
            FASTER,
            KernelFacts("int8", 0, (), 0, 2, shrunk=2),
            "1.60x faster (1.50 to 1.70): the network itself is smaller; multiply-adds fell 2.0x. The "
            "arithmetic is int8 instead of float, which counts too.",
        ),
        (
            SLOWER,
            KernelFacts("float", 0.8, (), 0, 10, shrunk=2),
            "1.25x slower (1.25 to 1.33): the network itself is smaller; multiply-adds fell 2.0x, but this "
            "machine is no faster at layers of such sizes.",
        ),
        (
            FASTER,
            KernelFacts("float", 0.8, (), 0, 5),
            f"1.60x faster (1.50 to 1.70): {UNEXPLAINED}{NO_KERNEL}",
        ),
        (
            FASTER,
            KernelFacts("float", 0, (), 0, 1),
            f"1.60x faster (1.50 to 1.70): {UNEXPLAINED}there are hardly any zeros to skip.",
        ),
        (
            FASTER,
            KernelFacts("int8", 0.8, (), 0, 5, reference_kind="int8"),
            f"1.60x faster (1.50 to 1.70): {UNEXPLAINED}{NO_INT8}",
        ),
        (SAME, KernelFacts("float", 0.8, (), 0, 5), f"Not faster (1.00x, 0.98 to 1.02): {NO_KERNEL}"),
        (
            SAME,
            KernelFacts("float", 0.8, (), 7, 5),
            "Not faster (1.00x, 0.98 to 1.02): sparse weights are made dense when the file is loaded "
            "(DENSIFY).",
        ),
        (
            SAME,
            KernelFacts("float", 0.8, KERNEL, 0, 5),
            "Not faster (1.00x, 0.98 to 1.02): FULLY_CONNECTED runs on a sparse kernel, but has too few "
            "zeros, or too little of the time, to show.",
        ),
        (SAME, KernelFacts("dynamic-range", 0.8, (), 0, 5), f"Not faster (1.00x, 0.98 to 1.02): {NO_INT8}"),
        (
            SAME,
            KernelFacts("float", 0, (), 0, 1),
            "Not faster (1.00x, 0.98 to 1.02): there are hardly any zeros to skip.",
        ),
        (
            SLOWER,
            KernelFacts("float", 0.8, KERNEL, 0, 5),
            "1.25x slower (1.25 to 1.33): FULLY_CONNECTED runs on a sparse kernel, which costs more here "
            "than its zeros save.",
        ),
        (
            SLOWER,
            KernelFacts("int8", 0.8, (), 0, 5),
            f"1.25x slower (1.25 to 1.33): int8 arithmetic takes longer here than float, and {NO_INT8}",
        ),
        (
            SLOWER,
            KernelFacts("float", 0.8, (), 9, 5),
            f"1.25x slower (1.25 to 1.33): {UNEXPLAINED}sparse weights are made dense when the file is "
            "loaded (DENSIFY).",
        ),
    ],
)
def test_a_verdict_has_its_reason(found, facts, sentence):
    assert verdict.verdict(found, facts) == sentence


@pytest.mark.parametrize(
    ("ratio", "low", "high", "head"),
    [
        (1.03, 1.001, 1.05, "1.03x faster"),
        (1.029, 1.001, 1.05, "Not faster"),  # less than 3 %
        (1.03, 1.0, 1.05, "Not faster"),  # the interval holds 1
        (1.08, 0.99, 1.09, "Not faster"),
        (0.97, 0.95, 0.999, "1.03x slower"),
        (0.971, 0.95, 0.999, "Not faster"),
        (0.97, 0.95, 1.0, "Not faster"),
        (1.05, 0.95, 1.15, "No difference can be told"),
        (1.0, 0.88, 1.01, "No difference can be told"),
    ],
)
def test_only_an_interval_without_1_and_three_hundredths_are_a_difference(ratio, low, high, head):
    said = verdict.verdict(Speedup(ratio, low, high, 40, 1.0), KernelFacts("float", 0.8, (), 0, 5))
    assert said.startswith(f"{head} (")


@pytest.mark.parametrize(
    ("found", "sentence"),
    [
        (Speedup(1.6, 1.2, 1.9, 40, 1.83), "Noisy: 1.60x faster (1.20 to 1.90): the"),
        (Speedup(1.0, 0.7, 1.2, 40, 2.0), "Noisy: no difference can be told (1.00x, 0.70 to 1.20): the"),
    ],
)
def test_wide_spread_is_called_noise(found, sentence):
    said = verdict.verdict(found, KernelFacts("float", 0, (), 0, 2, shrunk=2))
    assert said.startswith(sentence)
    assert said.endswith(
        f"; the ratio varies {found.spread:.1f}-fold between rounds, so measure longer on an idle machine."
    )


def test_facts_are_read_off_a_file():
    network = dense_network(8, 4)
    network.layers[1].set_weights(
        [np.repeat([[0.0], [1.0], [2.0], [3.0]], 2, 0) * np.ones((8, 4)), np.ones(4)]
    )
    spec = Spec(kind="image", shape=(8,), classes=4)
    content = Float(name="float").convert(network, spec, np.empty(0))
    facts = verdict.facts_of(content, "a.tflite", dense_multiply_adds=96)
    assert facts == KernelFacts("float", 0.25, (), 0, 4.0, shrunk=3.0)  # 24 of 32 weights are left


def test_weights_that_are_made_dense_are_counted_and_sparse_kernels_named_once():
    weights = (
        SimpleNamespace(size=100, zeros=90, densified=True, dtype="float32"),
        SimpleNamespace(size=300, zeros=210, densified=False, dtype="float32"),
    )
    graph = SimpleNamespace(
        weights=weights,
        sparse_kernel_ops=("FULLY_CONNECTED",) * 2,
        multiply_adds=400,
        nonzero_multiply_adds=0,
        inputs=(),
        outputs=(),
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tflite, "parse", lambda content, name: graph)
        facts = verdict.facts_of(b"", "a.tflite", dense_multiply_adds=400)
    assert facts == KernelFacts("float", 0.75, KERNEL, 100, 400.0)


@pytest.mark.parametrize(
    ("weight", "ends", "kind"),
    [
        ("float32", ("float32", "float32"), "float"),
        ("int8", ("float32", "float32"), "dynamic-range"),
        ("int8", ("int8", "int8"), "int8"),
        ("int8", ("int32", "int8"), "int8"),  # token ids
        ("int8", ("int32", "float32"), "dynamic-range"),
        ("int8", ("int16", "int16"), "int16x8"),
        ("float16", ("float32", "float32"), "float16"),
        ("int4", ("float32", "float32"), "int4"),
    ],
)
def test_the_kind_is_read_off_weights_inputs_and_outputs(weight, ends, kind):
    inputs, outputs = ([SimpleNamespace(dtype=end)] for end in ends)
    weights = [SimpleNamespace(dtype="float32"), SimpleNamespace(dtype=weight)]
    assert verdict.kind_of(SimpleNamespace(weights=weights, inputs=inputs, outputs=outputs)) == kind


# Real files in real processes


@pytest.mark.run
def test_a_big_network_takes_longer_and_more_memory_than_a_tiny_one(files, capfd):
    tiny, big = latency.measure([files / "tiny.tflite", files / "big.tflite"], SHORT)
    assert (tiny.file, big.file) == ("tiny.tflite", "big.tflite")
    assert big.median_ms > 5 * tiny.median_ms > 0  # a hundredfold and more
    assert tiny.p10_ms <= tiny.median_ms <= tiny.p90_ms
    assert (tiny.threads, tiny.warmup) == (1, 2)
    assert 12 >= tiny.rounds == len(tiny.round_medians_ms) == len(big.round_medians_ms) >= 6
    assert tiny.n >= tiny.rounds
    assert speedup(big, tiny).low > 5
    if LINUX:
        assert big.peak_memory_bytes - tiny.peak_memory_bytes > 12_000_000  # it has 16.8 MB of weights
    assert capfd.readouterr() == ("", "")  # nor what XNNPACK says


@pytest.mark.run
def test_token_inputs_are_filled_and_run(tmp_path):
    file, *_ = lstm_file(tmp_path)
    (found,) = latency.measure([file], Latency(seconds=0.05, warmup=0, threads=2), token_bound=20)
    assert found.median_ms > 0 and found.threads == 2


def test_no_time_and_no_files_measure_nothing(monkeypatch):
    monkeypatch.setattr(latency.child, "values_of", None)
    assert latency.measure([Path("a.tflite")], Latency(seconds=0, warmup=1, threads=1)) == []
    assert latency.measure([], SHORT) == []


BROKEN = [
    ("nix.tflite", "nix.tflite cannot be read: No such file or directory. Check the path."),
    ("empty.tflite", "empty.tflite is not a TFLite file: it is empty. Give a .tflite file"),
    ("text.tflite", "text.tflite is not a TFLite file: bytes 5 to 8 are not TFL3."),
    (
        "half.tflite",
        "half.tflite cannot be timed: The model is not a valid Flatbuffer buffer. Only whole .tflite",
    ),
    ("flex.tflite", "flex.tflite cannot be timed: Select TensorFlow op(s), included in the given model, "),
]


@pytest.mark.parametrize(("name", "message"), BROKEN)
def test_a_file_that_cannot_be_loaded_is_named(files, name, message):
    with pytest.raises(PruneflowError) as caught:
        latency.measure([files / "tiny.tflite", files / name], SHORT)
    assert str(caught.value).startswith(f"{files}/{message}")
    assert "\n" not in str(caught.value)


def test_what_litert_refuses_is_one_line(monkeypatch):
    values = [{"at": "a.tflite"}, {"error": "X failed.\nY requested.The node #1Node number 5 failed."}]
    monkeypatch.setattr(latency.child, "values_of", lambda *_, **how: child.Outcome(values, 0))
    with pytest.raises(PruneflowError) as caught:
        latency._answer(job(files=["b.tflite", "a.tflite"]))
    said = "a.tflite cannot be timed: X failed. Y requested. The node #1. Node number 5 failed. Only whole"
    assert str(caught.value).startswith(said)


@pytest.mark.parametrize(
    ("values", "where"),
    [
        ([{"at": "b.tflite"}, {"at": "a.tflite"}], "a.tflite"),
        ([{"at": "a.tflite"}, {"at": None}], "a.tflite or b.tflite"),
        ([], "a.tflite or b.tflite"),
        ([{"answer": 5}], "a.tflite or b.tflite"),
    ],
)
def test_a_child_that_crashes_is_one_message_with_file_and_exit_status(monkeypatch, values, where):
    crashed = child.Outcome(values, -6, log="last words")
    monkeypatch.setattr(latency.child, "values_of", lambda *_, **how: crashed)
    with pytest.raises(PruneflowError) as caught:
        latency._answer(job(files=["a.tflite", "b.tflite"]))
    assert str(caught.value) == (
        f"{where} cannot be timed: its process crashed with signal 6, SIGABRT (last words). Only whole "
        ".tflite files of TFLite's own operations load here; export it again."
    )


def test_a_file_that_hangs_is_waited_for_as_long_as_slow_ones_take(monkeypatch):
    asked = {}
    monkeypatch.setattr(
        latency.child, "values_of", lambda *_, **how: asked.update(how) or child.Outcome([{"answer": 5}], 0)
    )
    assert latency._answer(job(files=["a.tflite", "b.tflite"], seconds=3)) == 5
    assert asked == {"silent_s": 2 * 60 + 3}


def test_memory_is_unknown_where_the_system_does_not_tell(files, monkeypatch):
    def refuse(self, text, **settings):
        raise FileNotFoundError

    monkeypatch.setattr(Path, "write_text", refuse)
    assert list(latency_child._memory(job(files=[str(files / "tiny.tflite")])))[1:] == [{"answer": None}]


CODE = """
import sys
from pathlib import Path
from pruneflow.latency import Latency, measure
from pruneflow.runtime.signals import undisturbed
from pruneflow.exports.latency import Latency, Timing
from pruneflow.exports.verdict import KernelFacts, Speedup, speedup
with undisturbed():
    measure([Path(sys.argv[1])], Latency(seconds=300, warmup=1, threads=1))
"""


@pytest.mark.skipif(not LINUX, reason="looks into /proc")
@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_the_child_ends_with_its_parent_even_where_signals_are_held_back(files, sent):
    line = [sys.executable, "-c", CODE, str(files / "tiny.tflite")]
    parent = subprocess.Popen(line, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while not (pid := measuring_child(parent.pid)):
        assert time.monotonic() < deadline and parent.poll() is None
        time.sleep(0.05)
    parent.send_signal(sent)
    assert parent.wait(timeout=60) != 0
    while alive(pid):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def measuring_child(pid):
    """A child that has begun to read the file; 0 where there is none."""
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        for each in task.read_text().split():
            if "tiny.tflite" in Path(f"/proc/{each}/maps").read_text():
                return int(each)
    return 0


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_the_child_imports_neither_tensorflow_nor_hydra():
    code = (
        "import sys, pruneflow.runtime.child, pruneflow.exports.latency_child as t; t.backend.litert(); "
        "print(*sorted(sys.modules))"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert not {"tensorflow", "tf_keras", "hydra", "rich"} & set(said.split())


# The command


@pytest.fixture
def measured(monkeypatch, files):
    """Two real files with figures of our own."""
    names = [str(files / "tiny.tflite"), str(files / "big.tflite")]
    found = [timed(*6 * [3.0]), timed(*6 * [2.0], median_ms=0.123456, peak_memory_bytes=None)]
    monkeypatch.setattr(command, "measure", lambda files, settings: found[: len(files)])
    return names


def test_the_command_prints_a_table_and_a_verdict(measured, capsys):
    assert command.main(measured) == 0
    head, first, second, said = capsys.readouterr().out.splitlines()
    assert head.split("  ")[0] == "file"
    assert " ".join(first.split()[1:]) == "1.5 1.25 to 2 1,234 1 2.5 MB"
    assert " ".join(second.split()[1:]) == "0.1235 1.25 to 2 1,234 1.50 (1.50 to 1.50) unknown"
    assert said == (
        f"{measured[1]}: 1.50x faster (1.50 to 1.50): {UNEXPLAINED}there are hardly any zeros to skip."
    )


def test_the_command_prints_one_json_object(measured, capsys):
    assert command.main([*measured, "--json"]) == 0
    first, second = json.loads(capsys.readouterr().out)["files"]
    assert first["file"] == measured[0] and not {"verdict", "round_medians_ms"} & set(first)
    assert second["speedup"] == asdict(Speedup(1.5, 1.5, 1.5, 6, 1.0))
    assert second["verdict"].startswith("1.50x faster (1.50 to 1.50): ")
    assert (second["median_ms"], second["n"], second["peak_memory_bytes"]) == (0.123456, 1234, None)


def test_the_kind_of_the_first_file_counts_in_the_verdict(measured, tmp_path, capsys):
    spec = Spec(kind="image", shape=(64,), classes=64)
    (tmp_path / "int8.tflite").write_bytes(
        DynamicRange(name="dynamic-range").convert(dense_network(64, 64), spec, np.empty(0))
    )
    assert command.main([measured[0], str(tmp_path / "int8.tflite")]) == 0
    assert "dynamic-range arithmetic instead of float" in capsys.readouterr().out
    assert command.main([str(tmp_path / "int8.tflite")] * 2) == 0
    assert "instead of" not in capsys.readouterr().out


def test_a_file_that_runs_but_cannot_be_read_has_a_row_and_no_verdict(measured, monkeypatch, capsys):
    def refuse(content, name):
        raise PruneflowError(f"{name} keeps weights in other files.")

    monkeypatch.setattr(tflite, "parse", refuse)
    assert command.main(measured) == 0
    said = capsys.readouterr().out.splitlines()
    assert len(said) == 4
    assert said[3] == f"{measured[1]}: No reason known: {measured[0]} keeps weights in other files."


@pytest.mark.run
def test_the_command_measures_real_files_in_a_process_of_its_own(files):
    line = [
        sys.executable,
        "-m",
        "pruneflow.latency",
        "big.tflite",
        "tiny.tflite",
        "--seconds",
        "0.2",
        "--json",
    ]
    done = subprocess.run(line, cwd=files, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    big, tiny = json.loads(done.stdout)["files"]
    assert big["file"] == "big.tflite" and tiny["speedup"]["ratio"] > 5
    assert "the network itself is smaller; multiply-adds fell 104857.6x" in tiny["verdict"]


@pytest.mark.parametrize(("name", "message"), BROKEN)
def test_the_command_answers_broken_files_with_one_line_and_1(files, capsys, name, message):
    assert command.main([str(files / "tiny.tflite"), str(files / name)]) == 1
    out, err = capsys.readouterr()
    assert out == "" and err.startswith(f"{files}/{message}") and err.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "the following arguments are required: FILE"),
        (["--seconds", "-1"], "--seconds=-1: allowed are numbers above 0. 5 is usual."),
        (["--seconds", "0"], "--seconds=0: allowed are numbers above 0. 5 is usual."),
        (["--seconds", "nan"], "--seconds=nan: allowed are numbers above 0."),
        (["--seconds", "inf"], "--seconds=inf: allowed are numbers from 0"),
        (["--seconds", "long"], "argument --seconds: invalid float value: 'long'"),
        (["--threads", "0"], "--threads=0: allowed are whole numbers from 1."),
        (["--warmup", "-3"], "--warmup=-3: allowed are whole numbers from 0."),
        (["--sec", "5"], "unrecognized arguments: --sec"),
    ],
)
def test_arguments_that_cannot_be_exit_with_2(arguments, message, capsys):
    files = ["a.tflite", "b.tflite"] if arguments else []
    with pytest.raises(SystemExit) as caught:
        command.main([*files, *arguments])
    out, err = capsys.readouterr()
    assert (caught.value.code, out) == (2, "")
    assert f"python -m pruneflow.latency: error: {message}" in err


def test_ctrl_c_ends_the_command(measured, monkeypatch):
    def interrupt(files, settings):
        with undisturbed():
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(command, "measure", interrupt)
    with pytest.raises(KeyboardInterrupt):
        command.main(measured)
