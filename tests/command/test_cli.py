"""The command line: what is refused, with which words, at what cost; docs/bad_input.md is the list."""

import contextlib
import io
import json
import os
import pty
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import forked
import pytest
from conftest import QUICK
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from results_fixtures import result
from support import ROOT

import pruneflow
from pruneflow.command import cli, isolation
from pruneflow.flow import run_folder
from pruneflow.runtime import backend

DOCUMENTED = (ROOT / "docs" / "bad_input.md").read_text()


def rows_of(title):
    """What is typed and what is answered, from a table of docs/bad_input.md."""
    table = DOCUMENTED.split(f"## {title}\n")[1].split("\n## ")[0]
    rows = re.findall(r"^\| `(.+?)` \| (.+) \|$", table, flags=re.M)
    assert rows
    assert len(rows) == len(re.findall(r"^\| `", table, flags=re.M))
    return rows


def marked(rows):
    """The rows as parameters; those that need a plugin of Hydra belong to the tier that has them."""
    plugin = re.compile(r"hydra/(launcher=(joblib|ray|submitit)|sweeper=optuna)")
    return [pytest.param(*row, marks=[pytest.mark.cluster] if plugin.search(row[0]) else []) for row in rows]


REFUSED, UNREADABLE = rows_of("Settings"), rows_of("Files and folders")
NEED_TENSORFLOW = marked(rows_of("Settings that need the network or the machine"))
OWN_YAML = [(file, *rest.rsplit(" | ", 1)) for file, rest in rows_of("Your own YAML")]


def fits(error, answer):
    """Standard error has the answer of the table, in which ``...`` stands for anything, and no more."""
    pattern = r".*".join(re.escape(piece.strip()) for piece in answer.split("..."))
    return "Traceback" not in error and re.fullmatch(pattern, error.strip(), flags=re.S) is not None


def assert_answered(shown, answer):
    assert fits(shown.err, answer), shown.err
    assert shown.out == ""


def command(arguments, **options):
    line = [sys.executable, "-m", "pruneflow", *arguments]
    return forked.run(line, timeout=1200, **options)


def exit_code(arguments):
    with pytest.raises(SystemExit) as stop:
        cli.main(arguments)
    return stop.value.code


@pytest.mark.parametrize(("typed", "answer"), [row for row in marked(REFUSED) if row.marks])
def test_bad_input_gets_one_message_and_leaves_nothing(typed, answer, capsys, tmp_path):
    assert exit_code(typed.split()) == 2
    assert_answered(capsys.readouterr(), answer)
    assert list(tmp_path.iterdir()) == []


def test_a_command_is_composed_once_to_check_it_and_once_by_hydra_to_run_it(monkeypatch, tmp_path):
    composed, load = [], ConfigLoaderImpl.load_configuration
    monkeypatch.setattr(
        ConfigLoaderImpl,
        "load_configuration",
        lambda *a, **k: composed.append(k["overrides"]) or load(*a, **k),
    )
    monkeypatch.setattr(cli, "task", lambda _: None)
    assert exit_code(["seed=3", "hydra.run.dir=run"]) == 1  # nothing ran
    assert composed == [
        ["seed=3", "hydra.run.dir=run"],
        [*composed[0], 'hydra.run.dir="run"', "hydra.mode=RUN"],
    ]


@pytest.mark.parametrize(
    "value", [*("[" * deep + "]" * deep for deep in (20, 499, 4999)), "&a [*a]", "&a {b: [*a]}"], ids=len
)
def test_yaml_that_is_too_deep_is_refused(value, capsys, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "deep.yaml").write_text(f"seed: {value}\n")
    assert exit_code(["--config-dir", "mine"]) == 2
    answer = "--config-dir=mine: in mine/deep.yaml, lists and mappings are more than 20 levels deep. Mend it."
    assert capsys.readouterr().err.strip() == answer


def test_null_as_a_key_is_refused(capsys, tmp_path):
    (tmp_path / "mine" / "experiment").mkdir(parents=True)
    (tmp_path / "mine" / "experiment" / "mine.yaml").write_text("# @package _global_\nnull: 1\n")
    assert exit_code(["--config-dir", "mine", "experiment=mine"]) == 2
    answer = "A YAML file of yours has null as a key. Write a name there, in quotes if it is to be 'null'."
    assert capsys.readouterr().err.strip() == answer


@pytest.mark.parametrize(
    ("word", "answer"),
    [
        (
            "a" * 30_000 + "=1",
            "...: it has 30,002 characters; allowed are 20,000, and numbers of 1,000 digits.",
        ),
        (
            "seed=" + "9" * 5000,
            "...: it has 5,005 characters; allowed are 20,000, and numbers of 1,000 digits.",
        ),
        ("seed=" + "[" * 4000, "not a setting. "),
    ],
)
def test_very_long_words_get_a_message_that_can_be_read(word, answer, capsys):
    assert exit_code([word]) == 2
    said = capsys.readouterr().err
    assert answer in said and len(said) < 2000 and "Traceback" not in said


def write_own_yaml(folder, file, lines):
    """Write a user's file, whose lines stand in a table each as `code`, and name it as an override does."""
    (folder / file).parent.mkdir(parents=True)
    (folder / file).write_text("\n".join(re.findall(r"`(.+?)`", lines)) + "\n")
    return f"{file.split('/')[0]}=mine"


@pytest.mark.parametrize(("file", "lines", "answer"), OWN_YAML)
def test_mistakes_in_a_users_yaml_are_named_with_the_file(file, lines, answer, capsys, tmp_path):
    chosen = write_own_yaml(tmp_path / "mine", file, lines)
    assert exit_code(["--config-dir", "mine", chosen]) == 2
    shown = capsys.readouterr()
    assert_answered(shown._replace(err=shown.err.replace(f"{tmp_path}/", "")), answer)
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_a_yaml_file_that_cannot_be_read_is_no_traceback_where_the_config_is_only_shown(capsys, tmp_path):
    (tmp_path / "mine" / "experiment").mkdir(parents=True)
    for content, answer in [
        (b"# @package _global_\n# caf\xe9\n", "A YAML file holds byte 0xe9, which is not UTF-8. ..."),
        (b"# @package _global_\ndefaults: constant\n", "experiment/mine.yaml: its defaults are no list. ..."),
        (
            b"# @package _global_\ndefaults: [{override /schedule: constant, override /export: int8}]\n",
            "experiment/mine.yaml: two entries of its defaults list are one. ...",
        ),
    ]:
        (tmp_path / "mine" / "experiment" / "mine.yaml").write_bytes(content)
        assert exit_code(["--cfg", "job", "--config-dir", "mine", "experiment=mine"]) == 2
        assert_answered(capsys.readouterr(), answer)


@pytest.mark.parametrize(
    ("typed", "message"), marked(rows_of("Settings that need the network or the machine"))
)
def test_bad_input_that_needs_tensorflow_is_refused_as_cleanly(typed, message, capsys, tmp_path):

    if "gpu" in typed and backend.tensorflow().config.list_physical_devices("GPU"):
        pytest.skip("this machine has a GPU")
    assert exit_code(typed.split()) == 2
    assert_answered(capsys.readouterr(), message)
    assert list(tmp_path.iterdir()) == []


IN_A_FRESH_PROCESS = f"""
import contextlib, gc, io, json, os, sys, tempfile
gc.set_threshold(20_000, 20, 50)
sys.path.append({str(ROOT / "tests")!r})
import parsed_once
from pruneflow.command import cli
for line in sys.stdin.read().splitlines():
    out, err = io.StringIO(), io.StringIO()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            try:
                cli.main(line.split())
            except SystemExit as stop:
                code = stop.code
        left = os.listdir(folder)
        os.chdir("/")
    loaded = [name for name in ("tensorflow", "tf_keras", "keras") if name in sys.modules]
    print(json.dumps([code, out.getvalue(), err.getvalue(), left, loaded]), file=sys.__stdout__)
"""


def answers_to(lines):
    """Exit code, both streams, files left, and which giants are loaded, of each line in turn."""
    line = [sys.executable, "-c", IN_A_FRESH_PROCESS]
    done = subprocess.run(line, input="\n".join(lines), capture_output=True, text=True, check=True)
    return [json.loads(answer) for answer in done.stdout.splitlines()]


REFUSALS = [(*row.values, 2) for row in marked(REFUSED) if not row.marks]
REFUSALS += [(*row, 1) for row in UNREADABLE]  # what cannot be read or made ends with 1


@pytest.mark.parametrize("part", range(6))
def test_bad_input_gets_one_message_leaves_nothing_and_loads_no_tensorflow(part):
    """In a few processes: each loads what is not TensorFlow once."""
    rows = REFUSALS[part::6]
    found = answers_to([typed for typed, _, _ in rows])
    wrong = [
        (typed, code, out, err, left, loaded)
        for (typed, answer, expected), (code, out, err, left, loaded) in zip(rows, found, strict=True)
        if (code, out, left, loaded) != (expected, "", [], []) or not fits(err, answer)
    ]
    assert wrong == []


def test_help_and_config_come_without_tensorflow():
    found = answers_to(["--help", "--version", "--cfg job", "--info defaults", "pruning.skip=[foo]"])
    assert [loaded for *_, loaded in found[:-1]] == [[]] * 4
    assert "tensorflow" in found[-1][-1]  # and the test can fail


def test_help_is_a_screen_and_names_the_whole_one(capfd):
    assert exit_code(["--help"]) == 0
    shown = capfd.readouterr().out
    assert len(shown.splitlines()) <= 30
    assert "  model         cnn (default)" in shown and "criterion" not in shown
    assert "--help-all" in shown


def test_help_names_the_folder_whose_files_explain_the_keys(capfd, tmp_path, monkeypatch):
    for folder, named in ((ROOT, "conf"), (tmp_path, str(ROOT / "conf"))):
        monkeypatch.chdir(folder)
        assert exit_code(["--help"]) == 0
        assert f"(each file in {named}/ explains its keys)" in capfd.readouterr().out


def test_help_all_lists_every_option_and_nothing_internal(capfd):
    assert exit_code(["--help-all"]) == 0
    shown = capfd.readouterr().out
    for file in Path(cli.config_folder()).glob("*/*.yaml"):
        assert file.stem in shown, file
    assert shown.count("python -m pruneflow") >= 5
    for internal in ("schema", "== Config", "hydra/"):
        assert internal not in shown


def test_version_is_that_of_pruneflow():
    assert command(["--version"]).stdout == f"pruneflow {pruneflow.__version__}\n"


@pytest.mark.run
def test_cfg_job_shows_the_composed_config(tmp_path):
    done = command(["--cfg", "job", "experiment=mnist_cnn", "schedule=constant"])
    assert done.returncode == 0
    assert "name: constant" in done.stdout
    assert "final_sparsity: 0.75" in done.stdout
    assert list(tmp_path.iterdir()) == []


@pytest.mark.run
def test_a_run_prints_config_plan_and_table_and_keeps_its_files(tmp_path):
    done = command([*QUICK, "schedule=linear", "seed=0"])
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    shown = done.stdout
    assert "├── schedule=linear\n" in shown and "└── report: false\n" in shown
    settings = shown.split("\nData ")[0]
    assert "final_sparsity" not in settings and "seed:" not in settings  # as they are anyway
    assert "Plan       linear: 14 updates, steps 1 to 14 of 18, every 1" in shown
    assert "Not pruned input (has no weights)" in shown
    header = next(line for line in shown.splitlines() if line.startswith("dataset"))
    assert header.split() == ["dataset", "model", "sparsity", "size", "compression", "accuracy"]
    rows = [line for line in shown.splitlines() if line.startswith("mnist ")]
    assert [row.split()[2] for row in rows] == ["dense", "pruned", "TFLite"]
    (run_dir,) = (tmp_path / "outputs").glob("2*/*")
    names = {path.name for path in run_dir.iterdir()}
    files = {"dense.h5", "pruned.h5", "dense-float.tflite", "result.json"}
    files |= {"pruned-float.tflite", "pruned-float.tflite.gz", "masks.npz", "mistakes.json", "use.py"}
    assert names == {".hydra", "dense", "pruned", "float", *files}
    assert (run_dir / ".hydra" / "config.yaml").is_file()


@pytest.mark.long
def test_a_sweep_ends_with_one_table_and_a_csv(tmp_path, capsys, shared_stages):
    assert (
        exit_code(
            [*QUICK, shared_stages, "-m", "schedule.final_sparsity=0.5,0.8", "export=float,dynamic-range"]
        )
        == 0
    )
    (sweep_dir,) = (tmp_path / "outputs" / "sweeps").glob("*/*")
    names = {
        f"final_sparsity-{sparsity}_export-{export}"
        for sparsity in (0.5, 0.8)
        for export in ("float", "dynamic-range")
    }
    assert {path.name for path in sweep_dir.iterdir() if path.is_dir()} == names
    for name in names:
        written = json.loads((sweep_dir / name / "result.json").read_text())
        assert f"final_sparsity-{written['config']['schedule']['final_sparsity']}" in name
    table = (sweep_dir / "sweep.csv").read_text().splitlines()
    assert table[0].startswith(
        "cell,status,dataset,augmentation,model,schedule,structure,criterion,distribution,export,seed"
    )
    assert len(table) == 5
    assert "failed=0" in capsys.readouterr().out.splitlines()[-1]
    assert exit_code([*QUICK, "stages.reuse=false"]) == 0
    (file,) = (tmp_path / "outputs").glob("2*/*/pruned-float.tflite")
    last = "final_sparsity-0.8_export-float"
    assert file.read_bytes() == (sweep_dir / last / "pruned-float.tflite").read_bytes()


@pytest.mark.run
def test_a_failed_cell_does_not_stop_the_others(tmp_path, monkeypatch, capsys, shared_stages):
    from pruneflow.errors import PruneflowError
    from pruneflow.flow import pipeline

    whole = pipeline.run

    def fail_once(config, ready, run_dir, *, command):
        if config.seed == 1:
            raise PruneflowError("the first cell is broken")
        return whole(config, ready, run_dir, command=command)

    monkeypatch.setattr(pipeline, "run", fail_once)
    assert exit_code([*QUICK, shared_stages, "-m", "seed=1,0"]) == 1
    shown = capsys.readouterr()
    assert "the first cell is broken" in shown.err
    (sweep_dir,) = (tmp_path / "outputs" / "sweeps").glob("*/*")
    rows = (sweep_dir / "sweep.csv").read_text().splitlines()
    assert "failed seed-1: the first cell is broken" in shown.out
    assert rows[1].startswith("seed-1,failed") and rows[1].endswith("the first cell is broken")
    assert rows[2].startswith("seed-0,done")


@pytest.mark.long
@pytest.mark.parametrize(
    ("sent", "code", "word"),
    [
        (signal.SIGINT, 130, "Interrupted"),
        (signal.SIGTERM, 143, "Terminated"),
        (signal.SIGHUP, 129, "Hung up"),
    ],
)
def test_signals_end_a_run_cleanly_and_once(tmp_path, sent, code, word):
    (tmp_path / "temporary").mkdir()
    arguments = [*QUICK, "trainer.dense_epochs=100000"]
    log = tmp_path / "log"
    with log.open("w") as out:
        process = forked.Command(
            [sys.executable, "-u", "-m", "pruneflow", *arguments],
            stdout=out,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "TMPDIR": str(tmp_path / "temporary")},
        )
        try:
            deadline = time.monotonic() + 120
            while "epoch 2/" not in log.read_text() and time.monotonic() < deadline:
                time.sleep(0.1)
            process.send_signal(sent)
            time.sleep(0.3)  # while the first one unwinds, or is still held back
            process.send_signal(sent)
            _, errors = process.communicate(timeout=60)
        finally:
            process.kill()
    assert process.returncode == code
    assert errors == f"{word}. {cli.GOES_ON}\n"
    assert list((tmp_path / "temporary").iterdir()) == []
    assert not list(tmp_path.rglob("result.json"))
    assert {path.name for path in tmp_path.rglob(".*") if path.is_file()} == {".unfinished"}


@pytest.mark.run
@pytest.mark.parametrize("where", ["hydra.sweep.subdir=${hydra.job.num}", "hydra.sweep.subdir=deep/${seed}"])
def test_cells_are_found_wherever_hydra_put_them(monkeypatch, capsys, where):
    pretend_to_run(monkeypatch)
    assert exit_code([*QUICK, "-m", "seed=1,2", where]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[-1].startswith("done cells=2 failed=0")
    assert sum(line.startswith("Advice ") for line in said) == 1


def pretend_to_run(monkeypatch):
    """Leave a result without training, where only the folders matter."""
    from pruneflow.flow import pipeline
    from pruneflow.flow.config import plain
    from pruneflow.report import tables

    def run(config, ready, run_dir, *, command):
        found = {**result(), "config": plain(config), "command": command}
        (run_dir / "result.json").write_text(json.dumps(found))
        run_folder.end(run_dir)
        raise SystemError("stop here")

    monkeypatch.setattr(pipeline, "run", run)
    monkeypatch.setattr(tables, "show_prepared", lambda ready: None)
    monkeypatch.setattr(isolation, "fail", lambda run_dir, error: None)


@pytest.mark.run
def test_a_sweep_may_stand_in_yaml(tmp_path, monkeypatch, capsys):
    pretend_to_run(monkeypatch)
    (tmp_path / "mine" / "experiment").mkdir(parents=True)
    text = "# @package _global_\nhydra:\n  mode: MULTIRUN\n  sweeper:\n    params:\n      seed: 3,4\n"
    (tmp_path / "mine" / "experiment" / "grid.yaml").write_text(text)
    assert exit_code([*QUICK, "--config-dir=mine", "experiment=grid"]) == 0
    assert capsys.readouterr().out.splitlines()[-1].startswith("done cells=2 failed=0")
    (sweep_dir,) = (tmp_path / "outputs" / "sweeps").glob("*/*")
    assert {path.name for path in sweep_dir.iterdir() if path.is_dir()} == {"seed-3", "seed-4"}


@pytest.mark.run
def test_a_sweep_may_be_asked_for_by_its_mode(tmp_path, monkeypatch, capsys):
    pretend_to_run(monkeypatch)
    assert exit_code([*QUICK, "hydra.mode=MULTIRUN", "seed=3,4", "hydra.sweep.dir=sweep"]) == 0
    assert capsys.readouterr().out.splitlines()[-1].startswith("done cells=2 failed=0")
    assert {path.name for path in (tmp_path / "sweep").iterdir() if path.is_dir()} == {"seed-3", "seed-4"}
    commands = [json.loads(file.read_text())["command"] for file in tmp_path.rglob("result.json")]
    assert not [command for command in commands if "MULTIRUN" in command]


@pytest.mark.run
def test_globs_sweep_over_all_choices_of_a_group(monkeypatch, capsys):
    pretend_to_run(monkeypatch)
    assert exit_code([*QUICK, "-m", "schedule=glob(*)"]) == 0
    assert capsys.readouterr().out.splitlines()[-1].startswith("done cells=4 failed=0")


@pytest.mark.run
def test_the_command_of_a_result_can_be_typed_again(tmp_path, monkeypatch):
    pretend_to_run(monkeypatch)
    (tmp_path / "my yaml").mkdir()
    assert exit_code([*QUICK, "--config-dir", "my yaml", "-m", "dataset.name='a b','c d'"]) == 0
    commands = {json.loads(file.read_text())["command"] for file in tmp_path.rglob("result.json")}
    folder = tmp_path / "my yaml"
    assert {shlex.split(command)[3] for command in commands} == {f"--config-dir={folder}"}
    assert {shlex.split(command)[-1] for command in commands} == {"dataset.name='a b'", "dataset.name='c d'"}


@pytest.mark.parametrize("width", [80, 120])
def test_tables_show_every_figure_whatever_the_width(width):
    from rich.console import Console

    from pruneflow.report import tables

    table = tables._table([], "cell")
    figures = ("0.800", "1,217.6 kB", "12.62x", "0.9812")
    table.add_row("x" * 80, "mnist", "mnist_cnn, TFLite dynamic-range", *figures)
    console = Console(width=width, record=True, file=io.StringIO())
    console.print(table)
    shown = console.export_text()
    for figure in (*figures, "sparsity", "compression", "accuracy"):
        assert figure in shown


def buffered():
    """An environment in which Python keeps what is printed until it is flushed, as it does by default."""
    return {key: value for key, value in os.environ.items() if key != "PYTHONUNBUFFERED"}


@pytest.mark.run
@pytest.mark.parametrize("typed", [["--help"], ["--cfg", "all"], QUICK])
def test_where_nobody_reads_the_output_it_ends_quietly(typed):
    ours, theirs = os.pipe()
    os.close(ours)
    line = [sys.executable, "-m", "pruneflow", *typed]
    done = forked.run(line, stdout=theirs, env=buffered(), timeout=300)
    os.close(theirs)
    assert (done.returncode, done.stderr) == (141, "")


@pytest.mark.run
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
@pytest.mark.parametrize("typed", [["--version"], ["--cfg", "all"], QUICK])
def test_an_output_that_is_full_is_named(typed):
    line = [sys.executable, "-m", "pruneflow", *typed]
    with Path("/dev/full").open("w") as full:
        done = forked.run(line, stdout=full, env=buffered(), timeout=300)
    answer = "Standard output cannot be written: No space left on device."
    assert done.returncode == 1
    assert done.stderr.splitlines() == [f"{answer} Make room there, or send it elsewhere."]


@pytest.mark.run
def test_a_terminal_gets_progress_bars_with_time_left_and_whole_lines_at_the_end():
    ours, theirs = pty.openpty()
    line = [sys.executable, "-m", "pruneflow", *QUICK, "trainer.epochs=4"]
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "80"}
    process = subprocess.Popen(line, stdout=theirs, stderr=theirs, env=environment)
    os.close(theirs)
    shown = b""
    with contextlib.suppress(OSError):  # how a pseudo-terminal ends
        while part := os.read(ours, 65536):
            shown += part
    os.close(ours)
    assert process.wait(timeout=60) == 0
    text = shown.decode()
    assert re.search(r"Training, pruned, epoch 1/4 .*/9.* left ", text)
    for epoch in (1, 2, 3, 4):
        assert re.search(
            rf"Training, pruned, epoch {epoch}/4: .* s  loss .*validation accuracy \d\.\d{{4}}", text
        )


@pytest.mark.run
def test_config_dir_may_hold_the_main_file(tmp_path, shared_stages, capsys):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "main.yaml").write_text("defaults: [config, _self_]\nseed: 7\n")
    words = ["--config-dir=mine", "--config-name=main"]
    assert exit_code([*words, "--dry-run", *QUICK, shared_stages]) == 0
    assert exit_code([*words, *QUICK, shared_stages]) == 0
    (result,) = (tmp_path / "outputs").rglob("result.json")
    assert json.loads(result.read_text())["seed"] == 7
    assert "seed: 7" in capsys.readouterr().out


@pytest.mark.run
def test_config_dir_adds_a_users_yaml(tmp_path, shared_stages):
    (tmp_path / "mine" / "experiment").mkdir(parents=True)
    text = "# @package _global_\nschedule:\n  final_sparsity: 0.6\n"
    (tmp_path / "mine" / "experiment" / "my_own.yaml").write_text(text)
    assert exit_code([*QUICK, shared_stages, "--config-dir", "mine", "experiment=my_own"]) == 0
    (result,) = (tmp_path / "outputs").rglob("result.json")
    assert json.loads(result.read_text())["pruned"]["requested_sparsity"] == 0.6
