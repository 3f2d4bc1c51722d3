"""The process of a command: signals end it once, and its temporary files go with it, however it ends."""

import signal
import subprocess
import sys

import pytest

HUP, INT, KILL, TERM = signal.SIGHUP, signal.SIGINT, signal.SIGKILL, signal.SIGTERM

CODE = """
import os, signal, sys, tempfile, time
from pruneflow.runtime.process import own_temporary_folder, run_command

def work():
    own_temporary_folder()
    tempfile.NamedTemporaryFile(delete=False).close()
    try:
        os.kill(os.getpid(), int(sys.argv[1]))
        return 7
    finally:
        for number in sys.argv[2:]:
            os.kill(os.getpid(), int(number))
            time.sleep(0.01)
        print("unwound", flush=True)

run_command(work)
"""


def ended(*sent, ignored=None):
    """Exit status and output of a process that is sent a signal, and others while that unwinds it."""
    line = [sys.executable, "-c", CODE, *(str(int(number)) for number in sent)]

    def ignore():
        if ignored:
            signal.signal(ignored, signal.SIG_IGN)

    done = subprocess.run(line, capture_output=True, text=True, check=False, preexec_fn=ignore)
    return done.returncode, done.stdout + done.stderr


@pytest.fixture(autouse=True)
def temporary(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize(
    ("sent", "code", "word"),
    [
        ([INT, INT, INT], 130, "Interrupted."),
        ([TERM, TERM], 143, "Terminated."),
        ([TERM, INT, HUP], 143, "Terminated."),
        ([HUP, TERM], 129, "Hung up."),
    ],
)
def test_the_first_signal_unwinds_a_command_and_others_change_nothing(sent, code, word, temporary):
    assert ended(*sent) == (code, f"unwound\n{word}\n")
    assert list(temporary.iterdir()) == []


@pytest.mark.parametrize("ignored", [HUP, INT])
def test_a_signal_that_is_ignored_as_under_nohup_stays_so(ignored, temporary):
    assert ended(ignored, ignored=ignored) == (7, "unwound\n")
    assert list(temporary.iterdir()) == []


def test_temporary_files_of_a_killed_process_go_with_the_next_start_and_nothing_else(temporary):
    assert ended(KILL)[0] == -KILL
    (left,) = temporary.iterdir()
    assert len(list(left.iterdir())) == 2
    for name in ("pruneflow-1-mine_own", "pruneflow-mine", f"{left.name}-2"):
        (temporary / name).mkdir()
        (temporary / name / ("owned" if name != "pruneflow-1-mine_own" else "mine")).touch()
    (temporary / "pruneflow-1-link_own").symlink_to(temporary / "pruneflow-mine")
    before = set(temporary.rglob("*"))
    assert ended(TERM)[0] == 143
    assert set(temporary.rglob("*")) == {path for path in before if not path.is_relative_to(left)}


def test_temporary_files_of_a_process_that_lives_stay(temporary):
    code = CODE.replace("return 7", "print(flush=True); sys.stdin.read()")
    line = [sys.executable, "-c", code, "0"]
    with subprocess.Popen(line, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as owner:
        owner.stdout.readline()
        before = set(temporary.rglob("*"))
        assert ended(TERM)[0] == 143
        assert set(temporary.rglob("*")) == before and len(before) == 3


@pytest.mark.run
def test_a_process_that_is_not_ours_keeps_its_temporary_folder(temporary):
    code = (
        "import tempfile; from pruneflow.runtime import backend; "
        "backend.tensorflow(); print(tempfile.gettempdir())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == str(temporary)
    assert list(temporary.iterdir()) == []
