"""Tab completion: the same answers as Hydra's, from the YAML files, and nothing heavy is loaded for them."""

import os
import subprocess
import sys

import pytest
from support import ROOT

from pruneflow.command.completion import completions
from pruneflow.runtime.files import config_folder

MOST_MODULES = 250  # 195 are imported; Hydra's own completion needs 800


def asked(typed, *options, shell="bash"):
    """What a shell gets at a tab."""
    line = [sys.executable, *options, "-m", "pruneflow", "-sc", f"query={shell}"]
    environment = {**os.environ, "COMP_LINE": f"pruneflow {typed}", "PYTHONPATH": str(ROOT)}
    return subprocess.run(line, env=environment, capture_output=True, text=True, timeout=120)


@pytest.mark.parametrize("typed", ["model=", "trainer.", "schedule=linear schedule.f", "mod", "pruning.s"])
def test_completion_imports_little(typed):
    done = asked(typed, "-X", "importtime")
    assert done.returncode == 0 and done.stdout.split()
    imported = {line.split("|")[-1].strip() for line in done.stderr.splitlines() if "|" in line}
    assert not {"tensorflow", "tf_keras", "numpy", "hydra", "omegaconf", "rich"} & imported
    assert len(imported) <= MOST_MODULES


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ("model=l", "model=lstm"),
        ("sched", "schedule. schedule="),
        ("schedule=constant schedule.f", "schedule.final_sparsity= schedule.frequency="),
        ("pruning.max", "pruning.max_accuracy_drop="),
        ("-m seed=1,2 export=float", "export=float export=float16"),
        ("trainer.early_stopping.p", "trainer.early_stopping.patience="),
        ("experiment=mnist", "experiment=mnist_cnn"),
        ("see", "seed="),
    ],
)
def test_the_next_words_are_those_of_the_yaml_files(typed, expected):
    assert " ".join(completions(typed, config_folder())) == expected


@pytest.mark.parametrize("typed", ["then=unstructured then.", "goal=smallest goal.", "hydra.sw", "nothing"])
def test_what_the_yaml_files_do_not_tell_is_left_to_hydra(typed):
    assert completions(typed, config_folder()) == []


@pytest.mark.run
def test_hydra_answers_where_the_yaml_files_do_not_tell():
    assert "hydra.sweep." in asked("hydra.sw").stdout
    assert asked("then=unstructured then.final").stdout.split() == ["then.final_sparsity="]


@pytest.mark.run
@pytest.mark.parametrize(
    "typed", ["mod", "model=", "schedule.f", "trainer.e", "export=int", "dist", "latency."]
)
def test_hydra_would_say_the_same(typed):
    """fish asks Hydra."""
    found = asked(typed, shell="fish").stdout.split()
    assert sorted(found) == completions(typed, config_folder())
