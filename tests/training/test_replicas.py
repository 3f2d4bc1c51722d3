"""A network that is trained on two devices of one machine."""

import json
import sys
from pathlib import Path

import forked
import numpy as np
import pytest
from conftest import QUICK

from pruneflow.errors import ConfigError
from pruneflow.flow import prepare
from pruneflow.flow.networks import dense_inputs, dense_network
from pruneflow.runtime import backend, replicas
from pruneflow.sparsity.masked import _Read

MIRRORED = ["device.strategy=mirrored", "device.replicas=2"]
HARD = [
    *("model.batch_normalization=all", "model.dropout=0.3", "model.dense_units=[8]"),
    *("augmentation=images", "trainer.dense_epochs=2", "criterion=taylor", "schedule.frequency=3"),
    *("trainer.early_stopping.patience=2", "dataset.class_weights=balanced"),
]


def trained(folder, *overrides):
    script = str(Path(__file__).parent / "on_replicas.py")
    code = f"import runpy; runpy.run_path({script!r}, run_name='__main__')"
    done = forked.run([sys.executable, "-c", code, str(folder), *QUICK, *MIRRORED, *overrides])
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.run
def test_masks_are_equal_on_all_replicas_and_a_phase_that_was_cut_off_ends_with_the_same_bits(tmp_path):
    """With all that replicas have of their own: statistics of batches, random numbers, gradients."""
    seen = trained(tmp_path, *HARD)
    assert len(seen["updates"]) >= 8
    assert all(seen["updates"])
    assert seen["zeros"]
    assert all(seen["zeros"])
    assert seen["cut"] == [0, 8]  # between two updates
    assert seen["same bits"]
    assert {key: seen["device"][key] for key in ("strategy", "replicas", "workers")} == {
        "strategy": "mirrored",
        "replicas": 2,
        "workers": 1,
    }


ONE = """
import sys
from pathlib import Path
import hydra, numpy as np
from pruneflow.flow import pipeline
from pruneflow.flow.config import config_folder, from_hydra
from pruneflow.flow.networks import dense_network
with hydra.initialize_config_dir(str(config_folder()), version_base="1.3"):
    config = from_hydra(hydra.compose("config", sys.argv[1:]))
ready = pipeline.prepare(config)
weights = dense_network(config.stages.open(), config, ready, Path(".")).model.get_weights()
np.savez("weights.npz", *weights)
"""


@pytest.mark.run
def test_two_replicas_take_the_steps_of_one_device_but_for_rounding(composed, tmp_path):
    plain = [*QUICK, f"stages.dir={tmp_path / 'store'}"]
    done = forked.run([sys.executable, "-c", ONE, *plain, *MIRRORED], cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    config = composed(*plain)
    ready = prepare.prepare(config)
    dense = dense_network(config.stages.open(), config, ready, tmp_path)
    start = config.model.build(ready.data.spec).get_weights()
    with np.load(tmp_path / "weights.npz") as arrays:
        for one, name, first in zip(dense.model.get_weights(), arrays.files, start, strict=True):
            np.testing.assert_allclose(one, arrays[name], atol=1e-5)
            assert np.abs(one - first).max() > 1e-3  # which is no comparison of what was not trained


def test_the_layout_is_part_of_the_digest_and_one_device_is_as_before(composed):
    config = composed(*QUICK)
    ready = prepare.prepare(config)
    facts = dense_inputs(config, ready)["device"]
    assert not {"strategy", "replicas", "workers"} & set(facts)
    of_two = {**ready.device, "strategy": "mirrored", "replicas": 2, "workers": 1}
    found = dense_inputs(config, prepare.replace(ready, device=of_two))["device"]
    assert found == {**facts, "strategy": "mirrored", "replicas": 2, "workers": 1}


@pytest.mark.parametrize("count", [3, 7])
def test_a_batch_that_replicas_do_not_divide_is_refused_before_training(composed, count):
    config = composed(*QUICK, "device.strategy=mirrored", f"device.replicas={count}")
    with pytest.raises(
        ConfigError, match=rf"^trainer.dense_batch_size=40: .* {count} replicas do not divide"
    ):
        prepare.prepare(config)


def test_a_process_with_other_devices_says_so(composed):
    backend.tensorflow().constant(1) + 1  # TensorFlow has started
    with pytest.raises(prepare.PruneflowError, match="already runs TensorFlow with other device settings"):
        composed("device=cpu", *MIRRORED).device.configure()
    assert replicas.current() is None


class _Pretended(replicas.Replicas):
    """One of two workers; the other one has twice its values."""

    def __init__(self):
        self.worker, self.workers, self.count = 0, 2, 2

    def exchanged(self, content):
        return [content, (2 * np.frombuffer(content, np.float32)).tobytes()]


def test_gradients_that_replicas_of_all_workers_have_seen_are_added(monkeypatch):
    with backend.tensorflow().distribute.MirroredStrategy(["CPU:0"]).scope():
        variable = backend.tensorflow().Variable([1.0, 2.0])
    read = _Read({"kernel": variable}, of_replicas=True)
    assert read["kernel"].tolist() == [1.0, 2.0]
    monkeypatch.setattr(replicas, "_current", [_Pretended()])
    assert read["kernel"].tolist() == [3.0, 6.0]
    assert replicas.values_of(variable).tolist() == [[1.0, 2.0], [2.0, 4.0]]
    replicas.assign(variable, np.array([[5.0, 6.0], [7.0, 8.0]], np.float32))
    assert variable.numpy().tolist() == [5.0, 6.0]
