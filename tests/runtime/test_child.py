"""Functions in a process of their own: what they yield, how they crash, what they leave."""

import atexit
import ctypes
import gc
import os
import pickle
import signal
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from pruneflow.runtime import child, memory


@pytest.fixture(autouse=True)
def _children():
    """Children that load what they need, as they do outside tests."""


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
    from pruneflow.runtime.surroundings import is_own

    yield is_own()


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
    outcome = child.values_of(counting, *ends)
    assert outcome.values[0] != os.getpid()
    assert (outcome.values[-1], outcome.crash, outcome.killed) == expected
    assert capfd.readouterr() == ("", "")
    assert [str(path.relative_to(here)) for path in here.rglob("*")] == ["temporary"]


def test_a_child_loads_before_it_is_asked_and_at_a_low_priority(here):
    with child.waiting(partial(loading, str(here / "who"))) as waits:
        pid = read_when_there(here / "who")
        assert os.getpriority(os.PRIO_PROCESS, pid) == min(
            19, os.getpriority(os.PRIO_PROCESS, 0) + child.NICE
        )
        assert waits.ask(counting).values == [pid, "-1", "done"]
    assert {str(path.relative_to(here)) for path in here.rglob("*")} == {"temporary", "who"}


def test_a_child_that_nobody_asks_ends_with_the_block(here):
    with child.waiting(partial(loading, str(here / "who"), 600)):
        pid = read_when_there(here / "who")
    assert not alive(pid)
    assert {str(path.relative_to(here)) for path in here.rglob("*")} == {"temporary", "who"}


def test_a_child_that_cannot_load_or_start_answers_as_one_that_has_not(here, monkeypatch):
    with child.waiting(raising) as waits:
        assert waits.ask(whose).values == [True]
    with child.waiting(lambda: None) as waits:  # which pickle cannot carry
        assert waits.ask(whose).values == [True]
    monkeypatch.setattr(sys, "executable", "")
    with child.waiting(raising) as waits:
        assert waits.ask(whose) == child.Outcome([], 1)


def loading(file, seconds=0):
    """Says in ``file`` who it is, and works on."""
    Path(f"{file}.part").write_text(str(os.getpid()))
    Path(f"{file}.part").rename(file)
    time.sleep(seconds)


def read_when_there(file):
    deadline = time.monotonic() + 60
    while not file.exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return int(file.read_text())


def test_garbage_is_not_collected_while_a_child_ends(tmp_path):
    assert child.values_of(leaving, str(tmp_path / "count")).status == 0
    assert int((tmp_path / "count").read_text()) > 1000


def leaving(file):
    """Says in ``file``, as Python ends, how many objects are kept from the garbage collector."""
    atexit.register(lambda: Path(file).write_text(str(gc.get_freeze_count())))
    yield


def test_the_process_is_its_own():
    assert child.values_of(whose).values == [True]


def test_what_cannot_travel_is_an_exception_of_the_function(monkeypatch):
    assert child.values_of(counting, lambda: None) == child.Outcome([], 1)
    assert child.values_of(unpicklable) == child.Outcome([1], 1)
    monkeypatch.setattr(sys, "executable", "")
    assert child.values_of(counting) == child.Outcome([], 1)


def test_values_arrive_whole_and_a_cut_one_waits_for_the_rest(tmp_path):
    value, seen = "a long enough word", []
    whole = pickle.dumps(value)
    with (tmp_path / "said").open("wb") as said, (tmp_path / "said").open("rb") as heard:
        answers = child._Answers(heard, 60, seen.append)
        said.write(whole + whole[:-5])
        said.flush()
        answers.collect()
        assert answers.values == seen == [value]
        said.write(whole[-5:])
        said.flush()
        answers.collect()
        assert answers.values == seen == [value, value]


def test_what_says_nothing_for_too_long_is_ended(here):
    outcome = child.values_of(waiting, str(here / "who"), silent_s=1)
    assert (outcome.values, outcome.silent_s) == ([], 1)
    assert outcome.problem == "its process was ended, since it gave no answer in 1 seconds"
    assert not (here / "who").exists() or not alive(int((here / "who").read_text()))


def test_each_value_gives_as_much_time_again(tmp_path):
    with (tmp_path / "said").open("wb") as said, (tmp_path / "said").open("rb") as heard:
        answers = child._Answers(heard, 2 * child.POLL_S, lambda value: None)
        late = []
        for value in ("", "", "word", "", "", ""):
            said.write(pickle.dumps(value) if value else b"")
            said.flush()
            answers.collect()
            late.append(answers.late)
    assert late == [False, False, False, False, False, True]


def test_a_folder_can_be_prepared_and_values_are_watched(here):
    seen = []
    outcome = child.values_of(
        reading, prepare=lambda folder: (folder / "given").write_text("word"), watch=seen.append
    )
    assert outcome.values == seen == ["word"]
    assert [str(path.relative_to(here)) for path in here.rglob("*")] == ["temporary"]


def reading():
    yield Path(tempfile.gettempdir(), "given").read_text()


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere memory has no limit that can be set")
def test_more_memory_than_there_is_is_refused_rather_than_taken():
    (said, problem) = child.values_of(greedy).values
    assert (said, problem) == ("1000", "MemoryError")


def greedy():
    memory.hold()
    yield Path("/proc/self/oom_score_adj").read_text().strip()
    there_is = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    try:
        yield np.empty(there_is, np.uint8).shape  # of which nothing is touched
    except MemoryError as error:
        yield type(error).__name__


def test_modules_are_found_where_the_parent_finds_them(tmp_path, monkeypatch):
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "found_in_deep.py").write_text("def word():\n    yield 'found'\n")
    monkeypatch.syspath_prepend(str(tmp_path / "deep"))
    import found_in_deep

    try:
        assert child.values_of(found_in_deep.word).values == ["found"]
    finally:
        del sys.modules["found_in_deep"]


@pytest.mark.parametrize(
    ("outcome", "problem"),
    [
        (child.Outcome([], 0, log="a warning"), ""),
        (child.Outcome([], 1, log="ValueError: wrong"), "its process failed (ValueError: wrong)"),
        (child.Outcome([], -11), "its process crashed with signal 11, SIGSEGV"),
        (child.Outcome([], -6, log="why"), "its process crashed with signal 6, SIGABRT (why)"),
        (child.Outcome([], -9), "its process was killed (signal 9, SIGKILL); is memory short?"),
        (child.Outcome([], -9, silent_s=60), "its process was ended, since it gave no answer in 60 seconds"),
    ],
)
def test_an_early_end_is_said_in_words(outcome, problem):
    assert outcome.problem == problem


def test_the_last_words_of_a_child_are_kept(tmp_path):
    with (tmp_path / "log").open("w+b") as log:
        log.write(b"x" * 9000 + b"\nlast words\n\nINFO: Created TensorFlow Lite delegate.\n")
        assert child._last_line(log) == "last words"


def test_other_exit_statuses_are_crashes_too():
    assert child.Outcome([], 3).crash == "exit status 3"
    assert child.Outcome([], -60).crash == "signal 60"
    assert not child.Outcome([], 3).killed


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
import signal, sys, time
from functools import partial
import test_child
from pruneflow.runtime import child, memory
from pruneflow.runtime.signals import undisturbed
signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
if sys.argv[1] == "loading":
    with child.waiting(partial(test_child.loading, "who")):
        time.sleep(600)
with undisturbed():
    child.values_of(getattr(test_child, sys.argv[1]), "who")
"""


@pytest.mark.parametrize(
    ("sent", "work", "status"),
    [
        (signal.SIGINT, "stuck", -2),
        (signal.SIGTERM, "stuck", 143),
        (signal.SIGKILL, "waiting", -9),
        (signal.SIGINT, "loading", -2),
        (signal.SIGKILL, "loading", -9),
    ],
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
    pid = int((tmp_path / "who").read_text())
    while alive(pid) or list(tmp_path.glob("pruneflow-*")):
        assert time.monotonic() < deadline
        time.sleep(0.02)
