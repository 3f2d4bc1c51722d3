"""Commands that are forked behave as those that Python starts."""

import os
import select
import signal
import subprocess
import sys

import forked
import pytest

SHOWN = """
import os, sys
print(sys.argv[1:], os.getcwd(), os.environ["MINE"], "tensorflow" in sys.modules, sys.stdin.read())
print("said", file=sys.stderr)
sys.exit(7)
"""


@pytest.mark.parametrize(("more", "loaded"), [({}, True), ({"TF_ENABLE_ONEDNN_OPTS": "0"}, False)])
def test_words_folder_environment_streams_and_exit_code_are_its_own(tmp_path, monkeypatch, more, loaded):
    """Where a variable differs that TensorFlow reads while it loads, the command loads it itself."""
    monkeypatch.setattr(forked, "LATE", {*forked.LATE, "MINE"})
    environment = {**os.environ, "MINE": "here", **more}
    line = [sys.executable, "-c", SHOWN, "a b", "c"]
    done = forked.run(line, cwd=tmp_path, env=environment, stdin=subprocess.DEVNULL)
    assert (done.returncode, done.stderr) == (7, "said\n")
    assert done.stdout == f"['a b', 'c'] {tmp_path} here {loaded} \n"


LOADED = "import os, sys; print('tensorflow' in sys.modules, os.getsid(0) == os.getpid())"


def test_what_is_no_command_of_this_python_or_asks_for_more_is_started_plainly():
    assert forked.run(["echo", "-m", "x"]).stdout == "-m x\n"
    line = [sys.executable, "-c", LOADED]
    assert forked.run(line).stdout == "True False\n"
    assert forked.run(line, start_new_session=True).stdout == "False True\n"
    assert forked.run(line, preexec_fn=os.setsid).stdout == "False True\n"


def test_variables_that_a_test_finds_are_those_that_were_there_when_tensorflow_was_loaded(monkeypatch):
    line = [sys.executable, "-c", LOADED]
    assert forked.run(line).stdout == "True False\n"
    monkeypatch.setitem(forked.surroundings, "TF_ENABLE_ONEDNN_OPTS", "0")
    assert forked.run(line, env=dict(forked.surroundings)).stdout == "False False\n"


def test_where_the_process_that_forks_was_killed_another_one_takes_its_place():
    """As where memory is short; only the command that it was about to fork fails."""
    line = [sys.executable, "-c", LOADED]
    first = forked.server()
    first.process.kill()
    first.process.wait()
    assert forked.run(line).stdout == "True False\n"
    assert forked.server() is not first


def test_what_is_written_unbuffered_arrives_before_its_line_ends():
    code = "import time; print('begun', end=''); time.sleep(600)"
    line = [sys.executable, "-u", "-c", code]
    with forked.Command(line, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        found, _, _ = select.select([process.stdout], [], [], 30)
        process.kill()
        assert found


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_signal_ends_it(sent):
    line = [sys.executable, "-u", "-c", "import time; print('begun'); time.sleep(600)"]
    with forked.Command(line, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout.readline() == "begun\n"
        assert process.poll() is None
        process.send_signal(sent)
        assert process.wait(timeout=60) == -sent


def test_an_exception_is_a_traceback_and_every_process_has_random_numbers_of_its_own():
    code = "import random, numpy; print(random.random(), numpy.random.random()); 1 / 0"
    both = [forked.run([sys.executable, "-c", code]) for _ in range(2)]
    assert [done.returncode for done in both] == [1, 1]
    assert all(done.stderr.endswith("ZeroDivisionError: division by zero\n") for done in both)
    assert len({number for done in both for number in done.stdout.split()}) == 4
