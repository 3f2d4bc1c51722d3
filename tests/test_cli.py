"""The command line: what is refused, with which words, at what cost; docs/bad_input.md is the list."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import QUICK

import pruneflow
from pruneflow import cli

DOCUMENTED = (Path(__file__).parent.parent / "docs" / "bad_input.md").read_text()


def rows_of(title):
    """What is typed and how the answer begins, from a table of docs/bad_input.md."""
    table = DOCUMENTED.split(f"## {title}\n")[1].split("\n## ")[0]
    rows = re.findall(r"^\| `(.+?)` \| (.+?) ?\.\.\.\s*.*\|$", table, flags=re.M)
    assert len(rows) == len(re.findall(r"^\| `", table, flags=re.M))
    return rows


REFUSED = rows_of("Settings")


def command(arguments, **options):
    line = [sys.executable, "-m", "pruneflow", *arguments]
    return subprocess.run(line, capture_output=True, text=True, timeout=300, **options)


def exit_code(arguments):
    with pytest.raises(SystemExit) as stop:
        cli.main(arguments)
    return stop.value.code


@pytest.mark.parametrize(("typed", "message"), REFUSED)
def test_bad_input_gets_one_message_and_leaves_nothing(typed, message, capsys, tmp_path):
    assert exit_code(typed.split()) in (1, 2)
    shown = capsys.readouterr()
    assert shown.err.startswith(message)
    assert "Traceback" not in shown.err
    assert shown.out == ""
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("typed", "message"), rows_of("Settings that need the network or the machine"))
def test_bad_input_that_needs_tensorflow_is_refused_as_cleanly(typed, message, capsys, tmp_path):
    from pruneflow import backend

    if "gpu" in typed and backend.tensorflow().config.list_physical_devices("GPU"):
        pytest.skip("this machine has a GPU")
    assert exit_code([typed]) == 2
    shown = capsys.readouterr()
    assert shown.err.startswith(message)
    assert "Traceback" not in shown.err
    assert list(tmp_path.iterdir()) == []


CHECK_IMPORTS = """
import contextlib, io, sys
from pruneflow import cli
for line in sys.stdin.read().splitlines():
    with contextlib.redirect_stderr(io.StringIO()), contextlib.redirect_stdout(io.StringIO()):
        try:
            cli.main(line.split())
        except SystemExit:
            pass
    if any(name in sys.modules for name in ("tensorflow", "tf_keras", "keras")):
        print(line)
        break
"""


def lines_that_import_tensorflow(lines, tiny_data):
    """The first of ``lines`` that loads TensorFlow, in a fresh process."""
    done = subprocess.run(
        [sys.executable, "-c", CHECK_IMPORTS],
        input="\n".join(lines),
        env={**os.environ, "PRUNEFLOW_DATA_DIR": str(tiny_data)},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.split("\n")[0]


def test_help_config_and_every_refusal_come_without_tensorflow(tiny_data):
    free = ["--help", "--version", "--cfg job", "--info defaults", *(typed for typed, _ in REFUSED)]
    assert lines_that_import_tensorflow(free, tiny_data) == ""


def test_the_check_above_can_fail(tiny_data):
    assert lines_that_import_tensorflow(["--help", "pruning.skip=[foo]"], tiny_data) == "pruning.skip=[foo]"


def test_help_lists_every_option_and_nothing_internal(capfd):
    assert exit_code(["--help"]) == 0
    shown = capfd.readouterr().out
    for file in Path(cli.config_folder()).rglob("*.yaml"):
        if file.name != "config.yaml" and "recipe" not in file.parts:
            assert file.stem in shown, file
    assert shown.count("python -m pruneflow") >= 5
    for internal in ("schema", "== Config", "hydra/"):
        assert internal not in shown


def test_version_is_that_of_pruneflow():
    assert command(["--version"]).stdout == f"pruneflow {pruneflow.__version__}\n"


def test_cfg_job_shows_the_composed_config(tmp_path):
    done = command(["--cfg", "job", "experiment=mnist_cnn", "schedule=constant"])
    assert done.returncode == 0
    assert "name: constant" in done.stdout
    assert "final_sparsity: 0.75" in done.stdout
    assert list(tmp_path.iterdir()) == []


def test_a_run_prints_config_plan_and_table_and_keeps_its_files(tmp_path):
    done = command(QUICK)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    shown = done.stdout
    assert "├── schedule" in shown
    assert "Plan       polynomial: 14 updates, steps 1 to 14 of 18, every 1" in shown
    assert "Not pruned input (has no weights)" in shown
    header = next(line for line in shown.splitlines() if line.startswith("dataset"))
    assert header.split() == ["dataset", "model", "sparsity", "size", "compression", "accuracy"]
    rows = [line for line in shown.splitlines() if line.startswith("mnist ")]
    assert [row.split()[2] for row in rows] == ["dense", "pruned", "TFLite"]
    (run_dir,) = (tmp_path / "outputs").glob("*/*")
    names = {path.name for path in run_dir.iterdir()}
    files = {"dense.h5", "pruned.h5", "dense-float.tflite", "pruned-float.tflite", "result.json"}
    assert names == {".hydra", "dense", "pruned", *files}
    assert (run_dir / ".hydra" / "config.yaml").is_file()


def test_a_sweep_ends_with_one_table_and_a_csv(tmp_path):
    done = command([*QUICK, "-m", "schedule.final_sparsity=0.5,0.8", "export=float,dynamic-range"])
    assert done.returncode == 0, done.stderr
    (sweep_dir,) = (tmp_path / "outputs" / "sweeps").glob("*/*")
    names = {
        f"final_sparsity={sparsity},export={export}"
        for sparsity in (0.5, 0.8)
        for export in ("float", "dynamic-range")
    }
    assert {path.name for path in sweep_dir.iterdir() if path.is_dir()} == names
    for name in names:
        written = json.loads((sweep_dir / name / "result.json").read_text())
        assert f"final_sparsity={written['config']['schedule']['final_sparsity']}" in name
    table = (sweep_dir / "sweep.csv").read_text().splitlines()
    assert table[0].startswith("cell,status,dataset,model,schedule,export,seed")
    assert len(table) == 5
    assert "failed=0" in done.stdout.splitlines()[-1]


def test_a_failed_cell_does_not_stop_the_others(tmp_path, monkeypatch, capsys):
    from pruneflow import pipeline
    from pruneflow.errors import PruneflowError

    whole = pipeline.run

    def fail_once(config, ready, run_dir, *, command):
        if config.seed == 1:
            raise PruneflowError("the first cell is broken")
        return whole(config, ready, run_dir, command=command)

    monkeypatch.setattr(pipeline, "run", fail_once)
    assert exit_code([*QUICK, "-m", "seed=1,2"]) == 1
    shown = capsys.readouterr()
    assert "the first cell is broken" in shown.err
    (sweep_dir,) = (tmp_path / "outputs" / "sweeps").glob("*/*")
    rows = (sweep_dir / "sweep.csv").read_text().splitlines()
    assert rows[1].startswith("seed=1,failed") and rows[1].endswith("the first cell is broken")
    assert rows[2].startswith("seed=2,done")


@pytest.mark.parametrize(
    ("sent", "code", "word"), [(signal.SIGINT, 130, "Interrupted"), (signal.SIGTERM, 143, "Term")]
)
def test_signals_end_a_run_cleanly(tmp_path, sent, code, word):
    arguments = [*QUICK, "trainer.dense_epochs=100000"]
    log = tmp_path / "log"
    with log.open("w") as out:
        process = subprocess.Popen(
            [sys.executable, "-u", "-m", "pruneflow", *arguments],
            stdout=out,
            stderr=subprocess.PIPE,
            text=True,
        )
        deadline = time.monotonic() + 120
        while "epoch 2/" not in log.read_text() and time.monotonic() < deadline:
            time.sleep(0.1)
        process.send_signal(sent)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == code
    assert errors.startswith(word)
    assert "Traceback" not in errors
    assert not list(tmp_path.rglob("result.json"))
    assert not [path for path in tmp_path.rglob(".*") if path.is_file()]


def test_config_dir_adds_a_users_yaml(tmp_path):
    (tmp_path / "mine" / "experiment").mkdir(parents=True)
    text = "# @package _global_\nschedule:\n  final_sparsity: 0.6\n"
    (tmp_path / "mine" / "experiment" / "my_own.yaml").write_text(text)
    done = command([*QUICK, "--config-dir", "mine", "experiment=my_own"])
    assert done.returncode == 0, done.stderr
    (result,) = (tmp_path / "outputs").rglob("result.json")
    assert json.loads(result.read_text())["pruned"]["requested_sparsity"] == 0.6
