"""Functions in a process of their own: what they yield, how they crash, what they leave."""

import ctypes
import os
import pickle
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from pruneflow import apart


def counting(*ends):
    """Yields where it is and a number, prints, writes a temporary file, then does what ``ends`` says."""
    print("printed", flush=True)
    os.write(2, b"logged")
    tempfile.mkdtemp()
    Path(tempfile.mkdtemp(), "file").write_text("half")
    yield os.getpid()
    yield os.environ["CUDA_VISIBLE_DEVICES"]
    for end in ends:
        end()
    yield "done"


def raising():
    raise ValueError("wrong")


def killed():
    os.kill(os.getpid(), signal.SIGKILL)


def unpicklable():
    yield 1
    yield lambda: None


def whose():
    from pruneflow import backend

    yield backend._process_is_ours


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder of its own for temporary files."""
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    monkeypatch.setenv("TMPDIR", tempfile.tempdir)  # where a child's go unless it is told another
    return tmp_path


@pytest.mark.parametrize(
    ("ends", "expected"),
    [
        ([], ("done", "", False)),
        ([raising], ("-1", "", False)),
        ([os.abort], ("-1", "signal 6, SIGABRT", False)),
        ([killed], ("-1", "signal 9, SIGKILL", True)),
    ],
    ids=["ends", "raises", "aborts", "killed"],
)
def test_what_a_function_yields_arrives_and_a_crash_is_its_own(here, capfd, ends, expected):
    outcome = apart.values_of(counting, *ends)
    assert outcome.values[0] != os.getpid()
    assert (outcome.values[-1], outcome.crash, outcome.killed) == expected
    assert capfd.readouterr() == ("", "")
    assert [str(path.relative_to(here)) for path in here.rglob("*")] == ["temporary"]


def test_the_process_is_its_own():
    assert apart.values_of(whose).values == [True]


def test_what_cannot_travel_is_an_exception_of_the_function(monkeypatch):
    assert apart.values_of(counting, lambda: None) == apart.Outcome([], 1)
    assert apart.values_of(unpicklable) == apart.Outcome([1], 1)
    monkeypatch.setattr(sys, "executable", "")
    assert apart.values_of(counting) == apart.Outcome([], 1)


def test_an_answer_that_a_crash_cut_short_does_not_count(tmp_path):
    whole = pickle.dumps("a long enough word")
    with (tmp_path / "said").open("w+b") as said:
        said.write(whole + whole[:-5])
        assert list(apart._values(said)) == ["a long enough word"]


def test_modules_are_found_where_the_parent_finds_them(tmp_path, monkeypatch):
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "mine.py").write_text("def word():\n    yield 'found'\n")
    monkeypatch.syspath_prepend(str(tmp_path / "deep"))
    import mine

    try:
        assert apart.values_of(mine.word).values == ["found"]
    finally:
        del sys.modules["mine"]


def test_other_exit_statuses_are_crashes_too():
    assert apart.Outcome([], 3).crash == "exit status 3"
    assert apart.Outcome([], -60).crash == "signal 60"
    assert not apart.Outcome([], 3).killed


def waiting(file):
    """Runs until it is ended, and says in ``file`` who it is."""
    Path(file).write_text(str(os.getpid()))
    time.sleep(600)
    yield


def stuck(file):
    """The same in C code that lets no other Python code run, as a converter may be."""
    Path(file).write_text(str(os.getpid()))
    ctypes.PyDLL(None).sleep(600)
    yield


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


CODE = """
import signal, sys
import test_apart
from pruneflow import apart
from pruneflow.signals import undisturbed
signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
with undisturbed():
    apart.values_of(getattr(test_apart, sys.argv[1]), "who")
"""


@pytest.mark.parametrize(
    ("sent", "work", "status"),
    [(signal.SIGINT, "stuck", -2), (signal.SIGTERM, "stuck", 143), (signal.SIGKILL, "waiting", -9)],
)
def test_it_ends_with_its_parent_and_leaves_nothing(tmp_path, sent, work, status):
    environment = {**os.environ, "TMPDIR": str(tmp_path), "PYTHONPATH": os.pathsep.join(sys.path)}
    parent = subprocess.Popen([sys.executable, "-c", CODE, work], env=environment, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while not (tmp_path / "who").exists() or not (tmp_path / "who").read_text():
        assert time.monotonic() < deadline and parent.poll() is None
        time.sleep(0.02)
    parent.send_signal(sent)
    try:
        assert parent.wait(30) == status
    finally:
        parent.kill()
    child = int((tmp_path / "who").read_text())
    while alive(child) or list(tmp_path.glob("pruneflow-*")):
        assert time.monotonic() < deadline
        time.sleep(0.02)
