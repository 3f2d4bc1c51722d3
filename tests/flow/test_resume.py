"""A run that was cut off goes on from its last checkpoint and ends with the same bits."""

import json
import os
import shutil
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from conftest import QUICK, QUICK_LSTM
from test_faults import small_disk
from test_flow import read_scalars

from pruneflow.errors import PruneflowError
from pruneflow.flow import pipeline
from pruneflow.flow.networks import CHECKPOINT, dense_network, pruned_network
from pruneflow.runtime import backend
from pruneflow.training import checkpoints

CNN = ["model=cnn", "model.batch_normalization=all", "model.dropout=0.3", "model.dense_units=[8]"]
LSTM = ["model=lstm", "dataset=imdb", *QUICK_LSTM, "trainer.dense_epochs=2"]
SHORT = [*QUICK, "trainer.dense_epochs=2", "stages.checkpoint_seconds=0"]

# Nine steps per epoch, two epochs per phase: what is killed before its n-th step is noted down.
MOMENTS = {
    "in the first epoch": 4,
    "at the end of an epoch": 9,
    "in the last epoch": 15,
    "in pruning": 18 + 6,
}


class Killed(BaseException):
    pass


@pytest.fixture(autouse=True)
def _full_precision_afterwards():
    yield
    backend.keras().mixed_precision.set_global_policy("float32")


def run(composed, folder, *overrides):
    """A whole run, with a store of its own."""
    (folder / "run").mkdir(parents=True, exist_ok=True)
    config = composed(*SHORT, *overrides, f"stages.dir={folder / 'store'}")
    return pipeline.run(config, pipeline.prepare(config), folder / "run", command="test")


def train(composed, folder, *overrides, pruned=True):
    """The two stages that train, or the first of them, without export and evaluation."""
    (folder / "run").mkdir(parents=True, exist_ok=True)
    config = composed(*SHORT, *overrides, f"stages.dir={folder / 'store'}")
    ready, store = pipeline.prepare(config), config.stages.open()
    dense = dense_network(store, config, ready, folder / "run")
    if pruned:
        pruned_network(store, config, ready, dense, folder / "run")


train_dense = partial(train, pruned=False)


@pytest.fixture(scope="module")
def wholes():
    """Folders of what was trained without a cut, by overrides and stages."""
    return {}


@pytest.fixture
def whole(composed, wholes, tmp_path_factory):
    """Train without a cut what no test has trained before; its folder, which none changes."""

    def trained(*overrides, work=train):
        if (overrides, work) not in wholes:
            work(composed, folder := tmp_path_factory.mktemp("whole"), *overrides)
            wholes[overrides, work] = folder
        return wholes[overrides, work]

    return trained


def with_stages_of(whole, folder, *names):
    """A folder in whose store these stages are those of ``whole``."""
    for name in names:
        shutil.copytree(whole / "store" / "v1" / name, folder / "store" / "v1" / name)
    return folder


def killed_at(monkeypatch, step):
    """End the process' work at its ``step``-th training step, before a checkpoint knows of it."""
    whole, seen = checkpoints.Checkpoints.on_train_batch_end, []

    def on_train_batch_end(self, batch, logs=None):
        seen.append(batch)
        if len(seen) == step:
            raise Killed
        whole(self, batch, logs)

    monkeypatch.setattr(checkpoints.Checkpoints, "on_train_batch_end", on_train_batch_end)


def everything(folder):
    """Bytes of all files whose bytes a result consists of, masks and curves included."""
    found = {}
    for masks in (folder / "store").rglob("masks.npz"):
        with np.load(masks) as arrays:
            found |= {f"mask {name}": arrays[name].tobytes() for name in arrays}
    for file in [*(folder / "run").glob("*.h5"), *(folder / "run").glob("*.tflite")]:
        found[file.name] = file.read_bytes()
    for events in sorted({file.parent for file in (folder / "run").rglob("events.*")}):
        scalars = read_scalars(events)
        scalars.pop("examples_per_second", None)  # a time
        found[f"curves {events.relative_to(folder)}"] = scalars
    return found


def cut_off(composed, folder, *overrides, step, work=train):
    with pytest.MonkeyPatch.context() as patched, pytest.raises(Killed):
        killed_at(patched, step)
        work(composed, folder, *overrides)


def differing(one, other):
    """Names of what is not the same in two folders."""
    first, second = everything(one), everything(other)
    assert sorted(first) == sorted(second)
    return [name for name in first if first[name] != second[name]]


RUNS = {
    "cnn": [*CNN, "trainer.optimizer=sgd", "trainer.optimizer_parameters.momentum=0.9"],
    "lstm": [*LSTM, "model.dropout=0.3", "model.embedding_dropout=0.2"],
}


@pytest.mark.long
@pytest.mark.parametrize("model", RUNS)
def test_a_run_that_was_cut_off_anywhere_ends_with_the_same_bits(composed, tmp_path, capsys, whole, model):
    ends_of_epochs = ("at the end of an epoch", "in the last epoch")  # are the same for every network
    for moment, step in MOMENTS.items():
        if model == "lstm" and moment in ends_of_epochs:
            continue
        folder = tmp_path / moment
        if step > 18:
            with_stages_of(whole(*RUNS[model]), folder, "dense")
        cut_off(composed, folder, *RUNS[model], step=step if step <= 18 else step - 18)
        train(composed, folder, *RUNS[model])
        assert differing(whole(*RUNS[model]), folder) == []
        phase, done = ("pruned", step - 19) if step > 18 else ("dense", step - 1)
        said = f"Resumes    {phase} training at epoch {done // 9 + 1}/2, step {done % 9 + 1}"
        assert said in capsys.readouterr().out


@pytest.mark.long
def test_the_exported_file_of_a_run_that_was_cut_off_has_the_same_bytes(composed, tmp_path, whole):
    shutil.copytree(whole(*RUNS["cnn"]), tmp_path / "whole")
    run(composed, tmp_path / "whole", *RUNS["cnn"])
    killed = with_stages_of(tmp_path / "whole", tmp_path / "killed", "dense")
    cut_off(composed, killed, *RUNS["cnn"], step=6, work=run)
    assert not (killed / "run" / "result.json").exists()
    run(composed, killed, *RUNS["cnn"])
    assert differing(tmp_path / "whole", tmp_path / "killed") == []
    assert {"pruned-float.tflite", "pruned.h5"} < set(everything(tmp_path / "killed"))


@pytest.mark.long
@pytest.mark.parametrize(
    "overrides",
    [
        [*CNN, "device.precision=mixed_float16"],
        [*LSTM, "model.dropout=0.3", "device.precision=mixed_bfloat16"],
        [*CNN, "trainer.optimizer_parameters.amsgrad=true", "trainer.learning_rate_decay=cosine"],
        ["trainer.metrics=[f1,auc]", "trainer.loss=focal_crossentropy"],
        ["augmentation=images", "augmentation.rotation=10", "augmentation.brightness=0.2"],
        [*CNN, "trainer.optimizer=rmsprop", "trainer.dense_epochs=0"],
    ],
    ids=["float16", "bfloat16", "amsgrad", "metrics", "augmentation", "from scratch"],
)
def test_the_same_holds_for_other_settings(composed, tmp_path, whole, overrides):
    work = train if "trainer.dense_epochs=0" in overrides else train_dense  # the phase that is cut off
    cut_off(composed, tmp_path / "killed", *overrides, step=14, work=work)
    work(composed, tmp_path / "killed", *overrides)
    assert differing(whole(*overrides, work=work), tmp_path / "killed") == []


@pytest.mark.long
@pytest.mark.parametrize(
    "overrides",
    [
        ["criterion=taylor", "schedule.frequency=2"],
        ["criterion=random", "distribution=global"],
        ["structure=n_of_m", "model.filters=[4]"],
        ["structure=block_4x1", "distribution=erk"],
        ["structure=channel", "structure.multiple=1", "criterion=taylor", "schedule.frequency=2"],
        ["pruning.engine=tfmot"],
        ["schedule=constant", "schedule.frequency=1", "trainer.learning_rate_decay=stepwise"],
    ],
    ids=["taylor", "random", "n_of_m", "blocks", "channels", "tfmot", "constant"],
)
def test_masks_of_every_kind_are_taken_up_in_the_middle_of_pruning(composed, tmp_path, whole, overrides):
    other = any(each.startswith("model.") for each in overrides)  # another dense network
    dense = whole("model.filters=[4]") if other else whole()
    folders = [with_stages_of(dense, tmp_path / name, "dense") for name in ("whole", "killed")]
    train(composed, folders[0], *overrides)
    cut_off(composed, folders[1], *overrides, step=8)
    train(composed, folders[1], *overrides)
    assert differing(*folders) == []


@pytest.mark.long
def test_early_stopping_remembers_the_best_epoch_before_the_cut(composed, tmp_path):
    stopping = [
        "trainer.dense_epochs=6",
        "trainer.early_stopping.patience=2",
        "trainer.early_stopping.min_delta=0.5",  # the first epochs improve, and later ones never by so much
        "trainer.dense_learning_rate=0.02",
    ]
    train_dense(composed, tmp_path / "whole", *stopping)
    cut_off(composed, tmp_path / "killed", *stopping, step=22, work=train_dense)
    train_dense(composed, tmp_path / "killed", *stopping)
    assert differing(tmp_path / "whole", tmp_path / "killed") == []
    epochs = len(everything(tmp_path / "whole")["curves run/dense"]["loss/train"])
    assert 3 <= epochs < 6


@pytest.mark.long
def test_a_run_may_be_cut_off_again_and_again(composed, tmp_path, whole):
    for _ in range(3):
        cut_off(composed, tmp_path / "killed", *RUNS["cnn"], step=5)
    train(composed, tmp_path / "killed", *RUNS["cnn"])
    assert differing(whole(*RUNS["cnn"]), tmp_path / "killed") == []


def checkpoint_of(folder):
    (file,) = (folder / "store").rglob(CHECKPOINT)
    return file


@pytest.mark.long
@pytest.mark.parametrize("how", ["truncated", "empty", "one bit", "of another network"])
def test_a_broken_checkpoint_is_noticed_said_and_not_trusted(composed, tmp_path, capsys, whole, how):
    cut_off(composed, tmp_path / "killed", step=12)
    file = checkpoint_of(tmp_path / "killed")
    content = file.read_bytes()
    middle = len(content) // 2
    broken = {
        "truncated": content[:-100],
        "empty": b"",
        "one bit": content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :],
    }
    if how == "of another network":
        cut_off(composed, tmp_path / "other", "model.filters=[13]", step=12)
        broken[how] = checkpoint_of(tmp_path / "other").read_bytes()
    file.write_bytes(broken[how])
    whole(work=train_dense)
    capsys.readouterr()
    train_dense(composed, tmp_path / "killed")
    said = capsys.readouterr().out
    assert f"Checkpoint {file} is " in said and "the phase starts anew" in said
    assert "Resumes" not in said
    assert differing(whole(work=train_dense), tmp_path / "killed") == []


@pytest.mark.long
def test_a_disk_that_fills_up_during_a_checkpoint_leaves_the_earlier_one(
    composed, monkeypatch, tmp_path, capsys, whole
):
    with small_disk(tmp_path / "small", "8m") as disk:
        filler = disk / "filler"
        write, count = checkpoints.Checkpoint.write, []

        def fill_then_write(self, file):
            count.append(file)
            if len(count) == 13:
                room = os.statvfs(disk)
                filler.write_bytes(bytes(room.f_bavail * room.f_frsize - 8192))
            write(self, file)

        with monkeypatch.context() as patched:
            patched.setattr(checkpoints.Checkpoint, "write", fill_then_write)
            message = r"checkpoint\.zip cannot be written: No space left on device\. Free space"
            with pytest.raises(PruneflowError, match=message):
                train_dense(composed, disk)
        filler.unlink()
        assert [file.name for file in checkpoint_of(disk).parent.iterdir()] == ["checkpoint.zip"]
        train_dense(composed, disk)
        assert "Resumes    dense training at epoch 2/2, step 4" in capsys.readouterr().out
        assert differing(whole(work=train_dense), disk) == []


@pytest.mark.long
@pytest.mark.parametrize(("seconds", "written"), [("null", 0), ("0", 4 * 9 - 2), ("1000", 0)])
def test_the_frequency_of_checkpoints_is_a_setting(composed, monkeypatch, tmp_path, seconds, written):
    count = []
    monkeypatch.setattr(checkpoints.Checkpoint, "write", lambda self, file: count.append(file))
    train(composed, tmp_path, f"stages.checkpoint_seconds={seconds}")
    assert len(count) == written


@pytest.mark.long
def test_nothing_of_a_checkpoint_stays_when_the_stage_is_done(whole):
    folder = whole()
    assert not [each for name in ("checkpoint*", "*.part", "scratch") for each in folder.rglob(name)]


def test_a_checkpoint_is_one_file_that_reads_as_it_was_written(tmp_path):
    arrays = {"variables/model/0": np.arange(6, dtype=np.float32).reshape(2, 3), "metrics/0": np.float32(0.5)}
    kept = {"stopping": {"best": float("inf"), "wait": 1.0}}
    checkpoint = checkpoints.Checkpoint(1, 2, 3.5, kept, arrays, b"events")
    checkpoint.write(tmp_path / "checkpoint.zip")
    found = checkpoints.Checkpoint.of((tmp_path / "checkpoint.zip").read_bytes())
    assert (found.epoch, found.step, found.seconds, found.kept, found.events) == (1, 2, 3.5, kept, b"events")
    for name, array in arrays.items():
        np.testing.assert_array_equal(found.arrays[name], array)
        assert found.arrays[name].dtype == array.dtype


@pytest.mark.long
def test_a_reused_network_shows_its_curves_in_every_run_and_the_store_shows_none(composed, tmp_path):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        config = composed(*QUICK, f"stages.dir={tmp_path / 'store'}")
        pipeline.run(config, pipeline.prepare(config), tmp_path / name)
    results = [json.loads((tmp_path / name / "result.json").read_text()) for name in ("one", "two")]
    assert [result["stages"]["pruned"]["reused"] for result in results] == [False, True]
    for phase in ("dense", "pruned"):
        one, two = (read_scalars(tmp_path / name / phase) for name in ("one", "two"))
        assert one == two and "loss/train" in one
    assert not [path for path in (tmp_path / "store").rglob("*") if "tfevents" in path.name]
    assert results[0]["phases"]["dense"] == results[1]["phases"]["dense"]
    assert results[1]["seconds"] < results[0]["seconds"]
    for stage in ("dense", "pruned", "export", "evaluate"):
        first, second = (result["stages"][stage] for result in results)
        assert (first["reused"], second["reused"]) == (False, True)
        assert first["digest"] == second["digest"] and Path(first["path"]).is_dir()
