"""Runs that have ended are sent to loggers: what is sent, that it is sent once, what a failure costs."""

import importlib.util
import json
import os
import pickle
import signal
import sqlite3
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import pytest
from conftest import QUICK
from results_fixtures import result, write_run
from tensorboard.plugins.scalar.summary_v2 import scalar_pb
from test_child import alive
from test_cli import exit_code

import pruneflow
from pruneflow.command.arguments import parse
from pruneflow.command.job import Job
from pruneflow.errors import PruneflowError
from pruneflow.flow.loggers import Mlflow, Record, Tool, Wandb
from pruneflow.flow.run_folder import record_failure
from pruneflow.report import logged as logged_module
from pruneflow.report.logged import log_sweep, logged, without_secrets
from pruneflow.report.record import record_of_run
from pruneflow.runtime import child
from pruneflow.training.events import event_file
from pruneflow.training.fit import Fit


@dataclass(kw_only=True)
class Notebook(Tool):
    """A logger that writes what it is told into a folder; its process is another one."""

    option_name = "notebook"
    title, needs, extra = "Notebook", ("json",), "none"

    name: str = "notebook"
    project: str = "book"
    seconds: float = 60
    sleeps: float = 0
    raises: str = ""
    raises_early: str = ""

    def load(self) -> None:
        self._write(f"loaded-{time.monotonic_ns()}", {"process": os.getpid()})
        if self.raises_early:
            raise ConnectionError(self.raises_early)

    def open(self, record: Record, parent: str) -> str:
        self._write(f"opened-{record.name}-{time.monotonic_ns()}", {"parent": parent})
        return f"id of {record.name}"

    def send(self, record: Record, identity: str) -> str:
        time.sleep(self.sleeps)
        if self.raises:
            raise ConnectionError(self.raises)
        self._write(
            f"sent-{record.name}-{time.monotonic_ns()}",
            {"id": identity, "process": os.getpid(), **asdict(record)},
        )
        return record.name

    def _write(self, name, content):
        Path("book").mkdir(exist_ok=True)
        Path("book", f".{name}").write_text(json.dumps(content, default=str))
        Path("book", f".{name}").rename(Path("book", name))  # at once, for who waits for it


def log_run(tool, folder, sweep=None):
    """A run that has ended before."""
    with logged(tool, folder, sweep):
        pass


def loaded():
    """The number of the process that has loaded the notebook, as soon as it has."""
    deadline = time.monotonic() + 60
    while not pages("loaded"):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return pages("loaded")[0]["process"]


def pages(kind):
    """What the notebook was told, by name of the record."""
    return [json.loads(file.read_text()) for file in sorted(Path("book").glob(f"{kind}-*"))]


def run_in(folder, **settings):
    """A finished run with a curve in each phase, and a final figure."""
    write_run(folder, result(**settings))
    for place, tag, points in (
        ("dense", "loss/train", [(9, 1.5), (18, 0.5)]),
        ("pruned", "sparsity/dense/kernel", [(5, 0.25), (10, 0.75)]),
        ("float", "final/gzip_bytes", [(18, 20_000)]),
    ):
        (folder / place).mkdir()
        for step, value in points:
            content = event_file([summary(tag, value)], step=step, seconds=100)
            (folder / place / f"tfevents.{step}").write_bytes(content)
    return folder


def summary(tag, value):
    from tensorboard.compat.proto.summary_pb2 import Summary

    return Summary(value=scalar_pb(tag, value).value)


def failed_in(folder):
    (folder / ".hydra").mkdir(parents=True)
    (folder / ".hydra" / "overrides.yaml").write_text("[seed=2]\n")
    (folder / ".hydra" / "config.yaml").write_text("seed: 2\n")
    record_failure(folder, "Training diverged.")
    return folder


def test_a_record_has_settings_curves_final_figures_and_files_but_no_networks(tmp_path):
    folder = run_in(tmp_path / "sweep" / "seed=1", seed=1)
    (folder / "dense.h5").write_bytes(b"network")
    record = record_of_run(folder, folder.parent)
    assert (record.name, record.sweep, record.failure) == ("seed=1", "sweep", "")
    assert record.settings["seed"] == 1
    assert record.curves["dense"] == {"loss/train": [(9, 1.5), (18, 0.5)]}
    assert record.curves["pruned"] == {"sparsity/dense/kernel": [(5, 0.25), (10, 0.75)]}
    assert record.figures == {"float/gzip_bytes": 20_000}
    assert [file.name for file in record.files] == ["pruned-float.tflite", "result.json"]
    assert record.ended == (folder / "result.json").stat().st_mtime


def test_a_run_that_failed_has_its_settings_and_its_message(tmp_path):
    record = record_of_run(failed_in(tmp_path / "run"), None)
    assert (record.settings, record.failure) == ({"seed": 2}, "Training diverged.")
    assert [file.name for file in record.files] == ["failure.json"]


def test_a_run_is_sent_once_and_again_when_it_ends_otherwise(tmp_path, capsys):
    folder = failed_in(tmp_path / "run")
    for _ in range(2):
        log_run(Notebook(), folder)
    assert [page["failure"] for page in pages("sent")] == ["Training diverged."]
    (folder / "failure.json").unlink()
    (folder / "result.json").write_text(json.dumps(result()))
    log_run(Notebook(), folder)
    assert [page["failure"] for page in pages("sent")] == ["Training diverged.", ""]
    assert len(pages("opened")) == 1  # the same record
    assert capsys.readouterr().out.count("Logged     Notebook: run") == 2


def test_a_sweep_is_opened_once_and_its_runs_are_below_it(tmp_path):
    sweep = tmp_path / "sweep"
    for seed in (0, 1):
        log_run(Notebook(), run_in(sweep / f"seed={seed}", seed=seed), sweep)
    failed_in(sweep / "seed=2")  # not sent yet
    (sweep / "sweep.csv").write_text("cell\n")
    log_sweep(Notebook(), sweep)
    assert [page["parent"] for page in pages("opened")] == [*["id of sweep"] * 3, ""]  # seeds, then the sweep
    sent = {page["name"]: page for page in pages("sent")}
    assert list(sent) == ["seed=0", "seed=1", "seed=2", "sweep"]
    assert sent["sweep"]["figures"] == {"runs": 3, "failed": 1}
    assert sent["sweep"]["failure"] == "1 of 3 runs failed"
    assert sent["sweep"]["files"] == [str(sweep / "sweep.csv")]


def test_a_tool_that_is_away_is_waited_for_once_in_a_sweep_and_told_at_its_end(tmp_path, capsys):
    sweep, away = tmp_path / "sweep", Notebook(raises="nobody there")
    for seed in (0, 1):
        log_run(away, run_in(sweep / f"seed={seed}", seed=seed), sweep)
    said = capsys.readouterr().out
    assert (
        said.count("Notebook: ConnectionError: nobody there. Everything else is done. The sweep tries") == 1
    )
    log_sweep(Notebook(), sweep)
    assert sorted(page["name"] for page in pages("sent")) == ["seed=0", "seed=1", "sweep"]


def test_a_tool_that_gives_no_answer_costs_the_seconds_that_are_allowed(tmp_path, capsys):
    begun = time.monotonic()
    log_run(Notebook(sleeps=600, seconds=1), run_in(tmp_path / "run"))
    assert time.monotonic() - begun < 60
    assert "Notebook: it gave no answer in 1 seconds. Everything else is done." in capsys.readouterr().out


def test_no_secret_is_in_what_is_said(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("WANDB_API_KEY", "k3y")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "w0rd")
    log_run(Notebook(raises="k3y and w0rd at http://me:hidden@host/x"), run_in(tmp_path / "run"))
    assert "ConnectionError: ... and ... at http://host/x." in capsys.readouterr().out
    assert without_secrets("no secret: https://host") == "no secret: https://host"


def test_the_process_that_sends_is_loaded_while_the_run_goes_on(tmp_path, capsys):
    with logged(Notebook(), tmp_path / "run"):
        process = loaded()
        assert pages("sent") == pages("opened") == []
        run_in(tmp_path / "run")
    (page,) = pages("sent")
    assert page["process"] == process and not alive(process)
    assert capsys.readouterr().out == "Logged     Notebook: run\n"


def test_a_run_that_raises_is_sent_and_one_that_is_interrupted_is_not(tmp_path):
    for error in (ValueError, KeyboardInterrupt):
        with pytest.raises(error), logged(Notebook(), tmp_path / error.__name__):
            failed_in(tmp_path / error.__name__)
            raise error
    assert [page["name"] for page in pages("sent")] == ["ValueError"]


def test_no_process_is_started_for_a_run_that_ended_before(tmp_path):
    log_run(Notebook(), run_in(tmp_path / "run"))
    assert len(pages("sent")) == 1 and pages("loaded") == []


def test_the_seconds_that_are_allowed_begin_with_sending(tmp_path, monkeypatch):
    happened = []

    class Answers(child._Answers):
        def __init__(self, file, silent_s, watch):
            happened.append(silent_s)
            super().__init__(file, silent_s, watch)

    monkeypatch.setattr(child, "_Answers", Answers)
    with logged(Notebook(seconds=50), tmp_path / "run"):
        loaded()
        run_in(tmp_path / "run")
        happened.append("ended")
    assert happened == ["ended", 50]


def test_a_process_that_was_killed_meanwhile_is_replaced(tmp_path, capsys):
    with logged(Notebook(), tmp_path / "run"):
        process = loaded()
        os.kill(process, signal.SIGKILL)
        while alive(process):
            time.sleep(0.02)
        run_in(tmp_path / "run")
    (page,) = pages("sent")
    assert page["process"] != process
    assert capsys.readouterr().out == "Logged     Notebook: run\n"


def no_space(*_):
    raise OSError(28, "No space left on device")


@pytest.mark.parametrize("start", [child.waiting, no_space], ids=["raises", "cannot start"])
def test_a_tool_that_cannot_be_loaded_yet_is_told_all_the_same(start, tmp_path, monkeypatch):
    monkeypatch.setattr(logged_module, "waiting", start)
    with logged(Notebook(raises_early="not yet"), tmp_path / "run"):
        if start is child.waiting:
            loaded()
        run_in(tmp_path / "run")
    assert [page["name"] for page in pages("sent")] == ["run"]


@pytest.fixture
def notebook(monkeypatch):
    """``logger=mlflow`` is the notebook."""
    monkeypatch.setattr(Mlflow, "tools", lambda self: [Notebook()])
    monkeypatch.setattr(Tool, "require_installed", lambda *_: None)


@pytest.mark.run
@pytest.mark.parametrize(
    ("error", "code", "sent"),
    [(PruneflowError("Training diverged."), 1, ["Training diverged."]), (KeyboardInterrupt(), 130, [])],
)
def test_the_process_is_there_before_training_and_ends_with_a_run_that_fails(
    error, code, sent, notebook, monkeypatch
):
    def train(*_, **__):
        process.append(loaded())
        raise error

    process = []
    monkeypatch.setattr(Fit, "run", train)
    assert exit_code([*QUICK, "logger=mlflow"]) == code
    assert [page["failure"] for page in pages("sent")] == sent
    assert len(process) == 1 and not alive(process[0])


def mlflow(**changes):
    return Mlflow(**{"name": "mlflow", "project": "tests", "uri": None, "seconds": 300, **changes})


@pytest.mark.parametrize("uri", ["http://host:5000", "https://host", "databricks", "mysql+pymysql://host/db"])
def test_addresses_of_mlflow_are_taken(uri):
    assert mlflow(uri=uri).uri == uri


def test_a_password_in_an_address_is_refused_and_not_shown(capsys, tmp_path):
    assert exit_code(["logger=mlflow", "logger.uri=http://me:hidden@host"]) == 2
    said = capsys.readouterr().err
    assert "MLFLOW_TRACKING_PASSWORD" in said and "hidden" not in said
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("choice", ["mlflow", "wandb", "all"])
def test_a_missing_tool_is_refused_with_the_line_that_installs_it(choice, capsys, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "mlflow", None)
    monkeypatch.setitem(sys.modules, "wandb", None)
    assert exit_code([f"logger={choice}"]) == 2
    module = "wandb" if choice == "wandb" else "mlflow"
    answer = f'logger={choice}: {module} is not installed. Install it with pip install "pruneflow[{module}]" '
    assert capsys.readouterr().err.startswith(answer)
    assert list(tmp_path.iterdir()) == []


def test_a_command_is_the_same_with_and_without_a_logger(monkeypatch):
    monkeypatch.setattr(Tool, "require_installed", lambda *_: None)
    jobs = [Job.of(parse(words)[0]) for words in ([], ["logger=all"], ["seed=1"])]
    assert jobs[0].identity == jobs[1].identity != jobs[2].identity


@pytest.mark.run
def test_a_grid_tells_its_logger_and_takes_the_stages_of_one_that_told_nobody(tmp_path, notebook):
    grid = [*QUICK, "-m", "seed=0,1"]
    assert exit_code(grid) == 0
    assert exit_code([*grid, "logger=mlflow"]) == 0
    latest = max((tmp_path / "outputs" / "sweeps").glob("*/*"))
    sent = {page["name"]: page for page in pages("sent")}
    assert sorted(sent) == sorted(["seed-0", "seed-1", f"{latest.parent.name} {latest.name}"])
    assert sent["seed-0"]["settings"]["logger"]["project"] == "pruneflow"
    assert "accuracy/validation" in sent["seed-0"]["curves"]["pruned"]
    found = [json.loads(file.read_text()) for file in latest.rglob("result.json")]
    assert all(stage["reused"] for each in found for stage in each["stages"].values())


@pytest.mark.run
def test_a_run_from_python_is_sent_too(notebook, monkeypatch, tmp_path):
    train = Fit.run
    monkeypatch.setattr(Fit, "run", lambda *given, **named: (loaded(), train(*given, **named))[1])
    pruneflow.run([*QUICK, "logger=mlflow"], folder=tmp_path / "mine")
    assert [(page["name"], page["process"]) for page in pages("sent")] == [("mine", loaded())]


def rows(table, columns):
    with sqlite3.connect("outputs/mlflow/mlflow.db") as store:
        found = store.execute(f"select {columns} from {table}").fetchall()
    store.close()
    return found


AFTER_LOADING = """
import json, pickle, sys
from pathlib import Path
from pruneflow.report import logged
logged._load(pickle.load(sys.stdin.buffer))
print(json.dumps([sorted(sys.modules), [str(file) for file in Path().iterdir()]]))
"""


@pytest.mark.parametrize(
    ("name", "module"),
    [("mlflow", "mlflow.store.tracking.sqlalchemy_store"), ("wandb", "wandb.apis.public.runs")],
)
def test_a_tool_that_is_loaded_has_what_takes_seconds_and_has_made_nothing(name, module):
    if not importlib.util.find_spec(name):
        pytest.skip(f"{name} is not installed")
    tool = mlflow() if name == "mlflow" else Wandb(name="wandb", project="tests", mode="offline", seconds=300)
    line = [sys.executable, "-c", AFTER_LOADING]
    said = subprocess.run(line, input=pickle.dumps(tool), stdout=subprocess.PIPE, check=True).stdout
    modules, files = json.loads(said)
    assert {module, "tensorboard.compat.tensorflow_stub.pywrap_tensorflow"} <= {*modules}
    assert files == []


def test_mlflow_has_runs_below_their_sweep_in_a_store_of_its_own(tmp_path):
    if not importlib.util.find_spec("mlflow"):
        pytest.skip("MLflow is not installed")
    sweep = tmp_path / "sweep"
    run_in(sweep / "seed=0", seed=0)
    failed_in(sweep / "seed=1")
    log_sweep(mlflow(), sweep)
    runs = {name: (uuid, status) for uuid, name, status in rows("runs", "run_uuid, name, status")}
    assert {name: status for name, (_, status) in runs.items()} == {
        "sweep": "FAILED",
        "seed=0": "FINISHED",
        "seed=1": "FAILED",
    }
    done, parent = runs["seed=0"][0], runs["sweep"][0]
    tags = {(run, key): value for run, key, value in rows("tags", "run_uuid, key, value")}
    assert tags[done, "mlflow.parentRunId"] == parent
    assert tags[runs["seed=1"][0], "failure"] == "Training diverged."
    assert (done, "failure") not in tags
    assert (done, "model.name", "cnn") in rows("params", "run_uuid, key, value")
    figures = rows("metrics", "run_uuid, key, step, value")
    assert {(done, "pruned/sparsity/dense/kernel", 10, 0.75), (done, "float/gzip_bytes", 0, 20_000)} <= {
        *figures
    }
    kept = {file.name for file in Path("outputs/mlflow/artifacts", done).rglob("*") if file.is_file()}
    assert kept == {"pruned-float.tflite", "result.json"}


def test_a_server_of_mlflow_that_is_away_costs_one_warning(tmp_path, capsys):
    if not importlib.util.find_spec("mlflow"):
        pytest.skip("MLflow is not installed")
    log_run(mlflow(uri="http://127.0.0.1:9"), run_in(tmp_path / "run"))
    said = capsys.readouterr()
    assert said.out.startswith("Logger     MLflow: ") and said.out.count("Everything else is done.") == 1
    assert (said.out.count("\n"), said.err) == (1, "")


def test_wandb_has_a_run_in_the_group_of_its_sweep_offline(tmp_path, capsys):
    if not importlib.util.find_spec("wandb"):
        pytest.skip("W&B is not installed")
    tool = Wandb(name="wandb", project="tests", mode="offline", seconds=300)
    folder = run_in(tmp_path / "sweep" / "seed=0", seed=0)
    log_run(tool, folder, folder.parent)
    assert "wandb sync sends it" in capsys.readouterr().out
    (kept,) = Path("outputs/wandb").glob("offline-run-*/*.wandb")
    content = kept.read_bytes()
    for expected in (b"seed=0", b"sweep", b"pruned/sparsity/dense/kernel", b"float/gzip_bytes"):
        assert expected in content
    assert {file.name for file in kept.parent.glob("files/*")} >= {"pruned-float.tflite", "result.json"}
