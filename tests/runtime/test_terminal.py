"""What is shown: progress that says at the end how it went, tables and commands that are not cut."""

import io
import os
import pty
import re
import shlex
import subprocess
import sys

import pytest
from results_fixtures import exported, typed
from results_fixtures import result as made_up
from rich.table import Table

from pruneflow.report import ending, tables
from pruneflow.report.outcomes import CellOutcome
from pruneflow.runtime import terminal

FIGURES = "loss 0.1234  accuracy 0.9876  validation accuracy 0.8765"
EPOCH = f"""
from pruneflow.runtime.terminal import bar
try:
    with bar("Training, pruned, epoch 3/4", total=STEPS) as advance:
        advance(9, "{FIGURES}")
        if INTERRUPTED:
            raise KeyboardInterrupt
except KeyboardInterrupt:
    pass
"""


def on_a_terminal(*, steps=9, interrupted=False, **environment):
    """What a terminal is sent in one epoch, in which 9 steps are made."""
    ours, theirs = pty.openpty()
    script = EPOCH.replace("STEPS", str(steps)).replace("INTERRUPTED", str(interrupted))
    line = [sys.executable, "-c", script]
    process = subprocess.Popen(line, stdout=theirs, stderr=theirs, env={**os.environ, **environment})
    os.close(theirs)
    shown = b""
    try:
        while part := os.read(ours, 65536):
            shown += part
    except OSError:  # how a pseudo-terminal ends
        pass
    os.close(ours)
    assert process.wait(timeout=60) == 0
    return shown.decode()


def lines_that_stay(shown):
    """What is left on a terminal: bars are wiped by the code that clears a line."""
    written = [re.split(r"\x1b\[2K", line)[-1] for line in shown.replace("\r\n", "\n").split("\n")]
    return [text for line in written if (text := re.sub(r"\x1b\[[?0-9;]*[A-Za-z]|\r", "", line))]


@pytest.mark.parametrize("width", [40, 80, 140])
def test_the_last_line_of_an_epoch_is_whole_on_every_terminal(width):
    shown = on_a_terminal(TERM="xterm", COLUMNS=str(width))
    assert re.fullmatch(rf"Training, pruned, epoch 3/4: \d\.\d s  {FIGURES}", lines_that_stay(shown)[-1])


def test_a_narrow_bar_keeps_what_is_being_done():
    shown = on_a_terminal(TERM="xterm", COLUMNS="60", steps=1000)
    (frame,) = {frame for frame in re.findall(r"Training[^\r]*", shown) if "9/1000" in frame}
    assert "Training, pruned, epoch 3/4 " in frame


def test_a_dumb_terminal_gets_plain_lines():
    shown = on_a_terminal(TERM="dumb")
    assert "\x1b" not in shown
    assert re.fullmatch(rf"Training, pruned, epoch 3/4: \d\.\d s  {FIGURES}\r\n", shown)


@pytest.mark.parametrize("term", ["xterm", "dumb"])
@pytest.mark.parametrize("how", [{"interrupted": True}, {"steps": 10}])
def test_what_was_left_early_is_not_shown_as_done(term, how):
    assert "epoch 3/4:" not in on_a_terminal(TERM=term, COLUMNS="80", **how)


def test_work_of_unknown_size_is_done_where_its_block_ends(capsys):
    with terminal.bar("Reading [folder]", total=None) as advance:
        advance(3, "[note]")
    assert re.fullmatch(r"Reading \[folder\]: 0\.\d s  \[note\]\n", capsys.readouterr().out)


def test_a_log_gets_a_line_every_ten_seconds_with_the_time_left(capsys, monkeypatch):
    clock = [100.0]
    monkeypatch.setattr(terminal.time, "monotonic", lambda: clock[0])
    with terminal.bar("Evaluating", total=100) as advance:
        for _ in range(4):
            clock[0] += 6
            advance(25)
    assert capsys.readouterr().out.splitlines() == ["Evaluating: 50%, 12 s left", "Evaluating: 24.0 s"]


@pytest.mark.parametrize(
    ("before", "lines"), [(0, ["4%", "8%, 276 s left"]), (50, ["54%, 138 s left", "58%, 126 s left"])]
)
def test_a_log_has_no_time_left_before_a_twentieth_is_done(capsys, monkeypatch, before, lines):
    """Of 100 steps, of which an earlier process did some, one takes 3 s: 92 left take 276."""
    clock = [100.0]
    monkeypatch.setattr(terminal.time, "monotonic", lambda: clock[0])
    with terminal.bar("Training", total=100, before=before) as advance:
        for steps in (2, 2, 4):
            clock[0] += 3 * steps
            advance(steps)
    assert capsys.readouterr().out.splitlines() == [f"Training: {line}" for line in lines]


@pytest.mark.parametrize(("done", "left"), [(4, None), (5, 95.0), (50, 50.0), (100, 0.0)])
def test_the_time_left_is_estimated_from_a_twentieth_of_the_work(monkeypatch, done, left):
    monkeypatch.setattr(terminal.time, "monotonic", lambda: 100.0 + done)
    assert terminal.Advance(100, print, 100.0, done).seconds_left == left
    assert terminal.Advance(None, print, 100.0, done).seconds_left is None


def test_a_bar_has_no_time_left_before_a_twentieth_is_done():
    early = on_a_terminal(TERM="xterm", COLUMNS="140", steps=1000)
    (frame,) = {frame for frame in re.findall(r"Training[^\r]*", early) if "9/1000" in frame}
    assert "-:--:--" in frame
    known = on_a_terminal(TERM="xterm", COLUMNS="140", steps=100)
    (frame,) = {frame for frame in re.findall(r"Training[^\r]*", known) if "9/100 " in frame}
    assert "-:--:--" not in frame


def test_a_table_in_a_log_is_as_wide_as_its_names(capsys):
    table = Table(box=None, pad_edge=False)
    table.add_column("cell", overflow="fold")
    table.add_row("x" * 200)
    width = terminal.console.width
    terminal.print_whole(table)
    assert capsys.readouterr().out.split() == ["cell", "x" * 200]
    assert terminal.console.width == width


def test_the_command_and_the_settings_of_a_run_are_not_wrapped_in_a_log(capsys):
    command = "python -m pruneflow " + " ".join(f"dataset.name='[{'a b ' * 9}]'" for _ in range(9))
    tables.show_config({"dataset": {"path": "/folder" * 40, "limit": None}}, command)
    shown = capsys.readouterr().out.splitlines()
    head = "Config     what differs from the defaults; --cfg job shows all"
    assert shown[:3] == [command, head, "└── dataset"]
    assert shown[3:] == [f"    ├── path: {'/folder' * 40}", "    └── limit: null"]
    tables.show_config({}, command)
    assert capsys.readouterr().out.splitlines() == [command, "Config     the defaults; --cfg job shows all"]
    tables.show_config(None, command)
    assert capsys.readouterr().out.splitlines() == [command]


def test_settings_are_spelled_as_they_are_typed(capsys):
    tables.show_config({"report": False, "trainer": {"metrics": ["f1", None]}}, "command")
    assert capsys.readouterr().out.splitlines()[2:] == [
        "├── report: false",
        "└── trainer",
        "    └── metrics: [f1,null]",
    ]


class Unwritable(io.StringIO):
    def __init__(self, error):
        super().__init__()
        self.error = error

    def write(self, text):
        raise self.error


def test_a_file_that_cannot_be_read_is_not_taken_for_the_output():
    with pytest.raises(PermissionError), terminal.printing():
        raise PermissionError(13, "Permission denied", "mine/experiment/mine.yaml")


@pytest.mark.parametrize("print_it", [terminal.console.print, terminal.print_whole])
def test_a_closed_pipe_ends_the_program_as_a_shell_reports_it(monkeypatch, print_it):
    monkeypatch.setattr(sys, "stdout", Unwritable(BrokenPipeError(32, "Broken pipe")))
    with pytest.raises(SystemExit) as stop:
        print_it("text")
    assert stop.value.code == 141


def cell(words, accuracy):
    """A finished cell whose dense baseline has this accuracy."""
    command = f"python -m pruneflow report=false {words}"
    return CellOutcome("name", typed({**made_up(dense_accuracy=accuracy), "command": command}), "")


def dense_rows(cells, capsys):
    tables.show_sweep(cells)
    shown = capsys.readouterr().out.splitlines()
    return [re.split(" {2,}", line)[0] for line in shown if line.startswith("dense")]


def test_the_dense_baselines_of_a_sweep_are_told_apart(capsys):
    names = [f"schedule.final_sparsity={sparsity} seed={seed}" for seed in (0, 1) for sparsity in (0.5, 0.8)]
    accuracies = (0.75, 0.75, 0.25, 0.25)
    cells = [cell(name, accuracy) for name, accuracy in zip(names, accuracies, strict=True)]
    assert dense_rows(cells, capsys) == ["dense seed=0", "dense seed=1"]
    assert dense_rows(cells[:2], capsys) == ["dense"]


def result(*, agreement):
    found = made_up({**exported("int8"), "agreement": agreement})
    found["data"]["name"] = "my data"
    return typed(found)


def test_a_file_that_disagrees_with_keras_is_flagged_with_what_to_do(capsys):
    tables.show_result(result(agreement=0.979))
    (line,) = [line for line in capsys.readouterr().out.splitlines() if "is not the network" in line]
    assert "pruned-int8.tflite" in line and "2.10% of the test examples" in line
    assert "export.calibration_samples" in line and "export=dynamic-range" in line
    tables.show_result(result(agreement=0.98))
    assert "is not the network" not in capsys.readouterr().out


def test_the_last_line_of_a_run_can_be_taken_apart_by_a_shell(capsys, tmp_path):
    ending.show_done(result(agreement=1.0), tmp_path / "my runs")
    words = shlex.split(capsys.readouterr().out.splitlines()[-1])
    assert words[:2] == ["done", "dataset=my data"]
    assert words[-1] == f"run={tmp_path}/my runs"


def test_the_last_lines_of_a_run_are_its_table_its_data_advice_and_its_folder(capsys, tmp_path):
    found = made_up()
    found["data"] |= {"source": "cache: mnist.npz", "note": "Half of the images."}
    done = typed(found)
    tables.show_result(done)
    ending.show_done(done, tmp_path / "my runs")
    shown = capsys.readouterr().out.splitlines()
    table = max(index for index, line in enumerate(shown) if line.startswith("dataset "))
    assert [line.split()[0] for line in shown[table : table + 4]] == ["dataset", "mnist", "mnist", "mnist"]
    assert [line[:11].strip() for line in shown[table + 5 :]][:4] == ["Data", "Note", "Advice", "Folder"]
    assert "(cache: mnist.npz)" in shown[table + 5] and shown[table + 6].endswith("Half of the images.")
    assert f"Folder     '{tmp_path}/my runs'" in shown
    assert shown[-1].startswith("done ")
    ending.show_done(done, tmp_path / "my runs", in_sweep=True)
    assert {line.split()[0] for line in capsys.readouterr().out.splitlines()} == {"done"}


READS = {"file": "image", "kind": "image", "shape": [28, 28, 1], "pixels": [0.0, 1.0]}
CONTRACT = {"reads": READS, "gives": "logits", "target_scale": [], "target_mean": [], "script": "use.py"}
JUDGED = {"message": "", "dense": 0.9, "pruned": 0.8, "drop": 0.1, "chance": 0.1, "max_accuracy_drop": None}


def smallest_of(tmp_path, *sizes, verdict="kept"):
    """Cells with files of these sizes, of which the first is judged so."""
    cells = []
    for index, size in enumerate(sizes):
        found = made_up(exported(gzip_bytes=size))
        found["contract"] = CONTRACT
        found["judgement"] = {**JUDGED, "verdict": verdict if index == 0 else "kept"}
        (tmp_path / f"seed-{index}").mkdir(exist_ok=True)
        cells.append(CellOutcome(f"seed-{index}", typed(found), ""))
    return cells


def test_a_sweep_names_the_script_of_its_smallest_file_that_is_not_marked(capsys, tmp_path):
    for verdict, cell_of_script in (("kept", "seed-0"), ("dropped", "seed-1")):
        ending.show_sweep_done(smallest_of(tmp_path, 10, 20, 30, verdict=verdict), tmp_path)
        *_, advice, folder, use, done = capsys.readouterr().out.splitlines()
        assert advice.startswith("Advice ") and folder == f"Folder     {tmp_path}"
        assert use.startswith(f"Use        python {tmp_path}/{cell_of_script}/use.py IMAGE ")
        assert done.startswith("done cells=3 failed=0")
    ending.show_sweep_done(smallest_of(tmp_path, 10, 20), tmp_path, searched=True)
    assert len(capsys.readouterr().out.splitlines()) == 1


def plan_lines(composed, *overrides):
    from conftest import QUICK

    from pruneflow.flow import pipeline
    from pruneflow.report import tables

    return tables._mask_lines(pipeline.prepare(composed(*QUICK, *overrides)))


@pytest.mark.parametrize(
    ("overrides", "lines"),
    [
        (
            [],
            [
                "Masks      unstructured, magnitude, uniform",
                "           conv2d/kernel  3 x 3 x 1 x 12     0.800: 22 of 108 stay",
                "           dense/kernel   2028 x 10          0.800: 4,056 of 20,280 stay",
            ],
        ),
        (
            ["distribution=global"],
            [
                "Masks      unstructured, magnitude, global",
                "           conv2d/kernel  3 x 3 x 1 x 12     ranked with the others, keeps 1 or more of 108",
                "           dense/kernel   2028 x 10          ranked with the others, "
                "keeps 21 or more of 20,280",
            ],
        ),
        (
            ["structure=block_4x1", "pruning.include=[conv2d]"],
            [
                "Masks      block_4x1, magnitude, uniform",
                "           conv2d/kernel  3 x 3 x 1 x 12     0.800: about 22 of 108 stay, "
                "within a block of 4",
                "Note       Blocks of 4 x 1 (inputs x outputs) do not divide conv2d/kernel "
                "(9 inputs x 12 outputs): "
                "those at its edge are smaller.",
            ],
        ),
        (
            ["structure=n_of_m", "pruning.include=[dense]"],
            [
                "Masks      n_of_m, magnitude, uniform",
                "           dense/kernel  2028 x 10          0.500: 10,140 of 20,280 stay",
                "Note       structure=n_of_m 2:4 keeps 2 of every 4 inputs, so it ends at sparsity 0.500; "
                "schedule.final_sparsity=0.8 is taken as that.",
            ],
        ),
    ],
    ids=["uniform", "global", "padded", "capped"],
)
def test_the_plan_of_each_weight_is_told_before_training(composed, tiny_data, overrides, lines):
    assert plan_lines(composed, *overrides) == lines
