"""What settings of Hydra's plugins may hold, and how many cells a grid may have."""

import math

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

from pruneflow.command import grids
from pruneflow.command.plugin_rules import RULES, check_rules
from pruneflow.errors import ConfigError
from pruneflow.flow.config import config_folder

FILES = {
    "JoblibLauncher": "launcher/joblib",
    "LocalLauncher": "launcher/submitit_local",
    "SlurmLauncher": "launcher/submitit_slurm",
    "RayLauncher": "launcher/ray",
    "OptunaSweeper": "sweeper/optuna",
}


def settings(name):
    """What conf/hydra has, or for Hydra's own sweeper, what Hydra has."""
    if name == "BasicSweeper":
        return OmegaConf.create({"_target_": "x.BasicSweeper", "max_batch_size": None})
    node = OmegaConf.load(config_folder() / "hydra" / f"{FILES[name]}.yaml")
    return OmegaConf.merge(node, {key: "x" for key in ("name", "submitit_folder") if key in node})


@pytest.mark.parametrize("name", RULES)
def test_what_conf_has_is_allowed(name):
    check_rules(settings(name), FILES.get(name, ""))


CASES = [(name, key) for name, rules in RULES.items() for key in rules]


@pytest.mark.parametrize(("name", "key"), CASES)
def test_each_rule_refuses_numbers_without_end_and_what_is_no_value(name, key):
    node = settings(name)
    numbers = [] if RULES[name][key].holds("x") else [math.nan, -math.inf, -(10**18), {"a": [1]}]
    for value in ("", *numbers):
        with_value = node.copy()
        OmegaConf.update(with_value, key, value, merge=False, force_add=True)
        if isinstance(value, dict) and key in ("ray.init", "ray.remote"):
            continue
        shown = f"hydra.{FILES.get(name, '').split('/')[0]}.{key}="
        with pytest.raises(ConfigError) as caught:
            check_rules(with_value, FILES.get(name, ""))
        assert str(caught.value).startswith(shown) and "allowed are" in str(caught.value)


@pytest.mark.parametrize(
    ("name", "key", "taken", "refused"),
    [
        ("JoblibLauncher", "n_jobs", [1, -1, 1024], [0, 1025, 100_000, True, 1.5]),
        ("JoblibLauncher", "prefer", [None, "processes"], ["threads", "garbage"]),
        ("JoblibLauncher", "pre_dispatch", ["all", "2*n_jobs", 4], ["0", "import os"]),
        ("JoblibLauncher", "timeout", [None, 0.5], [0, -1]),
        ("LocalLauncher", "timeout_min", [1, 1440], [0, -5, 1.5, None]),
        ("LocalLauncher", "gpus_per_node", [None, 0, 2], [-1]),
        ("SlurmLauncher", "mem_per_gpu", [None, "16G", "500MB"], ["lots", "-1G"]),
        ("RayLauncher", "ray.init.logging_level", [0, 50], [-1, 51]),
        ("RayLauncher", "ray.init._temp_dir", [None, "/tmp/x"], ["x", "/" + 43 * "x"]),
        ("RayLauncher", "ray.remote.num_cpus", [0.5, 2], [0, -1]),
        ("OptunaSweeper", "n_trials", [1, 100_000], [0, -1, 100_001, None]),
        ("OptunaSweeper", "max_failure_rate", [0, 1.0], [-0.1, 1.1]),
        ("OptunaSweeper", "sampler.population_size", [None, 2], [1]),
        ("BasicSweeper", "max_batch_size", [None, 1], [0, -1]),
    ],
)
def test_the_ends_of_what_is_allowed(name, key, taken, refused):
    rule = RULES[name][key]
    assert [value for value in taken if not (rule.null if value is None else rule.holds(value))] == []
    assert [value for value in refused if (rule.null if value is None else rule.holds(value))] == []


def parsed(*words):
    return OverridesParser.create().parse_overrides(list(words))


@pytest.mark.parametrize(
    ("words", "count"),
    [
        (["seed=range(0,1000)"], 1_000),
        (["seed=range(10,0,-3)"], 4),
        (["a=range(0.1,0.35,0.1)", "b=1,2,3", "c=4"], 9),
        (["seed=1,2,3", "seed=range(0,5)"], 5),  # the last one counts
        (["seed=shuffle(range(0,3))", "b=choice(1,2)"], 6),
    ],
)
def test_cells_are_counted_as_they_are_made(words, count):
    overrides = parsed(*words)
    grids.check_swept(overrides)
    assert len(grids.cells(overrides)) == count


@pytest.mark.parametrize(
    ("words", "count"),
    [
        (["seed=range(0,1001)"], "1,001"),
        (["seed=range(0,100000000)"], "100,000,000"),
        (["a=range(0,1,0.0000000001)"], "10,000,000,000"),
        (["a=range(0,100)", "b=range(0,100)", "c=1,2"], "20,000"),
        (["a=shuffle(range(0,100000000))"], "100,000,000"),
    ],
)
def test_a_sweep_of_too_many_cells_is_refused_before_they_are_listed(words, count, monkeypatch):
    monkeypatch.setattr(grids.BasicSweeper, "split_arguments", None)
    with pytest.raises(ConfigError, match=f"^The sweep has {count} cells; allowed are 1,000\\."):
        grids.cells(parsed(*words))


@pytest.mark.parametrize(
    ("word", "answer"),
    [
        ("seed=glob(*)", "seed=glob(*): glob lists the options of a group, and seed is a key."),
        ("seed=range(5,1)", "seed=range(5,1): there is no value in it."),
        ("seed=range(0,5,0)", "seed=range(0,5,0): it never ends."),
        ("a=range(0.0,1.0,0)", "a=range(0.0,1.0,0): it never ends."),
        ("a=range(0,inf)", "a=range(0,inf): it never ends."),
        ("a=range(nan,1)", "a=range(nan,1): it never ends."),
    ],
)
def test_a_range_without_value_or_end_is_refused(word, answer):
    with pytest.raises(ConfigError) as caught:
        grids.check_swept(parsed(word))
    assert str(caught.value).startswith(answer)


def test_a_grid_takes_no_interval():
    with pytest.raises(ConfigError, match=r"^a=interval\(0,1\): a grid takes no interval\."):
        grids.cells(parsed("a=interval(0,1)"))
