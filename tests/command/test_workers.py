"""One training in two processes, on the loopback address."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import forked
import pytest
from conftest import QUICK
from test_cli import exit_code

import pruneflow
from pruneflow import sensitivity
from pruneflow.command import cli
from pruneflow.errors import ConfigError

LOST = (
    "device.strategy=multi_worker: another worker has ended, or cannot be reached. Type the same command on "
    "all of them: it goes on from the last checkpoint."
)
INTERRUPTED = f"Interrupted. {cli.GOES_ON}"
FOLLOWS = "Follows    the chief, which alone writes\n"


CODE = f"import runpy; runpy.run_path({str(Path(__file__).parent / 'worker.py')!r}, run_name='__main__')"


def chief_ended(code):
    return f"The chief ended with exit code {code}, and says why."


class Workers:
    """The same command in two workers, each in a folder of its own."""

    def __init__(self, folder, *overrides, own=((), ()), failing=None):
        """Start both; the worker whose place is ``failing`` fails alone, before its first training."""
        self.folders = [folder / "chief", folder / "other"]
        with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as other:
            addresses = [f"127.0.0.1:{each.getsockname()[1]}" for each in (one, other)]
        self.failing = failing
        self.processes = [self._started(addresses, index, [*overrides, *own[index]]) for index in range(2)]

    def _started(self, addresses, index, overrides):
        self.folders[index].mkdir(parents=True, exist_ok=True)
        line = [sys.executable, "-c", CODE, f"../notes-{index}.txt"]
        line += [*QUICK, "device.strategy=multi_worker", "hydra.run.dir=run", "stages.dir=stages", *overrides]
        task = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}}
        return forked.Command(
            line,
            cwd=self.folders[index],
            env={
                **os.environ,
                "TF_CONFIG": json.dumps(task),
                "PYTHONUNBUFFERED": "1",
                "FAILS": "before training" if index == self.failing else "",
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def notes(self, index):
        return (self.folders[index].parent / f"notes-{index}.txt").read_text().splitlines()

    def wait_for_updates(self, count):
        file = self.folders[0].parent / "notes-0.txt"
        while not file.exists() or len(file.read_text().splitlines()) < count:
            assert self.processes[0].poll() is None, self.processes[0].communicate()
            time.sleep(0.05)

    def ended(self):
        """Exit code, standard output and standard error of each."""
        shown = [each.communicate(timeout=600) for each in self.processes]
        return [(each.returncode, *words) for each, words in zip(self.processes, shown, strict=True)]


@pytest.fixture(scope="module")
def whole(tmp_path_factory, tiny_data):
    """A run that nothing stopped."""
    folder = tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PRUNEFLOW_DATA_DIR", str(tiny_data))
        workers = Workers(folder)
        return workers, workers.ended()


@pytest.mark.run
def test_two_workers_train_one_network_under_equal_masks_and_the_chief_alone_writes(whole):
    workers, ((code, shown, error), other) = whole
    assert code == 0, error
    assert other == (0, FOLLOWS, "")
    assert "multi_worker on 2 replicas" in shown
    assert len(workers.notes(0)) == 14
    assert workers.notes(0) == workers.notes(1)
    figures = (workers.folders[0].parent / "notes-0.figures").read_text().splitlines()
    assert len(figures) == 3
    assert all(shown == of_epoch for shown, of_epoch in map(str.split, figures))  # not a sum over replicas
    assert list(workers.folders[1].iterdir()) == []
    result = json.loads((workers.folders[0] / "run" / "result.json").read_text())
    assert {key: result["device"][key] for key in ("strategy", "replicas", "workers")} == {
        "strategy": "multi_worker",
        "replicas": 2,
        "workers": 2,
    }


REFUSED = {  # TF_CONFIG, and the answer
    "{bad": "TF_CONFIG={bad: it is no JSON (Expecting property name",
    "one worker": "device.strategy=multi_worker: 127.0.0.1:9 (worker 1) did not come within",
}


@pytest.mark.parametrize("said", REFUSED)
def test_workers_that_cannot_meet_are_answered_before_anything_is_written(
    said, capsys, monkeypatch, tmp_path
):
    cluster = {"worker": [f"127.0.0.1:{free_port()}", "127.0.0.1:9"]}
    alone = json.dumps({"cluster": cluster, "task": {"type": "worker", "index": 0}})
    monkeypatch.setenv("TF_CONFIG", alone if said == "one worker" else said)
    words = ["device.strategy=multi_worker", "device.worker_wait_seconds=0.1"]
    assert exit_code([*QUICK, *words]) == 2
    assert capsys.readouterr().err.startswith(REFUSED[said])
    assert list(tmp_path.iterdir()) == []


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as free:
        return free.getsockname()[1]


def test_one_process_takes_no_workers(capsys, tmp_path):
    with pytest.raises(ConfigError, match="multi_worker: workers are processes of the command line"):
        pruneflow.run(["device.strategy=multi_worker"])
    assert sensitivity.main(["device.strategy=multi_worker"]) == 2
    answer = "device.strategy=multi_worker: a scan is made by one process. Leave it out, or take mirrored.\n"
    assert capsys.readouterr().err == answer
    assert list(tmp_path.iterdir()) == []


@pytest.mark.long
@pytest.mark.parametrize("killed", [0, 1])
def test_a_worker_that_dies_ends_the_run_and_the_same_command_goes_on_to_the_same_bits(
    killed, whole, tmp_path
):
    often = "stages.checkpoint_seconds=0"
    workers = Workers(tmp_path, often)
    workers.wait_for_updates(6)
    workers.processes[killed].kill()
    code, _, error = workers.ended()[1 - killed]
    assert (code, error.strip()) == (1, LOST)
    (chief, shown, error), other = Workers(tmp_path, often).ended()
    assert chief == 0, error
    assert other == (0, FOLLOWS, "")
    assert "Resumes    pruned training" in shown
    before, after = (folder / "run" / "pruned.h5" for folder in (whole[0].folders[0], workers.folders[0]))
    assert before.read_bytes() == after.read_bytes()


@pytest.mark.long
@pytest.mark.parametrize("asked", [0, 1])
def test_ctrl_c_in_one_worker_ends_all_of_them(asked, tmp_path):
    workers = Workers(tmp_path)
    workers.wait_for_updates(6)
    workers.processes[asked].send_signal(signal.SIGINT)
    for code, _, error in workers.ended():
        assert (code, error.strip()) == (130, INTERRUPTED)


@pytest.mark.long
def test_the_others_end_with_the_code_of_the_chief(tmp_path):
    """Which alone knows it: no network is worth keeping that is pruned to guessing."""
    workers = Workers(tmp_path, "schedule.final_sparsity=0.999", "trainer.epochs=1")
    (code, _, error), other = workers.ended()
    assert code == 3, error
    assert other == (3, FOLLOWS, chief_ended(3) + "\n")


@pytest.mark.long
def test_a_worker_with_other_settings_is_told_so(tmp_path):
    chief, other = Workers(tmp_path, own=(["seed=1"], ["seed=2"])).ended()
    assert other[0] == 1
    assert other[2].startswith("This worker has other settings or data than the chief.")
    assert (chief[0], chief[2].strip()) == (1, LOST)


@pytest.mark.long
@pytest.mark.parametrize("failing", [0, 1])
def test_a_worker_that_fails_alone_before_training_ends_all_of_them(failing, tmp_path):
    """The other one waits for it in the training by then."""
    outcomes = Workers(tmp_path, failing=failing).ended()
    code, _, error = outcomes[failing]
    assert (code, error.strip()) == (1, "no space for this training")
    code, _, error = outcomes[1 - failing]
    assert (code, error.strip()) == (1, LOST if failing else chief_ended(1))
