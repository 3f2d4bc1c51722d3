"""Every command and every promise of the README that a machine can check."""

import json
import re
import shlex
from pathlib import Path

import pytest
from conftest import QUICK
from test_cli import exit_code

from pruneflow import cli

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"```sh\n(.*?)```", README, flags=re.S)
COMMANDS = [line.split("  #")[0].strip() for block in BLOCKS for line in block.splitlines() if line.strip()]
RUNS = [command for command in COMMANDS if command.startswith("python -m pruneflow")]


def test_the_readme_has_commands():
    assert len(RUNS) >= 10


@pytest.mark.parametrize("command", RUNS)
def test_every_command_of_the_readme_runs(command, capfd):
    """On tiny data and for few epochs; experiments with absolute steps only as far as that allows."""
    arguments = shlex.split(command)[3:]
    if any(argument.startswith(("--help", "--cfg")) for argument in arguments):
        assert exit_code(arguments) == 0
        return
    absolute_steps = any("experiment=mnist_cnn" in argument for argument in arguments)
    if absolute_steps:
        arguments += ["schedule.begin_step=1", "schedule.end_step=9", "model.dense_units=[32]"]
    swept = "trainer.batch_size"  # a key that the command sets keeps its values
    quick = [item for item in QUICK if not (item.startswith(swept) and f"{swept}=" in command)]
    assert exit_code([*arguments, *quick]) == 0
    shown = capfd.readouterr()
    assert shown.err == ""
    assert shown.out.splitlines()[-1].startswith("done ")
    assert list(Path("outputs").rglob("result.json"))


def test_other_commands_are_those_that_are_known_here():
    others = {command for command in COMMANDS if command not in RUNS}
    assert others == {
        "pip install -e . && python -m pruneflow",  # the parts: .ci/run and the test above
        'pip install -e ".[dev]" && pytest',  # .ci/run
        "tensorboard --logdir outputs",
    }
    ci = (ROOT / ".ci" / "run").read_text()
    assert '-e ".[dev]"' in ci and "\npytest" in ci


def test_the_refusal_in_the_readme_is_what_is_said():
    from pruneflow.errors import ConfigError
    from pruneflow.sparsity.schedules import Polynomial

    (shown,) = re.findall(r"\$ python -m pruneflow schedule\.frequency=2000\n(.*?)```", README, flags=re.S)
    schedule = Polynomial(
        name="polynomial",
        initial_sparsity=0.5,
        final_sparsity=0.8,
        begin_fraction=0.0,
        end_fraction=0.75,
        begin_step=None,
        end_step=None,
        frequency=2000,
        power=3,
    )
    with pytest.raises(ConfigError) as refusal:
        schedule.plan(844)
    assert " ".join(shown.split()) == str(refusal.value)


def test_every_option_of_conf_stands_in_the_readme():
    for file in cli.config_folder().glob("*/*.yaml"):
        if file.parent.name != "recipe":
            assert f"`{file.stem}`" in README, file


def test_every_relative_link_of_the_readme_leads_somewhere():
    for link in re.findall(r"\]\((?!http)([^)#]+)\)", README):
        assert (ROOT / link).exists(), link


def test_the_tensorboard_tags_of_the_readme_are_written(tmp_path):
    from test_flow import read_scalars

    assert exit_code(QUICK) == 0
    (result,) = tmp_path.glob("outputs/*/*/result.json")
    written = set(read_scalars(result.parent / "pruned"))
    section = README.split("| tag | meaning |")[1].split("\n\n")[0]
    for tag in re.findall(r"`([^`]+)`", section):
        example = tag.replace("<layer>", "dense").replace("<weight>", "kernel")
        assert example in written
    assert set(json.loads(result.read_text())) >= {"config", "plan", "ratios", "phases"}
