"""Damaged TFLite files end with numbers or with one message: a few of many thousand."""

import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from support import ROOT
from test_tflite import IMAGES, TOKENS, converted

from pruneflow import evaluate
from pruneflow.datasets.spec import Data, Part
from pruneflow.exports.latency import Latency
from pruneflow.runtime.child import Outcome

sys.path.insert(0, str(ROOT / "benchmarks"))
import damaged_files
from damaged_files import CRASH, DAMAGES, NUMBERS, REFUSED, TIMEOUT

ORIGINALS = [
    ("cnn", "float", False),
    ("cnn", "int8", False),
    ("cnn", "float", True),
    ("lstm", "float", False),
]


def settings_for(network):
    spec = IMAGES if network == "cnn" else TOKENS
    rng = np.random.default_rng(0)
    part = Part(
        rng.integers(0, 20, (6, *spec.shape)).astype("uint8" if network == "cnn" else "int32"),
        rng.integers(0, spec.classes, 6),
    )
    data = Data("made", spec, part, part, part)
    dataset = SimpleNamespace(load=lambda: data, option_name="made")
    latency = Latency(seconds=0, warmup=1, threads=1)
    device = SimpleNamespace(awaited=nullcontext, interpreters=lambda: 2)
    return evaluate._Settings(dataset, latency, device, SimpleNamespace(pixels=None, output="auto"))


def damaged(index):
    network, export, sparse = ORIGINALS[index % len(ORIGINALS)]
    content = converted(network, export, sparse=sparse)
    damage = list(DAMAGES)[index // len(ORIGINALS) % 2]
    return network, content, damaged_files.damaged(content, damage, np.random.default_rng([7, index]))


@pytest.mark.run
def test_damaged_files_end_with_numbers_or_with_one_message(tmp_path):
    def ending(index):
        network, _, content = made[index]
        (file := tmp_path / f"{index}.tflite").write_bytes(content)
        return damaged_files.ending(file, settings_for(network))

    made = [damaged(index) for index in range(24)]
    with ThreadPoolExecutor(2) as executor:
        ends = list(executor.map(ending, range(24)))
    assert {kind: said for kind, said in ends if kind not in (NUMBERS, REFUSED)} == {}
    counts = Counter(kind for kind, _ in ends)
    assert counts[NUMBERS] >= 3 and counts[REFUSED] >= 5


@pytest.mark.parametrize("index", range(8))
def test_a_seed_gives_the_same_damage_each_time(index):
    _, content, found = damaged(index)
    assert found == damaged(index)[2] != content


def test_a_process_that_dies_is_the_fault_of_the_file_it_was_at(monkeypatch):
    outcomes = iter(
        [
            Outcome([(NUMBERS, ""), (REFUSED, "no")], -11),
            Outcome([], -9, silent_s=300),
            Outcome([(NUMBERS, "")], 0),
        ]
    )
    asked = []
    monkeypatch.setattr(
        damaged_files.child, "values_of", lambda _, work, *rest, **how: asked.append(work) or next(outcomes)
    )
    work = [(Path(f"{number}.tflite"), None) for number in range(5)]
    found = [(file.stem, kind) for file, kind, _ in damaged_files.endings(work, [])]
    assert found == [("0", NUMBERS), ("1", REFUSED), ("2", CRASH), ("3", TIMEOUT), ("4", NUMBERS)]
    assert [len(each) for each in asked] == [5, 2, 1]


def test_what_evaluation_raises_or_says_on_two_lines_is_found(monkeypatch, tmp_path):
    for error, kind in [
        (damaged_files.PruneflowError("one message"), REFUSED),
        (damaged_files.PruneflowError("two\nlines"), damaged_files.TRACEBACK),
        (damaged_files.PruneflowError(""), damaged_files.TRACEBACK),
        (KeyError("x"), damaged_files.TRACEBACK),
    ]:

        def raising(*_, error=error):
            raise error

        monkeypatch.setattr(damaged_files.evaluate, "evaluated", raising)
        assert damaged_files.ending(tmp_path, None)[0] == kind
