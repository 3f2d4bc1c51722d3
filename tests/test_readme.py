"""Every command and promise of the README, and of the pages that list commands, that can be checked."""

import gzip
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import forked
import hydra
import numpy as np
import pytest
from conftest import QUICK, QUICK_LSTM
from test_cli import exit_code

from pruneflow import evaluate, latency
from pruneflow.command import cli
from pruneflow.flow.config import from_hydra

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
OPTIONS, SWEEPS, TENSORBOARD, ERRORS, MEASURED = (
    (ROOT / "docs" / f"{name}.md").read_text()
    for name in ("options", "sweeps", "tensorboard", "errors", "measured")
)
BLOCKS = re.findall(r"```sh\n(.*?)```", README + OPTIONS + SWEEPS, flags=re.S)
COMMANDS = [line.split("  #")[0].strip() for block in BLOCKS for line in block.splitlines() if line.strip()]
COMMANDS = list(dict.fromkeys(COMMANDS))
# What these need lies beside the user's own data; test_a_sentence... and tests/datasets run their kind.
OWN_DATA = [command for command in COMMANDS if "dataset.path=" in command or "dataset.factory=" in command]
COMMANDS = [command for command in COMMANDS if command not in OWN_DATA]
QUICK_GOAL = ["goal.max_accuracy_drop=0.5", "goal.confidence=0.5", "goal.max_trainings=1"]
OWN_YAML = re.findall(r"```yaml\n(.*?)```", OPTIONS, flags=re.S)
RUNS = [command for command in COMMANDS if command.startswith("python -m pruneflow ")]


def test_the_readme_has_commands():
    assert len(RUNS) >= 10


@pytest.mark.long
@pytest.mark.parametrize("command", RUNS)
def test_every_command_of_the_readme_runs(command, capfd, shared_stages):
    """On tiny data and for few epochs; experiments with absolute steps only as far as that allows."""
    arguments = shlex.split(command)[3:]
    if any(argument.startswith(("--help", "--cfg", "--dry-run")) for argument in arguments):
        assert exit_code(arguments) == 0
        return
    if "--config-dir" in arguments:
        write_own_yaml(Path())
    absolute_steps = any("experiment=mnist_cnn" in argument for argument in arguments)
    if absolute_steps:
        arguments += ["schedule.begin_step=1", "schedule.end_step=9"]
        arguments += ["model.filters=[4,8]", "model.dense_units=[32]"]
    typed = [argument.partition("=")[0] for argument in arguments]  # keys that keep their values
    quick = [item for item in QUICK if item.partition("=")[0] not in typed]
    quick += QUICK_GOAL if "goal" in typed else []
    quick += QUICK_LSTM if "model=lstm" in arguments else []
    quick += ["model.filters=[4]"] if "pruning.reconstruct=true" in arguments else []
    if "-m" in arguments:
        arguments = [two_values(argument) for argument in arguments]
    assert exit_code([*arguments, *quick, shared_stages]) == 0
    shown = capfd.readouterr()
    assert shown.err == ""
    assert shown.out.splitlines()[-1].startswith(("done ", "Files "))
    assert list(Path("outputs").rglob("result.json"))


def two_values(argument):
    """The setting with the first two values of a sweep: each is a run."""
    return argument if set("[{(") & set(argument) else ",".join(argument.split(",")[:2])


def write_own_yaml(folder):
    """The YAML files of the page on options, where their first comment says."""
    for text in OWN_YAML:
        (name,) = re.findall(r"^# (mine/\S+)$", text, flags=re.M)
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


def test_the_yaml_files_of_the_page_on_options_compose(tmp_path):
    write_own_yaml(tmp_path)
    assert {path.parent.name for path in (tmp_path / "mine").rglob("*.yaml")} == {
        *("schedule", "experiment", "recipe")
    }
    (command,) = [command for command in RUNS if "--config-dir mine" in command]
    config = composed_by_hydra(shlex.split(command)[5:], tmp_path / "mine")
    assert (config.schedule.final_sparsity, config.schedule.end_fraction) == (0.7, 0.9)
    assert (config.schedule.initial_sparsity, config.export.name) == (0.5, "int8")
    assert (config.model.filters, config.trainer.dense_epochs, config.trainer.epochs) == ([16], 1, 2)
    alone = composed_by_hydra(["schedule=gentle"], tmp_path / "mine")
    assert (alone.schedule.final_sparsity, alone.trainer.dense_epochs) == (0.7, 4)


def composed_by_hydra(overrides, folder):
    with hydra.initialize_config_dir(str(cli.config_folder()), version_base="1.3"):
        search = f"hydra.searchpath=[file://{folder}]"
        return from_hydra(hydra.compose("config", [*overrides, search]))


CLEANING = "python -m pruneflow.clean --unused-days 30 --max-size 5G"
CLEANING_DRY = "python -m pruneflow.clean --max-size 5G --dry-run"
CLEANING_IMAGES = "python -m pruneflow.clean --unused-days 30 --images"


@pytest.mark.long
def test_the_command_that_cleans_the_store_runs(tmp_path):
    (tmp_path / "outputs" / ".stages" / "v1" / "locks").mkdir(parents=True)
    line = [sys.executable, *shlex.split(CLEANING)[1:]]
    done = forked.run(line)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("Deleted 0 stages, 0.0 MB.")
    line = [sys.executable, *shlex.split(CLEANING_DRY)[1:]]
    done = forked.run(line)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("Would delete 0 stages, 0.0 MB.")
    line = [sys.executable, *shlex.split(CLEANING_IMAGES)[1:]]
    (tmp_path / "images").mkdir()
    own = {**os.environ, "PRUNEFLOW_DATA_DIR": str(tmp_path)}
    done = forked.run(line, env=own)
    assert (done.returncode, done.stderr) == (0, "")


EVALUATING = "python -m pruneflow.evaluate model.tflite dataset=mnist latency.seconds=5"
TIMING = "python -m pruneflow.latency dense-float.tflite pruned-float.tflite --seconds 10"


@pytest.mark.long
@pytest.mark.usefixtures("timed_here")
def test_the_commands_that_look_at_any_file_run(tmp_path, capsys, shared_stages):
    assert exit_code([*QUICK, shared_stages]) == 0
    for file in (tmp_path / "outputs").glob("2*/*/*.tflite"):
        (tmp_path / file.name).write_bytes(file.read_bytes())
    capsys.readouterr()
    (tmp_path / "model.tflite").write_bytes((tmp_path / "pruned-float.tflite").read_bytes())
    evaluating = shlex.split(EVALUATING.replace("seconds=5", "seconds=0.1"))[3:]
    assert evaluate.main(evaluating) == 0
    assert "sparsity" in capsys.readouterr().out
    assert latency.main(shlex.split(TIMING.replace("seconds 10", "seconds 0.1"))[3:]) == 0
    assert "pruned-float.tflite: " in capsys.readouterr().out


REPORTING = "python -m pruneflow.report outputs/sweeps/*/* --output all.html"


@pytest.mark.long
def test_the_command_that_compares_sweeps_runs(tmp_path, shared_stages):
    for swept in ("seed=0,1", "schedule.final_sparsity=0.5,0.8"):  # which other tests train, too
        assert exit_code(["-m", *QUICK, swept, shared_stages]) == 0
    typed = subprocess.run(["bash", "-c", f"printf '%s\n' {REPORTING}"], stdout=-1, text=True, check=True)
    done = forked.run([sys.executable, *typed.stdout.splitlines()[1:]])
    assert (done.returncode, done.stderr) == (0, "")
    assert "4 runs of cnn on mnist: final_sparsity, seed" in (tmp_path / "all.html").read_text()


def test_other_commands_are_those_that_are_known_here():
    others = {command for command in COMMANDS if command not in RUNS}
    assert others == {
        "pip install -e . && python -m pruneflow",  # the parts: .ci/run and the test above
        'pip install -e ".[dev]" && pytest',  # .ci/run
        "tensorboard --logdir outputs",
        'eval "$(pruneflow --shell-completion install=bash)"',  # tests/command
        CLEANING,
        CLEANING_DRY,
        CLEANING_IMAGES,
        EVALUATING,
        TIMING,
    }
    ci = (ROOT / ".ci" / "run").read_text()
    assert '-e ".[dev]"' in ci and "\npytest" in ci
    assert REPORTING in (ROOT / "docs" / "compare_methods.md").read_text()


def test_the_readme_fits_on_a_few_screens_and_shows_first_what_comes_of_it():
    lines = README.splitlines()
    assert len(lines) <= 200
    first = "\n".join(lines[:40])
    for part in ("pip install -e . && python -m pruneflow", "cnn, TFLite float", "docs/report-run.png"):
        assert part in first


def figures(text):
    """Sparsity, size, compression, accuracy and minutes in each row of the table of measured runs."""
    table = text.split("| command after `python -m pruneflow` |")[1].split("\n\n")[0]
    rows = [row.strip("|").split("|") for row in table.splitlines()[2:]]
    return {tuple(cell.strip() for cell in row[2:]) for row in rows}


def test_the_figures_of_the_readme_are_those_of_the_page_that_has_all():
    assert len(figures(README)) == 10 and len(figures(MEASURED)) >= 25
    assert figures(README) <= figures(MEASURED)


def test_what_imdb_was_measured_on_is_said_in_its_rows():
    assert "official test half" in README
    rows = MEASURED.split("|---|")[-1].splitlines()
    imdb = [index for index, row in enumerate(rows) if "imdb" in row and row.startswith("|")]
    assert len(imdb) == 5 and all("official test half" in rows[index] for index in imdb)


def test_the_refusal_in_the_docs_is_what_is_said():
    from pruneflow.errors import ConfigError
    from pruneflow.sparsity.schedules import Polynomial

    (shown,) = re.findall(r"\$ python -m pruneflow schedule\.frequency=2000\n(.*?)```", ERRORS, flags=re.S)
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


def test_every_option_of_conf_stands_on_the_page_of_options():
    for file in cli.config_folder().glob("*/*.yaml"):
        if file.parent.name != "recipe":
            assert f"`{file.stem}`" in OPTIONS, file


@pytest.mark.long
@pytest.mark.usefixtures("timed_here")
def test_the_tensorboard_tags_of_the_docs_are_written(tmp_path):
    from test_flow import read_scalars

    assert exit_code([*QUICK, "latency.seconds=0.2", "trainer.metrics=[f1]"]) == 0
    (result,) = tmp_path.glob("outputs/*/*/result.json")
    written = set(read_scalars(result.parent / "pruned"))
    section = TENSORBOARD.split("| tag | meaning |")[1].split("\n\n")[0]
    of_channels = {"units/<layer>", "structure=channel"}  # read by the tests of channels
    for tag in {*re.findall(r"`([^`]+)`", section)} - of_channels:
        example = tag.replace("<layer>", "dense").replace("<weight>", "kernel")
        assert example.replace("<metric>", "f1") in written
    final = set(re.findall(r"`(final/\w+)`", TENSORBOARD))
    named = {"final/f1", "final/validation_f1"}
    assert final | named == set(read_scalars(result.parent / "float")) and len(final) == 8
    assert not (result.parent / "pruned" / "tfmot").exists()
    assert set(json.loads(result.read_text())) >= {"config", "plan", "ratios", "phases"}


def write_reviews(file):
    """A CSV file of film reviews that one word decides."""
    rows = ["text,label"]
    for index in range(200):
        word, label = ("wonderful", "pos") if index % 2 else ("terrible", "neg")
        rows.append(f'"The film was {word}, number {index}.",{label}')
    file.write_text("\n".join(rows))


@pytest.mark.long
def test_a_sentence_is_scored_with_the_exported_file_as_the_docs_show(tmp_path):
    write_reviews(tmp_path / "mine.csv")
    assert any("dataset.path=mine.csv" in command for command in OWN_DATA)
    arguments = ["model=lstm", "dataset=imdb", "dataset.path=mine.csv", *QUICK, *QUICK_LSTM]
    words = ["export=all", "trainer.dense_epochs=25", "trainer.epochs=6", "hydra.run.dir=run"]
    assert exit_code([*arguments, *words]) == 0
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert result["data"]["class_names"] == ["neg", "pos"]
    for file in result["tflite"]:
        assert file["accuracy"] == 1.0
        if file["kind"] != "dynamic-range":
            words = ("terrible", "wonderful")
            said = [score(tmp_path, file["file"], f"the film was {word}") for word in words]
            assert 0 <= said[0] < 0.4 < 0.6 < said[1] <= 1


def score(tmp_path, name, text):
    (tmp_path / "review.txt").write_text(text)
    line = [sys.executable, "run/use.py", "review.txt", f"run/{name}"]
    done = subprocess.run(line, cwd=tmp_path, capture_output=True, text=True, check=True)
    return {name: float(share) for share, name in map(str.split, done.stdout.splitlines())}["pos"]


@pytest.mark.long
def test_fashion_mnist_is_read_as_it_is_published(tmp_path):
    (tmp_path / "fashion").mkdir()
    for half, count in (("train", 60), ("t10k", 20)):
        images = np.random.default_rng(0).integers(0, 256, (count, 28, 28)).astype(np.uint8)
        header = bytes([0, 0, 8, 3]) + b"".join(size.to_bytes(4, "big") for size in images.shape)
        labels = bytes([0, 0, 8, 1]) + count.to_bytes(4, "big") + bytes(range(10)) * (count // 10)
        for kind, content in (("images-idx3", header + images.tobytes()), ("labels-idx1", labels)):
            with gzip.open(tmp_path / "fashion" / f"{half}-{kind}-ubyte.gz", "wb") as file:
                file.write(content)
    (command,) = [command for command in OWN_DATA if "fashion" in command]
    arguments = shlex.split(command)[3:]
    quick = [*QUICK[:2], "trainer.dense_batch_size=5", "trainer.batch_size=5", "hydra.run.dir=run"]
    assert exit_code([*arguments, *quick]) == 0
    assert json.loads((tmp_path / "run" / "result.json").read_text())["data"]["name"] == "fashion"


def test_an_experiment_may_set_every_key_also_those_of_no_group(tmp_path):
    text = "# @package _global_\nseed: 7\npruning: {skip: [conv2d]}\nstages: {checkpoint_seconds: 5}\n"
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "mine.yaml").write_text(text)
    config = composed_by_hydra(["experiment=mine"], tmp_path)
    assert (config.seed, config.pruning.skip, config.stages.checkpoint_seconds) == (7, ["conv2d"], 5.0)
