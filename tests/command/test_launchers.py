"""Sweeps side by side and searches, on the real engines; the commands are those of docs/parallel.md."""

import csv
import inspect
import io
import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
from conftest import QUICK
from hydra.utils import get_class
from omegaconf import OmegaConf
from results_fixtures import exported, typed
from results_fixtures import result as made_up
from support import ROOT
from test_cli import command, exit_code
from test_tensorboard import FAILURE, SUCCESS, Board, figures_of, settings_of

from pruneflow.command import engines, launchers, plugins
from pruneflow.command.labelled_output import Labelled
from pruneflow.errors import ConfigError
from pruneflow.flow import objectives
from pruneflow.flow.config import config_folder
from pruneflow.flow.judgement import fails
from pruneflow.runtime.device import processors

pytestmark = pytest.mark.cluster

BLOCKS = re.findall(r"```sh\n(.*?)```", (ROOT / "docs" / "parallel.md").read_text(), flags=re.S)
COMMANDS = [line for block in BLOCKS for line in block.splitlines()]


TWO_AT_A_TIME = ["hydra/launcher=joblib", "hydra.sweeper.n_jobs=2"]


def documented(part):
    """The words after ``python -m pruneflow`` of the one documented command that has ``part``, made quick."""
    (line,) = [line for line in COMMANDS if part in line]
    assert line.startswith("python -m pruneflow ")
    return [*shlex.split(line)[3:], *QUICK]


def outcomes(sweep_dir):
    """Each cell's result and the row of each cell in the table."""
    results = {file.parent.name: json.loads(file.read_text()) for file in sweep_dir.glob("*/result.json")}
    with (sweep_dir / "sweep.csv").open() as file:
        return results, {row["cell"]: row for row in csv.DictReader(file)}


def only_sweep(folder):
    (sweep_dir,) = (folder / "outputs" / "sweeps").glob("*/*")
    return sweep_dir


def break_cell(folder):
    """Let a cell fail at its end: a folder lies where its file would go."""
    (folder / "pruned-float.tflite" / "in the way").mkdir(parents=True)


def test_every_documented_command_is_run_here():
    source = Path(__file__).read_text()
    parts = re.findall(r'documented\("(.+?)"\)', source)
    runs = [line for line in COMMANDS if line.startswith("python")]
    assert len(runs) == len(COMMANDS) == len(set(parts)) == 7
    assert all(sum(part in line for part in parts) == 1 for line in runs)


# joblib


def test_cells_beside_each_other_divide_the_processors_and_give_the_bits_of_a_run_alone(tmp_path):
    """Three cells on two workers, the last one broken: it stops neither the others nor the table."""
    beside, alone = tmp_path / "beside", tmp_path / "alone"
    break_cell(beside / "sweep" / "seed-3")
    alone.mkdir()
    done = command([*documented("seed=1,2,3"), "hydra.sweep.dir=sweep"], cwd=beside)
    assert done.returncode == 1
    share = max(1, processors() // 2)
    first, *lines = done.stdout.splitlines()
    assert first == f"Cells      2 at a time, each with {share} of {processors()} processors"
    until_table = lines[: lines.index("")]
    assert {line.split(" | ")[0].rstrip(" |") for line in until_table} == {"seed-1", "seed-2", "seed-3"}
    assert "\x1b" not in done.stdout
    assert done.stderr.startswith("seed-3 | ") and "Traceback" not in done.stderr
    results, rows = outcomes(beside / "sweep")
    assert [row["status"] for row in rows.values()] == ["done", "done", "failed"]
    for result in results.values():
        assert result["config"]["device"]["threads"] is None
        assert (result["device"]["threads"], result["device"]["inter_op_threads"]) == (share, share)
    sessions = Board(beside / "sweep").sessions()
    assert {settings_of(group)["seed"]: session.status for group, session in sessions.values()} == {
        **dict.fromkeys((1, 2), SUCCESS),
        3: FAILURE,
    }

    arguments = [*QUICK, "seed=1", f"device.threads={share}", "hydra.run.dir=run"]
    assert command(arguments, cwd=alone).returncode == 0
    for name in ("pruned.h5", "pruned-float.tflite"):
        file = beside / "sweep" / "seed-1" / name
        assert file.read_bytes() == (alone / "run" / name).read_bytes()


def processes_of(session):
    """Command lines of the processes of a session, but for those that have ended."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            state, _, _, its_session = (folder / "stat").read_text().rpartition(") ")[2].split()[:4]
            if int(its_session) == session and state != "Z":
                found.append((folder / "cmdline").read_text())
        except OSError:  # ended in the meantime
            continue
    return found


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="processes are looked up in /proc")
@pytest.mark.parametrize(("sent", "code"), [(signal.SIGTERM, 143), (signal.SIGKILL, -9)])
def test_no_worker_outlives_the_sweep(tmp_path, sent, code):
    arguments = [*QUICK, "trainer.dense_epochs=100000", "-m", "seed=1,2", "hydra/launcher=joblib"]
    log = tmp_path / "log"
    with log.open("w") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "pruneflow", *arguments, "hydra.launcher.n_jobs=2"],
            stdout=out,
            stderr=out,
            start_new_session=True,
        )
    wait_for(lambda: log.read_text().count("epoch 2/") == 2)
    assert len([line for line in processes_of(process.pid) if "LokyProcess" in line]) == 2
    process.send_signal(sent)
    assert process.wait(timeout=60) == code
    wait_for(lambda: not [line for line in processes_of(process.pid) if "LokyProcess" in line], seconds=30)
    if sent == signal.SIGTERM:
        assert log.read_text().splitlines()[-1].startswith("Terminated.")
        assert "Traceback" not in log.read_text()


def wait_for(condition, seconds=120):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)


# submitit


def test_jobs_of_this_machine_leave_visible_logs_and_take_threads_that_are_given(tmp_path):
    done = command([*documented("submitit_local"), "device.inter_op_threads=2"])
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    sweep_dir = only_sweep(tmp_path)
    logs = f"{sweep_dir.relative_to(tmp_path)}/submitit"
    told = f"Cells      as jobs, each with 1 processor; what they print is in {logs}"
    assert done.stdout.splitlines()[0] == told
    results, rows = outcomes(sweep_dir)
    assert set(results) == set(rows) == {"seed-1", "seed-2"}
    used = [result["device"] for result in results.values()]
    assert [(device["threads"], device["inter_op_threads"]) for device in used] == [(1, 2)] * 2
    texts = [file.read_text() for file in sweep_dir.glob("submitit/*/*.out")]
    assert sorted(re.findall(r"^(seed-.) \| done", "\n".join(texts), flags=re.M)) == ["seed-1", "seed-2"]


SBATCH = """\
import os, re, subprocess, sys
script = sys.argv[1]
first, last = re.search(r"--array=(\\d+)-(\\d+)", open(script).read()).groups()
for task in range(int(first), int(last) + 1):
    job = {"SLURM_JOB_ID": str(700 + task), "SLURM_ARRAY_JOB_ID": "700", "SLURM_ARRAY_TASK_ID": str(task)}
    job |= {"SLURM_NTASKS": "1", "SLURM_JOB_NUM_NODES": "1", "SLURM_NODEID": "0"}
    job |= {"SLURM_PROCID": "0", "SLURM_LOCALID": "0", "SLURM_JOB_NODELIST": "here"}
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    subprocess.Popen(["bash", script], env={**os.environ, **job}, **quiet)
print("Submitted batch job 700")
"""

SRUN = """\
import os, sys
assert sys.argv[1:3] == ["--unbuffered", "--output"]
output, line = sys.argv[3], sys.argv[4:]
for sign, name in ("%A", "ARRAY_JOB_ID"), ("%a", "ARRAY_TASK_ID"), ("%t", "PROCID"), ("%j", "JOB_ID"):
    output = output.replace(sign, os.environ[f"SLURM_{name}"])
os.makedirs(os.path.dirname(output), exist_ok=True)
for stream in (1, 2):
    os.dup2(os.open(output, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644), stream)
os.execvp(line[0], line)
"""


@pytest.fixture
def slurm(tmp_path, monkeypatch):
    """Stand-ins for Slurm's programs, which run the tasks of an array job on this machine."""
    programs = {"sbatch": SBATCH, "srun": SRUN, "sacct": "print('JobID|State|NodeList')"}
    folder = tmp_path / "slurm"
    folder.mkdir()
    for name, text in programs.items():
        (folder / name).write_text(f"#!{sys.executable}\n{text}")
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")


def test_what_goes_to_slurm_asks_for_what_the_settings_say_and_runs(slurm, tmp_path, tiny_data):
    typed = documented("submitit_slurm")
    places = {"/shared/data": str(tiny_data), "/shared": str(tmp_path / "shared")}
    for place, here in places.items():
        typed = [word.replace(place, here) for word in typed]
    done = command(typed)
    assert done.returncode == 0, done.stderr
    results, _ = outcomes(tmp_path / "shared" / "seeds")
    assert set(results) == {"seed-1", "seed-2"}
    assert {result["device"]["threads"] for result in results.values()} == {min(8, processors())}
    assert (tmp_path / "shared" / "stages").is_dir()
    (script,) = (tmp_path / "shared" / "seeds" / "submitit").glob("*/*.sh")
    asked = set(re.findall(r"#SBATCH (\S+)", script.read_text()))
    assert {"--partition=short", "--time=60", "--cpus-per-task=8", "--array=0-1%2", "--mem=4GB"} <= asked
    assert list(tmp_path.glob("outputs")) == []


# Ray


@pytest.fixture
def home(tmp_path, monkeypatch):
    """An empty home folder."""
    folder = tmp_path / "home"
    folder.mkdir()
    monkeypatch.setenv("HOME", str(folder))
    for name in [name for name in os.environ if name.startswith("RAY_")]:
        monkeypatch.delenv(name)
    return folder


@pytest.fixture
def place():
    """A folder for Ray; the path of a socket in it must be short."""
    with tempfile.TemporaryDirectory(prefix="ray-", ignore_cleanup_errors=True) as folder:
        yield folder


def test_ray_starts_a_cluster_of_its_own_and_writes_nothing_at_home(home, place, tmp_path):
    done = command([*documented("seed=3,4"), f"hydra.launcher.ray.init._temp_dir={place}"])
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    results, rows = outcomes(only_sweep(tmp_path))
    assert set(results) == set(rows) == {"seed-3", "seed-4"}
    assert {result["device"]["threads"] for result in results.values()} == {1}
    shown = done.stdout.splitlines()
    of_cells = shown[: shown.index("")]
    assert all(re.match(r"Cells |\(_run_job pid=\d+\) seed-[34] \|", line) for line in of_cells)
    for line in (" | Not pruned input ", " | done dataset=mnist"):
        assert sum(line in shown for shown in of_cells) == 2
    assert "repeated" not in done.stdout
    assert not (home / ".ray").exists()


class Nodes:
    """Nodes of a Ray cluster on this machine, each with an address and one processor of its own."""

    def __init__(self, folder):
        self.folder, self.processes = folder, {}
        with socket.create_server(("127.0.0.2", 0)) as free:
            self.address = f"127.0.0.2:{free.getsockname()[1]}"
        self.start("127.0.0.2", "--head", "--include-dashboard=false", f"--port={self.address[10:]}")

    def join(self, ip):
        """Add a node that takes cells."""
        self.start(ip, f"--address={self.address}")

    def start(self, ip, *words):
        ray, place = shutil.which("ray", path=str(Path(sys.executable).parent)), Path(self.folder, ip[-1])
        unset = ("PRUNEFLOW_DATA_DIR",)  # which comes with a cell, not with a node
        self.processes[ip] = subprocess.Popen(
            [
                ray,
                "start",
                "--block",
                "--num-cpus=1",
                f"--node-ip-address={ip}",
                f"--temp-dir={place}",
                *words,
            ],
            cwd=self.folder,
            env={
                **{name: value for name, value in os.environ.items() if name not in unset},
                "RAY_USAGE_STATS_ENABLED": "0",
                "RAY_worker_niceness": "0",  # else all that a busy machine does goes first
            },
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        wait_for(lambda: list(place.glob("session_latest/sockets/raylet*")))

    def kill(self, ip):
        """Kill all of a node at once, as when its machine goes away."""
        os.killpg(self.processes[ip].pid, signal.SIGKILL)

    def end(self):
        for process in self.processes.values():
            process.terminate()
        for process in self.processes.values():
            process.wait(timeout=60)


@pytest.fixture
def nodes(home, place):
    """A Ray cluster that runs already, in another folder."""
    started = Nodes(place)
    try:
        yield started
    finally:
        started.end()


def test_two_nodes_share_stages_and_one_that_is_killed_costs_only_its_cell(nodes, tmp_path, tiny_data):
    """Relative folders, of a cluster that was started in another one."""
    nodes.join("127.0.0.3")
    typed = " ".join(documented("address=auto")).replace("address=auto", f"address={nodes.address}")
    typed = typed.replace("/shared/data", str(tiny_data)).replace("/shared/", "")
    typed = typed.replace("seed=1,2", "schedule.final_sparsity=0.5,0.6,0.7")
    typed += " trainer.epochs=200"  # long enough to be killed in
    log = tmp_path / "log"
    with log.open("w") as out:
        line = [sys.executable, "-m", "pruneflow", *typed.split()]
        sweep = subprocess.Popen(line, stdout=out, stderr=subprocess.STDOUT, env=os.environ)
        wait_for(
            lambda: re.search(r"ip=127.0.0.3\) final.* \| Training, pruned", log.read_text()), seconds=600
        )
        nodes.kill("127.0.0.3")
        assert sweep.wait(timeout=1200) == 1
    shown = log.read_text()
    (lost,) = set(re.findall(r"ip=127.0.0.3\) (final_sparsity-...)", shown))
    assert re.search(
        r"^A cell ended without a result: .* 127.0.0.3[^\n]* The same command runs it.$", shown, re.M
    )
    _, rows = outcomes(tmp_path / "seeds")
    assert {name for name, row in rows.items() if row["status"] == "failed"} == {lost}
    assert len({cell for cell, phase in TRAINED.findall(shown) if phase == "dense"}) == 1
    pruned = {cell for cell, phase in TRAINED.findall(shown) if phase == "pruned"}
    assert pruned == set(rows)

    again = command(typed.split())
    assert again.returncode == 0, again.stderr
    results, _ = outcomes(tmp_path / "seeds")
    assert set(results) == set(rows)
    assert set(TRAINED.findall(again.stdout)) <= {(lost, "pruned")}


TRAINED = re.compile(r"\) (final_sparsity-...) \| Training, (\w+),")


@pytest.mark.parametrize("address", ["127.0.0.1:9", "nowhere.invalid:6379"])
def test_a_cluster_that_does_not_answer_is_refused(address, capsys, tmp_path):
    typed = f"hydra.launcher.ray.init.address={address}"
    assert exit_code(["-m", "seed=1,2", "hydra/launcher=ray", typed]) == 2
    assert capsys.readouterr().err.startswith(f"{typed}: no Ray cluster answers there. Start one")
    assert list(tmp_path.iterdir()) == []


# Optuna


def test_a_search_returns_the_best_on_the_validation_part_and_survives_a_failed_cell(tmp_path):
    sweep_dir = tmp_path / "search"
    break_cell(sweep_dir / "1-1")
    own = ["hydra.sweeper.n_trials=3", "hydra.sweep.dir=search", "hydra.sweep.subdir=${hydra.job.num}"]
    done = command([*documented("hydra.sweeper.n_trials=8"), *own])
    assert done.returncode == 1
    assert done.stderr.endswith("cannot be written: Is a directory. Free space or permissions there.\n")
    assert len(done.stderr.splitlines()) == 1
    results, rows = outcomes(sweep_dir)
    assert [(name, row["status"]) for name, row in rows.items()] == [
        ("0-0", "done"),
        ("1-1", "failed"),
        ("2-2", "done"),
    ]
    accuracies = {name: result["pruned"]["validation_accuracy"] for name, result in results.items()}
    found = OmegaConf.load(sweep_dir / "optimization_results.yaml")
    assert found.best_value == max(accuracies.values())
    sparsities = [result["pruned"]["requested_sparsity"] for result in results.values()]
    assert found.best_params["schedule.final_sparsity"] in sparsities
    assert len(set(sparsities)) == 2 and all(0.5 <= sparsity <= 0.95 for sparsity in sparsities)
    assert "Best of 2 by validation_accuracy" in done.stdout
    sessions = [each for each in Board(sweep_dir).sessions().values() if each[1].status == SUCCESS]
    assert len(sessions) == 2
    for group, session in sessions:
        asked = settings_of(group)["final_sparsity"]
        assert figures_of(session)["final/sparsity"] == pytest.approx(asked, abs=1e-3)


def test_two_objectives_side_by_side_leave_the_cells_that_no_other_beats(tmp_path):
    done = command([*documented("experiment=search"), "hydra.sweeper.n_trials=4", *TWO_AT_A_TIME])
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    sweep_dir = only_sweep(tmp_path)
    results, rows = outcomes(sweep_dir)
    assert len(results) == len(rows) == 4
    assert [re.match(r"\d-final_sparsity-0\.\d+_learning_rate-0\.\d+$", name) is None for name in rows] == [
        False
    ] * 4
    points = {
        name: (result["pruned"]["validation_accuracy"], result["tflite"][0]["size"]["gzip_bytes"])
        for name, result in results.items()
        if not fails(typed(result).judgement)
    }
    front = {
        name
        for name, (accuracy, size) in points.items()
        if not any(a >= accuracy and s <= size and (a, s) != (accuracy, size) for a, s in points.values())
    }
    found = OmegaConf.load(sweep_dir / "optimization_results.yaml")
    assert sorted(map(tuple, (s["values"] for s in found.solutions))) == sorted(
        points[name] for name in front
    )
    shown = done.stdout.splitlines()
    best = f"Best of {len(points)} by validation_accuracy, gzip_bytes (validation part and sizes):"
    start = shown.index(best)
    assert {line.split(":")[0].strip() for line in shown[start + 1 : start + 1 + len(front)]} == front
    share = max(1, processors() // 2)
    assert {result["device"]["threads"] for result in results.values()} == {share}


SEARCH = ["-m", "hydra/sweeper=optuna"]
REFUSED = [  # beside what stands in docs/bad_input.md
    (
        ["objective=[accuracy]"],
        "objective=[accuracy]: allowed are validation_accuracy, validation_r2, gzip_bytes, ",
    ),
    (["objective=[]"], "objective=[]: allowed are validation_accuracy"),
    (["objective=[bytes,bytes]"], "objective=[bytes,bytes]: allowed are validation_accuracy"),
    ([*SEARCH, "schedule=glob(*)"], "schedule=glob(*): a search takes no glob."),
    ([*SEARCH, "schedule.final_sparsity=interval(0.5,1.5)"], "schedule.final_sparsity=1.5: sparsity is"),
    ([*SEARCH, "trainer.batch_size=range(20,362)"], "trainer.batch_size=361: the training part has 360"),
    ([*SEARCH, "model=cnn,lstm"], "model=lstm: it reads sequences of tokens"),
    (
        [*SEARCH, "seed=1,2", "hydra.sweeper.direction=[maximize,minimize]"],
        "hydra.sweeper.direction=[maximize,minimize]: there are 1 objectives: validation_accuracy.",
    ),
    ([*SEARCH, "seed=1,2", "hydra.sweeper.n_trials=many"], "hydra.sweeper.n_trials=many: it must be a whole"),
    (
        ["-m", "seed=1,2", "hydra/launcher=submitit_local", "hydra.launcher.timeout_min=0.5"],
        "hydra.launcher.timeout_min=0.5: it must be a whole number. See conf/hydra/launcher/submitit_local",
    ),
    ([*SEARCH, "seed=1,2", "hydra.sweeper.direction=up"], "hydra.sweeper.direction=up: allowed are maximize"),
    (
        [*SEARCH, "seed=1,2", "hydra.sweeper.storage='sqlite:///nowhere/search.db'"],
        "hydra.sweeper.storage=sqlite:///nowhere/search.db: there is no folder nowhere. Make it.",
    ),
    (
        [*SEARCH, "seed=1,2", "hydra.sweeper.custom_search_space=nowhere.f"],
        "hydra.sweeper.custom_search_space=nowhere.f: there is no such function.",
    ),
    (
        ["-m", "seed=1,2", "hydra/launcher=joblib", "+hydra.launcher.typo=1"],
        "hydra.launcher.typo=1: there is no such key; it has ",
    ),
    (["-m", "seed=1,2", "hydra.launcher=null"], "hydra.launcher=null: none is chosen."),
    (
        ["-m", "seed=1,2", "hydra.launcher._target_=hydra_plugins.foo.Bar"],
        "hydra.launcher._target_=hydra_plugins.foo.Bar: ",
    ),
    (
        ["-m", "seed=1,2", "hydra/launcher=ray", "+hydra.launcher.ray.init.typo=1"],
        "hydra.launcher.ray.init.typo=1: ray.init takes no such argument.",
    ),
    (
        ["-m", "seed=1,2", "hydra/launcher=ray", "+hydra.launcher.ray.remote.typo=1"],
        "hydra.launcher.ray.remote={",
    ),
    (["-m", "seed=1"], "-m: there is nothing to sweep: no key has several values."),
    (["-m", "seed=1", "hydra/launcher=joblib"], "-m: there is nothing to sweep: no key has several values."),
    (["hydra.mode=MULTIRUN", "seed=1"], "-m: there is nothing to sweep: no key has several values."),
    (
        ["-m", "seed=1,2", "hydra.mode=RUN"],
        "hydra.mode=RUN: -m asks for the opposite. Leave one of them out.",
    ),
    (["--run", "seed=1,2", "hydra.mode=MULTIRUN"], "hydra.mode=MULTIRUN: --run asks for the opposite."),
    (["-m", "seed=range(0,100000000)"], "The sweep has 100,000,000 cells; allowed are 1,000."),
]


@pytest.mark.parametrize(("typed", "message"), REFUSED, ids=[typed[-1] for typed, _ in REFUSED])
def test_what_a_launcher_or_a_search_cannot_do_is_refused_before_anything_starts(
    typed, message, capsys, tmp_path
):
    assert exit_code([*QUICK, *typed]) == 2
    shown = capsys.readouterr()
    assert shown.err.startswith(message)
    assert "Traceback" not in shown.err
    assert list(tmp_path.iterdir()) == []


CHOICES = {
    "hydra/launcher=joblib": "parallel",
    "hydra/launcher=ray": "ray",
    "hydra/launcher=submitit_local": "slurm",
    "hydra/launcher=submitit_slurm": "slurm",
    "hydra/sweeper=optuna": "optuna",
    "experiment=search": "optuna",
}

WITHOUT_PLUGINS = """
import sys
sys.modules["hydra_plugins"] = sys.modules["optuna"] = None  # as where none is installed
from pruneflow.command import cli
for choice in sys.argv[1:]:
    try:
        cli.main(["-m", "seed=1,2", choice])
    except SystemExit as end:
        print(end.code, file=sys.stderr)
"""


def test_a_missing_plugin_is_answered_with_the_extra_that_brings_it(tmp_path):
    line = [sys.executable, "-c", WITHOUT_PLUGINS, *CHOICES]
    done = subprocess.run(line, capture_output=True, text=True, check=True)
    answers = done.stderr.splitlines()
    assert len(answers) == 2 * len(CHOICES)
    for (choice, extra), answer, code in zip(CHOICES.items(), answers[::2], answers[1::2], strict=True):
        shown = choice if "/" in choice else "hydra/sweeper=optuna"
        assert answer.startswith(f"{shown}: {'optuna' if extra == 'optuna' else 'hydra_'}")
        assert f' is not installed. Install it with pip install "pruneflow[{extra}]" ' in answer
        assert code == "2"
    assert list(tmp_path.iterdir()) == []


HYDRAS = config_folder() / "hydra"
SAMPLERS = sorted((HYDRAS / "sweeper" / "sampler").glob("*.yaml"))


@pytest.mark.parametrize("file", SAMPLERS, ids=lambda f: f.stem)
def test_settings_of_samplers_are_parameters_of_their_classes(file):
    settings = OmegaConf.load(file)
    settings.pop("defaults", None)
    takes = inspect.signature(get_class(settings.pop("_target_"))).parameters
    assert {key for key in settings if not key.startswith("_")} <= set(takes)  # others are for Hydra


@pytest.mark.parametrize("file", sorted((HYDRAS / "launcher").rglob("*.yaml")), ids=lambda f: f.stem)
def test_our_settings_are_keys_of_the_plugin(composed, file):
    """Each file against what the installed plugin registers under its name."""
    name = str(file.relative_to(config_folder() / "hydra").with_suffix(""))
    ours = OmegaConf.load(file)
    ours.pop("defaults", None)
    assert set(ours) <= set(plugins._registered[name]), name


# Shares, without an engine


def settings(plugin, job=None, **launcher):
    target = f"hydra_plugins.hydra_{plugin}_launcher.Some"
    return OmegaConf.create({"job": job or {"num": 0}, "launcher": {"_target_": target, **launcher}})


@pytest.mark.parametrize(
    ("cell", "share"),
    [
        (settings("joblib", n_jobs=2), 4),
        (settings("joblib", n_jobs=3), 2),
        (settings("joblib", n_jobs=20), 1),
        (settings("ray", ray={"remote": {"num_cpus": 3}}), 3),
        (settings("ray", ray={"remote": {"num_cpus": 0.5}}), 1),
        (settings("ray", ray={"remote": {}}), 1),
        (settings("submitit", cpus_per_task=4), 4),
        (settings("submitit", cpus_per_task=16), 8),
        (settings("submitit", cpus_per_task=None), None),
        (settings("unknown"), None),
        (settings("joblib", n_jobs=1), 8),
        (settings("joblib", job={"num": "???"}, n_jobs=2), None),  # a run of its own
    ],
)
def test_the_share_of_a_cell_of_eight_processors(cell, share, monkeypatch):
    for module in (engines, launchers):
        monkeypatch.setattr(module, "processors", lambda: 8)
    assert launchers.share(cell) == share


@pytest.mark.parametrize(
    ("n_jobs", "cells", "at_a_time"),
    [(-1, 20, 8), (-1, 3, 3), (-2, 20, 7), (-20, 5, 1), (4, 20, 4), (4, 2, 2), (20, 20, 20)],
)
def test_no_more_cells_run_at_a_time_than_there_are(n_jobs, cells, at_a_time, monkeypatch):
    for module in (engines, launchers):
        monkeypatch.setattr(module, "processors", lambda: 8)
    engine = launchers.engine_of(settings("joblib", n_jobs=n_jobs))
    assert engine.pinned(cells) == [f"hydra.launcher.n_jobs={at_a_time}"]


class LostError(Exception):
    """What submitit raises of a job that left no result."""

    __module__ = "submitit.core.utils"


class Job:
    """A job of submitit, and what it was told."""

    job_id = "700_1"

    def __init__(self):
        self.told = []

    def wait(self):
        self.told.append("wait")

    def cancel(self):
        self.told.append("cancel")


def run_until(error, plugin_class):
    """Two jobs are started, and then ``error`` is raised; what became of them."""
    engine = launchers.engine_of(settings("submitit", cpus_per_task=1, submitit_folder="x/%j"))
    engine.launcher._target_ = f"hydra_plugins.hydra_submitit_launcher.submitit_launcher.{plugin_class}"
    started = [Job(), Job()]

    def launch():
        jobs = started  # noqa: F841, where the plugin keeps them
        raise error

    return engine, launch, started


def ran_whole(engine, launch):
    with launchers.running(engine, 2) as cells:
        launch()
    return cells.whole


def test_when_one_cell_dies_the_others_are_waited_for(capsys):
    error = LostError("Job 700 has not\nproduced any output\n----------\nits log")
    engine, launch, started = run_until(error, "LocalLauncher")
    assert ran_whole(engine, launch) is False
    assert [job.told for job in started] == [["wait"], ["wait"]]
    said = capsys.readouterr().err
    assert said == (
        "A cell ended without a result: Job 700 has not produced any output. The same command runs it.\n"
    )


def test_ctrl_c_ends_jobs_of_this_machine_and_names_those_in_the_queue(capsys):
    engine, launch, started = run_until(KeyboardInterrupt(), "LocalLauncher")
    with pytest.raises(KeyboardInterrupt):
        ran_whole(engine, launch)
    assert [job.told for job in started] == [["cancel"], ["cancel"]]
    engine, launch, started = run_until(KeyboardInterrupt(), "SlurmLauncher")
    with pytest.raises(KeyboardInterrupt):
        ran_whole(engine, launch)
    assert [job.told for job in started] == [[], []]
    assert capsys.readouterr().err == "The jobs stay in the queue. To end them: scancel 700\n"


def test_an_error_of_our_own_is_not_taken_for_one_of_an_engine():
    engine, launch, _ = run_until(ZeroDivisionError(), "SlurmLauncher")
    with pytest.raises(ZeroDivisionError):
        ran_whole(engine, launch)


def test_numbers_of_threads_that_are_given_win_over_the_share(composed):
    device = composed("device.evaluation_threads=5").device
    assert device.interpreters(3) == 5
    device = composed().device
    assert device.interpreters() == processors()
    assert device.interpreters(3) == 3


def test_lines_that_cells_share_are_whole_and_named():
    below = io.StringIO()
    stream = Labelled(below, "seed=1")
    stream.write("Epoch ")
    assert below.getvalue() == ""
    stream.write("1\n\nEpoch 2\nEp")
    assert below.getvalue() == "seed=1 | Epoch 1\nseed=1 |\nseed=1 | Epoch 2\n"
    assert not stream.isatty()


@pytest.mark.parametrize(
    ("points", "best"),
    [
        ([(0.9, 100)], [0]),
        ([(0.9, 100), (0.9, 100)], [0, 1]),
        ([(0.9, 100), (0.95, 100)], [1]),
        ([(0.9, 100), (0.9, 99)], [1]),
        ([(0.9, 100), (0.95, 200), (0.92, 300)], [1, 0]),
        ([], []),
    ],
)
def test_the_best_cells_are_those_that_no_other_beats(points, best):
    assert objectives.best(points, ["validation_accuracy", "gzip_bytes"]) == best


def test_objectives_are_read_off_a_result_in_their_order():
    found = made_up(exported(gzip_bytes=30))
    found["pruned"] |= {"validation_accuracy": 0.9, "measured_sparsity": 0.7, "compression_ratio": 6.0}
    names = ["gzip_bytes", "sparsity", "bytes", "compression_ratio", "validation_accuracy"]
    assert objectives.values(typed(found), names) == [30, 0.7, 80_000, 6.0, 0.9]
    assert objectives.directions(names) == ["minimize", "maximize", "minimize", "maximize", "maximize"]
    with pytest.raises(ConfigError, match="nothing is chosen by the test part"):
        objectives.check(["test_accuracy"])
