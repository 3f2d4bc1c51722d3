"""What a run does when the machine, the clock or the user interferes."""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import forked
import numpy as np
import pytest
from conftest import QUICK
from support import ROOT
from test_cli import exit_code

from pruneflow.command import folders
from pruneflow.errors import PruneflowError
from pruneflow.flow import results
from pruneflow.report import page

DOCUMENTED = (ROOT / "docs" / "bad_input.md").read_text()
HALF_WRITTEN = re.compile(r"^\..*\.(json|tflite|h5|csv)\.")


def documented(what):
    """The answer to ``what`` in docs/bad_input.md, as a pattern, and the exit code."""
    (row,) = re.findall(rf"^\| {re.escape(what)} \| (.+) \| (\d+) \|$", DOCUMENTED, flags=re.M)
    parts = [re.escape(part.strip()) for part in row[0].replace("FILE", "...").split("...")]
    return r"\s*.*?".join(parts), int(row[1])


def leftovers(folder):
    return [path for path in folder.rglob("*") if HALF_WRITTEN.match(path.name)]


@contextlib.contextmanager
def small_disk(folder, size):
    """A real file system of ``size``."""
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("mounting a small file system is not allowed here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


# Sizes at which the disk fills up while events, a TFLite file, an .h5 file and result.json are written.
@pytest.mark.long
@pytest.mark.parametrize("size", ["16k", "24k", "120k", "300k", "372k"])
def test_a_full_disk_gets_one_message_and_leaves_nothing_half_written(tmp_path, size, capfd, trained_before):
    if size != "16k":  # which training fills up
        trained_before("dense", "pruned")
    with small_disk(tmp_path / "small", size) as disk:
        kept = disk / "kept"
        kept.write_bytes(b"was there before")
        assert exit_code([*QUICK, f"hydra.run.dir={disk / 'run'}"]) == 1
        message = capfd.readouterr().err
        assert re.match(r"(\S+|the run folder) cannot be written: No space left on device\.", message), (
            message
        )
        assert "Traceback" not in message
        assert leftovers(disk) == []
        assert not (disk / "run" / "result.json").exists()
        assert kept.read_bytes() == b"was there before"


@pytest.mark.long
def test_the_same_run_fits_on_a_larger_disk(tmp_path, shared_stages):
    with small_disk(tmp_path / "small", "600k") as disk:
        assert exit_code([*QUICK, shared_stages, f"hydra.run.dir={disk / 'run'}"]) == 0
        assert (disk / "run" / "result.json").exists()


@contextlib.contextmanager
def disk_that_fills_at(*ends, for_good=True):
    """A disk that is full from the moment at which a file whose path ends so is to be written."""
    replace, full = Path.replace, []

    def place(self, target):
        if str(target).endswith(ends) or (full and for_good):
            full.append(target)
            raise OSError(28, "No space left on device")
        return replace(self, target)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Path, "replace", place)
        yield
    assert full


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """A store that fills: what one test has trained, the others take."""
    return f"stages.dir={tmp_path_factory.mktemp('store')}"


@pytest.mark.long
@pytest.mark.parametrize("ends", ["result.json", "tfevents.final", "report.html"])
def test_a_disk_that_fills_at_any_file_fails_the_run_and_the_same_command_goes_on(
    store, ends, monkeypatch, capsys
):
    monkeypatch.setattr(page, "svg", lambda picture: b"")  # drawing takes long
    monkeypatch.setattr(page, "png", lambda picture: b"")
    line = [*QUICK, store, f"report={'report' in ends}", "hydra.run.dir=run"]
    with disk_that_fills_at(ends):
        assert exit_code(line) == 1
    shown = capsys.readouterr()
    assert re.fullmatch(r".*cannot be written: No space left on device\..*\n", shown.err)
    assert "done " not in shown.out and not Path("run/failure.json").exists()
    assert exit_code(line) == 0
    assert list(Path("run").rglob(f"*{ends}")) and list(Path("run").glob(".*")) == [Path("run/.hydra")]
    assert "done " in capsys.readouterr().out


@pytest.mark.long
def test_a_disk_that_fills_after_a_result_fails_the_cell_and_the_same_sweep_goes_on(store, capsys):
    line = [*QUICK, store, "-m", "seed=0,1", "hydra.sweep.dir=grid"]
    with disk_that_fills_at("seed-0/float/events.out.tfevents.final", "failure.json", for_good=False):
        assert exit_code(line) == 1
    assert capsys.readouterr().err.count("No space left on device") == 1
    assert Path("grid/seed-0/result.json").exists()
    assert Path("grid/sweep.csv").read_text().count(",done,") == 1
    assert exit_code(line) == 0
    assert Path("grid/sweep.csv").read_text().count(",done,") == 2


@pytest.mark.long
def test_diverging_training_is_answered_as_documented(capsys):
    answer, code = documented("training diverges")
    assert exit_code([*QUICK, "trainer.optimizer=sgd", "trainer.dense_learning_rate=1e30"]) == code
    assert re.match(answer, capsys.readouterr().err)


@pytest.mark.long
def test_a_missed_sparsity_is_answered_as_documented(capsys, monkeypatch, trained_before):
    from pruneflow.sparsity.masked import Masked

    trained_before("dense")
    monkeypatch.setattr(Masked, "update", lambda *_: None)
    answer, code = documented("the pruned weights miss the requested sparsity")
    assert exit_code(QUICK) == code
    assert re.match(answer, capsys.readouterr().err)


@pytest.mark.long
def test_memory_that_runs_out_is_answered_as_documented(capsys, monkeypatch):
    from pruneflow.training.fit import Fit

    def exhausted(*_, **__):
        raise MemoryError

    monkeypatch.setattr(Fit, "run", exhausted)
    answer, code = documented("memory runs out")
    assert exit_code(QUICK) == code
    assert re.match(answer, capsys.readouterr().err)


@pytest.mark.long
@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_during_a_download_ends_the_run_cleanly_and_the_next_one_resumes(tmp_path, sent):
    from data_fixtures import mnist_arrays, saved, serving, sha256

    arrays = mnist_arrays() | {
        "x_train": np.zeros((6000, 28, 28), np.uint8)
    }  # several pieces of the download
    arrays["y_train"] = np.tile(arrays["y_test"], 600)
    content = saved(tmp_path / "served.npz", arrays).read_bytes()
    code = (
        "import sys; from pruneflow.datasets.reading import mnist\n"
        "from pruneflow.datasets.reading.fetch import RemoteFile\n"
        f"mnist.KERAS = RemoteFile(sys.argv.pop(1), {sha256(content)!r})\n"
        "from pruneflow.__main__ import main; main()"
    )
    with serving() as server:
        server.content, server.sent, server.hold = content, len(content) // 2, True
        server.headers = {"ETag": '"1"'}
        line = [sys.executable, "-c", code, server.url, "dataset.cache_dir=cache", *QUICK]
        process = forked.Command(line, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        deadline = time.monotonic() + 60
        while not list(tmp_path.glob("cache/.*/*")) and time.monotonic() < deadline:
            time.sleep(0.05)
        time.sleep(0.5)
        process.send_signal(sent)
        _, errors = process.communicate(timeout=60)
        what = {signal.SIGINT: "Ctrl-C, in any phase", signal.SIGTERM: "SIGTERM, in any phase"}[sent]
        answer, exit_status = documented(what)
        assert (process.returncode, bool(re.fullmatch(answer, errors.strip()))) == (exit_status, True), errors
        assert not (tmp_path / "cache" / "mnist.npz").exists()
        server.hold, server.sent = False, None
        # Refused after the data are loaded.
        forked.run([*line, "schedule.end_step=100000"])
        assert re.fullmatch(r"bytes=[1-9]\d*-", server.asked[-1][0])
    assert (tmp_path / "cache" / "mnist.npz").exists()
    assert not (tmp_path / "outputs").exists()


# Each signal while modules are loaded, and later one of them in each phase; in the dense phase, test_cli.py.
PHASES = {
    "pruned": "Training, pruned, epoch 1/",
    "export": "Training, pruned, epoch 2/",
    "evaluate": "Exporting ",
}


@pytest.mark.long
@pytest.mark.parametrize(
    ("phase", "sent"),
    [
        ("loading", signal.SIGINT),
        ("loading", signal.SIGTERM),
        ("pruned", signal.SIGTERM),
        ("export", signal.SIGINT),
        ("evaluate", signal.SIGTERM),
    ],
)
def test_a_signal_in_any_phase_ends_the_run_cleanly(tmp_path, tiny_data, phase, sent):
    log, temporary = tmp_path / "log", tmp_path / "temporary"
    temporary.mkdir()
    line = [sys.executable, "-u", "-m", "pruneflow", *QUICK, "export=int8", "trainer.dense_epochs=2"]
    started = subprocess.Popen if phase == "loading" else forked.Command  # one that loads its modules itself
    environment = {**os.environ, "TMPDIR": str(temporary)}
    with log.open("w") as out:
        process = started(line, stdout=out, stderr=subprocess.PIPE, text=True, env=environment)
        if phase == "loading":  # it makes its temporary folder just before TensorFlow is imported
            wait_for(lambda: list(temporary.glob("pruneflow-*")), process)
        else:
            wait_for(lambda: PHASES[phase] in log.read_text(), process)
        process.send_signal(sent)
        _, errors = process.communicate(timeout=60)
    if process.returncode == 0:
        pytest.skip("the run was over before the signal came")
    what = {signal.SIGINT: "Ctrl-C, in any phase", signal.SIGTERM: "SIGTERM, in any phase"}[sent]
    answer, code = documented(what)
    assert process.returncode == code
    assert re.fullmatch(answer, errors.strip()) or phase == "loading"
    assert "Traceback" not in errors
    assert not list(tmp_path.rglob("result.json"))
    assert leftovers(tmp_path) == []


def wait_for(condition, process):
    deadline = time.monotonic() + 120
    while not condition() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)


def test_two_runs_in_the_same_instant_get_folders_of_their_own(tmp_path):
    wanted = tmp_path / "12-00-00-000000"
    assert folders.unused(wanted) == wanted
    wanted.mkdir()
    assert folders.unused(wanted) == tmp_path / "12-00-00-000000-2"
    (tmp_path / "12-00-00-000000-2").mkdir()
    assert folders.unused(wanted) == tmp_path / "12-00-00-000000-3"


@pytest.mark.long
def test_a_clock_that_jumps_back_overwrites_nothing_and_measures_no_negative_time(tmp_path, monkeypatch):
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() - 3600 * (real() % 1 > 0.5))
    for _ in range(2):
        assert exit_code([*QUICK, "experiment=smoke", "dataset.limit=200"]) == 0
    written = [json.loads(file.read_text()) for file in tmp_path.rglob("result.json")]
    assert len(written) == 2
    for result in written:
        assert min(phase["seconds"] for phase in result["phases"].values()) > 0


@pytest.mark.long
def test_a_folder_with_results_is_refused_and_kept(tmp_path, capsys):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "result.json").write_text("precious")
    answer, code = documented("a folder that holds a run is named for another")
    assert exit_code([*QUICK, "hydra.run.dir=run"]) == code
    assert re.match(answer, capsys.readouterr().err)
    (tmp_path / "sweep" / "seed-1").mkdir(parents=True)
    (tmp_path / "sweep" / "seed-1" / "result.json").write_text("precious")
    assert exit_code([*QUICK, "-m", "seed=1,2", "hydra.sweep.dir=sweep"]) == 2
    assert (tmp_path / "run" / "result.json").read_text() == "precious"


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"format": 0}', '{"format": 99}'])
def test_a_result_of_another_version_is_named_not_misread(tmp_path, text):
    (tmp_path / "result.json").write_text(text)
    with pytest.raises(PruneflowError, match=r"result\.json (is not a result|has format)"):
        results.read(tmp_path)


@pytest.mark.long
def test_an_outputs_folder_of_an_older_version_is_left_alone(tmp_path, shared_stages):
    old = tmp_path / "outputs" / "2020-01-01" / "00-00-00"
    old.mkdir(parents=True)
    (old / "result.json").write_text('{"format": 0}')
    assert exit_code([*QUICK, shared_stages]) == 0
    assert (old / "result.json").read_text() == '{"format": 0}'


def test_interrupting_the_loading_of_modules_shows_no_traceback(tmp_path):
    code = "import os, signal, sys; sys.argv = ['pruneflow', '--help']\n" + (
        "class Stop:\n"
        "    def find_spec(self, name, *_):\n"
        "        if name == 'hydra': os.kill(os.getpid(), signal.SIGINT)\n"
        "sys.meta_path.insert(0, Stop())\n"
        "from pruneflow.__main__ import main; main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=os.environ, check=False
    )
    assert done.returncode == 130
    assert done.stderr == "Interrupted before anything was started.\n"


def test_a_signal_that_is_ignored_stays_so_and_hides_no_other_one():
    """As SIGHUP is under nohup."""
    from pruneflow.runtime.signals import held, let_through, postponed, undisturbed

    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with pytest.raises(KeyboardInterrupt), undisturbed():
            signal.raise_signal(signal.SIGHUP)
            signal.raise_signal(signal.SIGINT)
            let_through()
        with postponed():
            signal.raise_signal(signal.SIGHUP)
            assert held() == 0
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_waits_until_an_extension_has_started(sent):
    from pruneflow.runtime.signals import let_through, undisturbed

    class Stop(BaseException):
        pass

    def stop(*_):
        raise Stop

    before, seen = signal.signal(sent, stop), []
    try:
        with pytest.raises(Stop), undisturbed(), undisturbed():
            signal.raise_signal(sent)
            seen.append("the block went on")
        assert seen == ["the block went on"]
        with pytest.raises(Stop), undisturbed():
            let_through()
            signal.raise_signal(sent)
            let_through()
            seen.append("never")
        assert seen == ["the block went on"]
        assert signal.getsignal(sent) is stop
    finally:
        signal.signal(sent, before)
