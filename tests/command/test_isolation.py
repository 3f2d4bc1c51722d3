"""Cells of a long grid in processes of their own: the same bytes, no life of their own."""

import json
import os
import pickle
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import forked
import pytest
from conftest import QUICK
from test_cli import exit_code
from test_tensorboard import Board, settings_of

from pruneflow.command import isolation

GRID = [*QUICK, "-m", "seed=0,1", "stages.reuse=false"]


@pytest.fixture
def always(monkeypatch):
    """Every cell after the first gets a process of its own."""
    monkeypatch.setattr(isolation, "BUDGET_BYTES", -(2**40))
    monkeypatch.setattr(isolation, "_after_first", None)


def cells(folder):
    return {file.parent.name: file.parent for file in folder.glob("sweeps/*/*/*/result.json")}


@pytest.mark.long
def test_a_cell_in_a_child_gives_the_same_bytes_and_shows_the_same(tmp_path, monkeypatch, capfd, always):
    assert exit_code(GRID) == 0
    said = capfd.readouterr().out
    monkeypatch.setattr(isolation, "BUDGET_BYTES", 2**40)
    assert exit_code([*GRID, "hydra.sweep.dir=here"]) == 0
    first = cells(tmp_path / "outputs")
    assert sorted(first) == ["seed-0", "seed-1"]
    for name, folder in first.items():
        for file in ("dense.h5", "pruned.h5", "pruned-float.tflite"):
            assert (folder / file).read_bytes() == (Path("here") / name / file).read_bytes()
    assert len(re.findall(r"^done dataset=mnist model=cnn .* run=", said, flags=re.M)) == 2
    processes = {process_of(folder) for folder in first.values()}
    assert len(processes) == 2 and str(os.getpid()) in processes
    (sweep,) = (tmp_path / "outputs" / "sweeps").glob("*/*")
    on_the_page = {name: settings_of(group)["seed"] for name, (group, _) in Board(sweep).sessions().items()}
    assert on_the_page == {"seed-0/float": 0, "seed-1/float": 1}


def process_of(folder):
    """TensorBoard's event files are named by the process that wrote them."""
    return next((folder / "dense").glob("events.*.v2")).name.split(".")[-3]


@pytest.mark.long
def test_a_cell_that_fails_in_a_child_is_recorded_like_any_other(tmp_path, capfd, always):
    line = [*QUICK, "-m", "trainer.dense_learning_rate=0.01,1e30", "trainer.optimizer=sgd"]
    assert exit_code(line) == 1
    (failure,) = tmp_path.rglob("failure.json")
    assert json.loads(failure.read_text())["message"].startswith("Training diverged: loss is")
    assert failure.parent.name == "dense_learning_rate-1e+30"
    assert "Training diverged" in capfd.readouterr().err


def test_a_child_that_dies_is_a_failed_cell(composed, tmp_path, monkeypatch, capfd, always):
    popen = subprocess.Popen

    def died(line, *rest, **how):
        return popen(["false"], *rest, **how)

    monkeypatch.setattr(isolation.subprocess, "Popen", died)
    work = isolation.Work(composed(*QUICK), tmp_path, "")
    isolation.in_child(work)
    message = "The process of this cell ended with 1. Is memory short?"
    assert json.loads((tmp_path / "failure.json").read_text()) == {"message": message}
    assert message in capfd.readouterr().err


CODE = """
import sys
from pruneflow.command import isolation
isolation.BUDGET_BYTES = -(2**40)
from pruneflow.__main__ import main
main()
"""


@pytest.mark.long
@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGKILL])
def test_a_child_ends_with_its_parent(tmp_path, sent):
    quick = [word for word in QUICK if not word.startswith("trainer.epochs")]
    line = [sys.executable, "-c", CODE, *quick, "-m", "trainer.epochs=1,5000", "schedule.end_step=9"]
    parent = forked.Command(line, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    deadline = time.monotonic() + 120
    while not (child := child_of(parent.pid)) or not list(tmp_path.rglob("epochs-5000/pruned/events.*")):
        assert time.monotonic() < deadline and parent.poll() is None
        time.sleep(0.05)
    parent.send_signal(sent)
    parent.communicate(timeout=60)
    while alive(child):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def child_of(pid):
    """A child that runs a cell; there is none before the second one."""
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in task.read_text().split():
            if b"pruneflow.command.isolation" in Path(f"/proc/{child}/cmdline").read_bytes():
                return int(child)
    return 0


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_work_travels_with_its_share_of_the_machine(composed, tmp_path):
    work = isolation.Work(composed(*QUICK), tmp_path, "command", share=1)
    assert pickle.loads(pickle.dumps(work)) == work
