"""One training in two processes, on the loopback address."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import QUICK

from pruneflow.command import cli

LOST = (
    "device.strategy=multi_worker: another worker has ended, or cannot be reached. Type the same command on "
    "all of them: it goes on from the last checkpoint."
)
INTERRUPTED = f"Interrupted. {cli.GOES_ON}"
FOLLOWS = "Follows    the chief, which alone writes\n"


class Workers:
    """The same command in two workers, each in a folder of its own."""

    def __init__(self, folder, *overrides, own=((), ())):
        self.folders = [folder / "chief", folder / "other"]
        with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as other:
            addresses = [f"127.0.0.1:{each.getsockname()[1]}" for each in (one, other)]
        self.processes = [self._started(addresses, index, [*overrides, *own[index]]) for index in range(2)]

    def _started(self, addresses, index, overrides):
        self.folders[index].mkdir(parents=True, exist_ok=True)
        line = [sys.executable, str(Path(__file__).parent / "worker.py"), f"../notes-{index}.txt"]
        line += [*QUICK, "device.strategy=multi_worker", "hydra.run.dir=run", "stages.dir=stages", *overrides]
        task = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}}
        return subprocess.Popen(
            line,
            cwd=self.folders[index],
            env={**os.environ, "TF_CONFIG": json.dumps(task), "PYTHONUNBUFFERED": "1"},
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
    assert other == (3, FOLLOWS, "")


@pytest.mark.long
def test_a_worker_with_other_settings_is_told_so(tmp_path):
    chief, other = Workers(tmp_path, own=(["seed=1"], ["seed=2"])).ended()
    assert other[0] == 1
    assert other[2].startswith("This worker has other settings or data than the chief.")
    assert (chief[0], chief[2].strip()) == (1, LOST)
