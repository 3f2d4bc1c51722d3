import json

import pytest
from conftest import QUICK
from own_fixtures import class_folders
from test_cli import command

from pruneflow.errors import PruneflowError
from pruneflow.runtime import backend, device


@pytest.mark.run
def test_images_that_tensorflow_decodes_leave_the_threads_to_the_settings(tmp_path):
    class_folders(tmp_path / "pets", suffix="jpg")
    data = [
        "dataset=image_folder",
        f"dataset.path={tmp_path / 'pets'}",
        "dataset.height=8",
        "dataset.width=8",
    ]
    done = command(
        [*data, "trainer.dense_epochs=1", "trainer.epochs=1", "latency.seconds=0", "device.threads=1"]
    )
    assert done.returncode == 0, done.stderr
    (file,) = tmp_path.rglob("result.json")
    assert json.loads(file.read_text())["device"]["threads"] == 1


def test_the_first_computation_waits_for_the_settings_of_the_run_and_no_later_one_does(composed, monkeypatch):
    monkeypatch.setattr(device, "_started", [])
    chosen, asked = composed().device, []
    monkeypatch.setattr(device.Device, "configure", lambda self, share: asked.append((self, share)))
    with chosen.awaited(3):
        assert device.started() is device.started() is backend.tensorflow()
    assert asked == [(chosen, 3)]
    monkeypatch.setattr(device, "_started", [])
    device.started()
    assert asked == [(chosen, 3)]


@pytest.mark.run
def test_the_result_records_the_threads_that_were_used(tmp_path):
    done = command([*QUICK, "device=cpu", "device.threads=1", "device.inter_op_threads=1"])
    assert done.returncode == 0, done.stderr
    (file,) = tmp_path.rglob("result.json")
    used = json.loads(file.read_text())["device"]
    assert (used["kind"], used["threads"], used["inter_op_threads"]) == ("cpu", 1, 1)


def test_threads_that_a_running_process_cannot_change_are_refused(composed):
    backend.tensorflow().constant(1) + 1  # TensorFlow has started
    with pytest.raises(PruneflowError, match="already runs TensorFlow with other device settings"):
        composed("device.threads=1000").device.configure()


def test_gpu_memory_grows_as_needed(composed, monkeypatch):
    """On a pretended GPU, as there may be none: what TensorFlow is told."""
    config, told = backend.tensorflow().config, {}
    monkeypatch.setattr(config, "list_physical_devices", lambda kind: ["GPU:0", "GPU:1"])
    monkeypatch.setattr(config, "get_visible_devices", lambda kind: ["GPU:0", "GPU:1"])
    monkeypatch.setattr(config.experimental, "get_memory_growth", lambda gpu: None)
    monkeypatch.setattr(config.experimental, "set_memory_growth", told.__setitem__)
    monkeypatch.setattr(config.experimental, "get_device_details", lambda gpu: {"device_name": "RTX 2080"})
    used = composed().device.configure()
    assert told == {"GPU:0": True, "GPU:1": True}
    assert (used["kind"], used["name"], used["memory_growth"]) == ("gpu", "RTX 2080", True)
    composed("device.memory_growth=false").device.configure()
    assert told == {"GPU:0": False, "GPU:1": False}
