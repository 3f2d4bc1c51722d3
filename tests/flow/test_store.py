"""The store of stages: found again under what they depend on, never trusted when broken, never made twice."""

import functools
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import fields, replace
from pathlib import Path

import pytest
from conftest import QUICK
from test_cli import rows_of

import pruneflow
from pruneflow import clean
from pruneflow.errors import ConfigError, PruneflowError
from pruneflow.flow import pipeline, store
from pruneflow.flow.config import plain
from pruneflow.flow.export import export_inputs
from pruneflow.flow.goal import NoGoal
from pruneflow.flow.manifests import digest_of
from pruneflow.flow.networks import dense_inputs, pruned_inputs
from pruneflow.flow.quantization_aware import NAME, aware_inputs
from pruneflow.flow.sharing import shared_inputs
from pruneflow.flow.store import Store


def get(store, inputs, content="result", made=None):
    """Take a stage that holds one file."""

    def make(folder):
        if made is not None:
            made.append(inputs)
        (folder / "file").write_text(content)

    stage = taken(store, inputs, make)
    return stage, (Path(stage.path) / "file").read_text()


def taken(store, inputs, make):
    with store.held("dense", inputs) as held:
        if held.missing:
            with held.making() as folder:
                make(folder)
    return held.stage


def test_a_stage_is_made_once_for_the_same_inputs_and_again_for_others(tmp_path):
    made = []
    first, _ = get(Store(tmp_path), {"a": 1, "b": [2, 3]}, made=made)
    again, content = get(Store(tmp_path), {"b": [2, 3], "a": 1}, made=made)
    other, _ = get(Store(tmp_path), {"a": 1, "b": [3, 2]}, made=made)
    assert (first.reused, again.reused, other.reused) == (False, True, False)
    assert (first.digest, first.path, content) == (again.digest, again.path, "result")
    assert other.digest != first.digest
    assert made == [{"a": 1, "b": [2, 3]}, {"a": 1, "b": [3, 2]}]


def test_a_digest_depends_on_the_name_of_the_stage_and_on_every_value():
    inputs = {"seed": 0, "fit": {"epochs": 2}}
    digests = {
        digest_of("dense", inputs),
        digest_of("pruned", inputs),
        digest_of("dense", {**inputs, "seed": 1}),
        digest_of("dense", {**inputs, "fit": {"epochs": 2.5}}),
        digest_of("dense", {**inputs, "fit": {"epochs": None}}),
    }
    assert len(digests) == 5
    assert all(len(digest) == 64 for digest in digests)


def test_without_reuse_everything_is_made_anew_and_replaces_what_was_there(tmp_path):
    get(Store(tmp_path), {"a": 1}, "old")
    left = Path(get(Store(tmp_path), {"a": 2}, "x")[0].path).with_name("left.part")
    left.mkdir()
    stage, content = get(Store(tmp_path, reuse=False), {"a": 1}, "new")
    assert (stage.reused, content) == (False, "new")
    assert get(Store(tmp_path), {"a": 1}, "newer")[1] == "new"


def cut(file):
    os.truncate(file, file.stat().st_size - 1)


def flip(file):
    content = bytearray(file.read_bytes())
    content[0] ^= 1
    file.write_bytes(content)


BREAKS = {
    "truncated": (lambda folder: cut(folder / "file"), "file has another SHA-256 than when it was written"),
    "one bit": (lambda folder: flip(folder / "file"), "file has another SHA-256 than when it was written"),
    "missing": (lambda folder: (folder / "file").unlink(), "file is missing"),
    "manifest broken": (lambda folder: flip(folder / "manifest.json"), "manifest.json cannot be read"),
    "manifest missing": (lambda folder: (folder / "manifest.json").unlink(), "manifest.json cannot be read"),
    "of another": (lambda folder: swap(folder), "manifest.json belongs to another stage"),
    "a file too many": (
        lambda folder: (folder / "more.h5").write_text("precious"),
        "more.h5 is none of its files",
    ),
    "a pipe": (lambda folder: (unlinked(folder / "file"), os.mkfifo(folder / "file")), "file is missing"),
    "a folder": (lambda folder: unlinked(folder / "file").mkdir(), "file is missing"),
    **{
        f"manifest {what}": (
            lambda folder, text=text: (folder / "manifest.json").write_bytes(text),
            "manifest.json cannot be read",
        )
        for what, text in {
            "nested": b'{"files":' + b"[" * 100_000,
            "a list": b"[]",
            "of no files": b'{"layout": "v1", "name": "dense", "inputs": {"a": 1}, "files": []}',
            "NaN": b'{"layout": "v1", "name": "dense", "inputs": {"a": NaN}, "files": {}}',
            "binary": bytes(range(256)),
            "large": b" " * 2**24 + b"{}",
        }.items()
    },
    "manifest empty": (lambda folder: listing(folder, {}), "manifest.json lists no files"),
    "manifest leads away": (lambda folder: listing(folder, {"../x": "0"}, kept=True), "../x is missing"),
    "manifest absolute": (
        lambda folder: listing(folder, {"/dev/zero": "0"}, kept=True),
        "/dev/zero is missing",
    ),
    "manifest a folder": (
        lambda folder: unlinked(folder / "manifest.json").mkdir(),
        "manifest.json cannot be read",
    ),
    "manifest a pipe": (
        lambda folder: os.mkfifo(unlinked(folder / "manifest.json")),
        "manifest.json cannot be read",
    ),
    "no folder": (
        lambda folder: (shutil.rmtree(folder), folder.write_text("")),
        "manifest.json cannot be read",
    ),
    "a link to nothing": (
        lambda folder: (shutil.rmtree(folder), folder.symlink_to("nowhere")),
        "manifest.json cannot be read",
    ),
}


def unlinked(file):
    file.unlink()
    return file


def listing(folder, files, *, kept=False):
    """The manifest lists other files."""
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["files"] = {**(manifest["files"] if kept else {}), **files}
    (folder / "manifest.json").write_text(json.dumps(manifest))


def swap(folder):
    """The inputs in the manifest no longer give the digest that the folder is named by."""
    file = folder / "manifest.json"
    manifest = json.loads(file.read_text())
    manifest["inputs"] = {"a": 7}
    file.write_text(json.dumps(manifest))


@pytest.mark.parametrize("how", BREAKS)
def test_a_corrupt_stage_is_noticed_said_and_computed_anew(tmp_path, how, capsys):
    break_it, problem = BREAKS[how]
    stage, _ = get(Store(tmp_path), {"a": 1})
    break_it(Path(stage.path))
    again, content = get(Store(tmp_path), {"a": 1}, "result")
    assert (again.reused, content) == (False, "result")
    assert f"Stage {stage.path} is corrupt ({problem}) and is computed anew." in capsys.readouterr().out
    assert get(Store(tmp_path), {"a": 1})[0].reused
    kept = [file for file in tmp_path.rglob("*.h5") if file.read_text() == "precious"]
    assert len(kept) == (how == "a file too many")


def test_a_manifest_that_is_cut_in_its_blank_end_still_says_everything(tmp_path):
    stage, _ = get(Store(tmp_path), {"a": 1})
    cut(Path(stage.path) / "manifest.json")  # only the last line feed
    assert get(Store(tmp_path), {"a": 1})[0].reused
    cut(Path(stage.path) / "manifest.json")
    assert not get(Store(tmp_path), {"a": 1})[0].reused


def test_what_fails_is_not_kept_and_its_rest_is_handed_to_the_next(tmp_path):
    store = Store(tmp_path)

    def fail(folder):
        (folder / "scratch" / "checkpoint").write_text("half way")
        (folder / "scratch" / ".checkpoint.0123abcd.pruneflow").write_text("killed while it was written")
        (folder / "half").write_text("a result that is not whole")
        raise PruneflowError("disk full")

    with pytest.raises(PruneflowError, match="disk full"):
        taken(store, {"a": 1}, fail)
    seen = []

    def make(folder):
        seen.append({path.name for path in folder.rglob("*")})
        (folder / "file").write_text("result")

    stage = taken(store, {"a": 1}, make)
    assert (stage.reused, seen) == (False, [{"scratch", "checkpoint"}])
    assert {path.name for path in Path(stage.path).iterdir()} == {"file", "manifest.json"}


def test_a_stage_that_was_whole_but_not_yet_renamed_is_not_made_again(tmp_path, monkeypatch):
    made = []
    with monkeypatch.context() as patched:
        patched.setattr(store, "_give_way", lambda place: cut_off())
        with pytest.raises(KeyboardInterrupt):
            get(Store(tmp_path), {"a": 1}, made=made)
    stage, content = get(Store(tmp_path), {"a": 1}, "other", made=made)
    assert (content, len(made)) == ("result", 1)
    assert {path.name for path in Path(stage.path).iterdir()} == {"file", "manifest.json"}


def cut_off():
    raise KeyboardInterrupt


def of_another_version(store):
    """What a killed run of version 0 left."""
    left = store / "v0" / "dense" / f"{'0' * 64}.part"
    left.mkdir(parents=True)
    (store / "v0" / "locks").mkdir()
    (store / "v0" / "locks" / f"dense-{'0' * 64}").touch()
    return left


def test_what_another_version_wrote_is_ignored_with_a_word(tmp_path, composed, capsys):
    left = of_another_version(tmp_path / "store")
    (tmp_path / "store" / "venv").mkdir()
    config = composed(f"stages.dir={tmp_path / 'store'}")
    store = config.stages.open()
    said = " ".join(capsys.readouterr().out.split())
    assert f"Ignored v0 in {tmp_path / 'store'}: written by another version of pruneflow" in said
    get(store, {"a": 1})
    assert left.exists()


@pytest.mark.parametrize(
    ("override", "answer"),
    [
        ("stages.dir=''", "stages.dir=: it is empty. Name a folder."),
        (
            "stages.checkpoint_seconds=-1",
            "stages.checkpoint_seconds=-1.0: allowed are numbers from 0 (after every step), or null (never). "
            "30 costs less than a hundredth of the time.",
        ),
    ],
)
def test_settings_that_cannot_be_used_are_refused(composed, override, answer):
    with pytest.raises(ConfigError) as refused:
        composed(override)
    assert str(refused.value) == answer


def test_a_store_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(PruneflowError, match=r"file.* cannot be written: .*choose another stages\.dir"):
        get(Store(tmp_path / "file"), {"a": 1})


PROCESS = """
import sys
from pathlib import Path
from pruneflow.flow.store import Store

folder, log = Path(sys.argv[1]), Path(sys.argv[2])

with Store(folder).held("dense", {"a": 1}) as held:
    if held.missing:
        with held.making() as work:
            with log.open("a") as file:
                file.write("made\\n")
            sys.stdin.read()
            (work / "file").write_text("result")
print(held.stage.reused, (Path(held.stage.path) / "file").read_text())
"""


def process(tmp_path):
    """One that needs a stage, and makes it until its input ends."""
    line = [sys.executable, "-c", PROCESS, str(tmp_path / "store"), str(tmp_path / "log")]
    return subprocess.Popen(line, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def making_and_waiting(tmp_path):
    """Two processes: the first makes the stage that the second needs."""
    first = process(tmp_path)
    while not made(tmp_path):
        time.sleep(0.02)
    second = process(tmp_path)
    assert second.stdout.readline().startswith("Waits      for another run that makes stage dense")
    return first, second


def made(tmp_path):
    log = tmp_path / "log"
    return log.read_text().count("made") if log.exists() else 0


@pytest.mark.run
def test_two_processes_that_need_the_same_stage_make_it_once(tmp_path):
    outputs = [one.communicate(timeout=60)[0] for one in making_and_waiting(tmp_path)]
    assert outputs == ["False result\n", "True result\n"]
    assert made(tmp_path) == 1


@pytest.mark.run
def test_a_lock_whose_owner_was_killed_is_taken_over(tmp_path):
    owner, waiting = making_and_waiting(tmp_path)
    owner.send_signal(signal.SIGKILL)
    assert waiting.communicate(timeout=20)[0] == "False result\n"
    assert made(tmp_path) == 2
    owner.communicate()


# Every setting, another value for it, and the stages that the change makes anew. A later stage depends on the
# earlier ones, so that the first one says it all; "" stands for none.
SETTINGS = {
    "model.name": ("other", ""),
    "model.filters": ("[13]", "dense"),
    "model.kernel_size": ("4", "dense"),
    "model.padding": ("same", "dense"),
    "model.pool_size": ("3", "dense"),
    "model.convolution_activation": ("linear", "dense"),
    "model.batch_normalization": ("all", "dense"),
    "model.dense_units": ("[7]", "dense"),
    "model.dropout": ("0.5", "dense"),
    "model.output_activation": ("softmax", "dense"),
    "dataset.name": ("other", ""),
    "dataset.path": ("copy/mnist.npz", ""),  # the same arrays at another place
    "dataset.cache_dir": ("copy", ""),
    "dataset.split_seed": ("7", "dense"),
    "dataset.limit": ("300", "dense"),
    "dataset.validation_fraction": ("0.2", "dense"),
    "dataset.download": ("false", ""),
    "schedule.name": ("other", ""),
    "schedule.initial_sparsity": ("0.3", "pruned"),
    "schedule.final_sparsity": ("0.9", "pruned"),
    "schedule.begin_fraction": ("0.3", "pruned"),
    "schedule.end_fraction": ("0.9", "pruned"),
    "schedule.begin_step": ("3", "pruned"),
    "schedule.end_step": ("17", "pruned"),
    "schedule.frequency": ("2", "pruned"),
    "schedule.power": ("2", "pruned"),
    "export.name": ("other", ""),
    "report": ("true", ""),
    "trainer.dense_epochs": ("2", "dense"),
    "trainer.epochs": ("3", "pruned"),
    "trainer.min_steps": ("70", ""),  # both phases say their epochs
    "trainer.dense_batch_size": ("30", "dense"),
    "trainer.batch_size": ("30", "pruned"),
    "trainer.dense_learning_rate": ("0.1", "dense"),
    "trainer.learning_rate": ("0.1", "pruned"),  # the recipe of mnist names the dense one
    "trainer.dense_learning_rate_decay": ("constant", "dense"),
    "trainer.learning_rate_decay": ("cosine", "pruned"),
    "trainer.decay_at": ("[0.1]", ""),  # no phase is stepwise
    "trainer.decay_factor": ("0.5", ""),
    "trainer.optimizer": ("sgd", "dense"),
    "trainer.optimizer_parameters.momentum": ("0.5", "refused"),  # not one of adam's
    "trainer.optimizer_parameters.nesterov": ("true", "refused"),
    "trainer.optimizer_parameters.rho": ("0.5", "refused"),
    "trainer.optimizer_parameters.centered": ("true", "refused"),
    "trainer.optimizer_parameters.beta_1": ("0.5", "dense"),
    "trainer.optimizer_parameters.beta_2": ("0.5", "dense"),
    "trainer.optimizer_parameters.epsilon": ("0.5", "dense"),
    "trainer.optimizer_parameters.amsgrad": ("true", "dense"),
    "trainer.optimizer_parameters.initial_accumulator_value": ("0.5", "refused"),
    "trainer.optimizer_parameters.weight_decay": ("0.5", "dense"),
    "trainer.optimizer_parameters.clipnorm": ("1", "dense"),
    "trainer.optimizer_parameters.clipvalue": ("1", "dense"),
    "trainer.optimizer_parameters.global_clipnorm": ("1", "dense"),
    "trainer.loss": ("focal_crossentropy", "dense"),
    "trainer.metrics": ("[f1]", "dense"),
    "trainer.early_stopping.patience": ("1", "dense"),
    "trainer.early_stopping.monitor": ("accuracy", ""),  # nothing stops early
    "trainer.early_stopping.min_delta": ("0.1", ""),
    "trainer.early_stopping.restore_best": ("false", ""),
    "device.kind": ("cpu", ""),  # what auto finds here
    "device.memory_growth": ("false", ""),
    "device.precision": ("mixed_bfloat16", "dense"),
    "device.threads": (None, "dense"),  # set once per process: tested on what configure() returns
    "device.inter_op_threads": (None, "dense"),
    "device.evaluation_threads": ("1", ""),
    "device.stock_keras": ("true", ""),
    "device.strategy": (None, "dense"),  # as threads
    "device.replicas": (None, "dense"),
    "device.worker_wait_seconds": ("9", ""),
    "pruning.include": ("[dense]", "pruned"),
    "pruning.skip": ("[dense]", "pruned"),
    "pruning.engine": ("tfmot", "pruned"),
    "pruning.max_accuracy_drop": ("0.5", ""),
    "sensitivity.levels": ("[0.5]", ""),  # distribution=uniform reads no scan
    "sensitivity.examples": ("9", ""),
    "pruning.reconstruct": ("true", "refused"),  # beside training
    "pruning.reconstruct_examples": ("100", ""),  # nothing is reconstructed
    "sharing.values": ("8", "shared"),
    "sharing.epochs": ("2", "refused"),  # without values
    "quantization_aware.epochs": ("1", "refused"),  # without export=int8
    "augmentation.name": ("other", ""),
    "dataset.class_weights": ("balanced", "dense"),
    "structure.name": ("other", ""),
    "criterion.name": ("other", ""),
    "distribution.name": ("other", ""),
    "then.name": ("other", ""),
    "goal.name": ("other", ""),
    **dict.fromkeys((f"goal.{each.name}" for each in fields(NoGoal) if each.name != "name"), ("9", "")),
    "logger.name": ("other", ""),
    "test_part": ("false", ""),
    "report_examples": ("false", ""),
    "distribution.layers": ("{conv2d:0.5}", "pruned"),
    "export.encoding": ("sparse", "export"),
    "export.compression": ("zstd", ""),
    "export.max_accuracy_drop": ("0.5", ""),
    "latency.seconds": ("2", ""),
    "latency.warmup": ("1", ""),
    "latency.threads": ("2", ""),
    "tensorboard.histograms": ("true", "pruned"),
    "tensorboard.masks": ("true", "pruned"),
    "stages.dir": ("elsewhere", ""),
    "stages.reuse": ("false", ""),
    "stages.checkpoint_seconds": ("1", ""),
    "objective": ("[gzip_bytes]", ""),
    "seed": ("1", "dense"),
}


def leaves(values, prefix=""):
    for key, value in values.items():
        if isinstance(value, dict) and value:
            yield from leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}"


def digests(config, **device):
    ready = pipeline.prepare(config)
    ready = replace(ready, device={**ready.device, **device})
    dense = digest_of("dense", dense_inputs(config, ready))
    pruned = digest_of("pruned", pruned_inputs(config, ready, dense=dense))
    shared = digest_of("shared", shared_inputs(config, ready, pruned=pruned))
    last = pruned if config.sharing.values is None else shared
    if config.quantization_aware.epochs:
        last = digest_of(NAME, aware_inputs(config, ready, before=last))
    return dense, pruned, last, digest_of("export", export_inputs(config.export, network=last))


@functools.cache
def quick_digests():
    return digests(pruneflow.compose(QUICK))


CHANGED = {"": (), "dense": (0, 1, 2, 3), "pruned": (1, 2, 3), "shared": (2, 3), "export": (3,)}


def changed(before, after):
    """Places of the stages whose digest is another one."""
    return tuple(i for i, (one, other) in enumerate(zip(before, after, strict=True)) if one != other)


def test_every_setting_is_in_the_table(composed):
    assert set(leaves(plain(composed()))) == set(SETTINGS)


@pytest.mark.parametrize("key", SETTINGS)
def test_a_setting_changes_the_digests_of_the_stages_that_it_influences_and_no_other(
    composed, tiny_data, tmp_path, key
):
    from pruneflow.runtime import backend

    (tmp_path / "copy").mkdir()
    (tmp_path / "copy" / "mnist.npz").write_bytes((tiny_data / "mnist.npz").read_bytes())
    value, first = SETTINGS[key]
    before = quick_digests()
    if first == "refused":
        with pytest.raises(ConfigError):
            composed(*QUICK, f"{key}={value}")
        return
    try:
        if value is None:
            after = digests(composed(*QUICK), **{key.removeprefix("device."): 99})
        else:
            after = digests(composed(*QUICK, f"{key}={value}"))
    finally:
        backend.keras().mixed_precision.set_global_policy("float32")
    assert changed(before, after) == CHANGED[first]


def test_epochs_of_shared_values_change_their_stage_and_the_file(composed):
    one, other = (digests(composed(*QUICK, "sharing.values=8", f"sharing.epochs={n}")) for n in (0, 2))
    assert changed(one, other) == CHANGED["shared"]


@pytest.mark.parametrize(
    ("overrides", "first"),
    [
        (["export=dynamic-range"], "export"),
        (["export=int8"], "export"),
        (["schedule=constant"], "pruned"),
        (["structure=block_4x1"], "pruned"),
        (["criterion=random"], "pruned"),
        (["criterion=taylor"], "pruned"),
        (["distribution=global"], "pruned"),
        (["distribution=erk"], "pruned"),
        (["distribution=matrices"], "pruned"),
        (["distribution.layers={conv2d:0.8,dense:0.8}"], ""),  # what they have already
        (
            ["device.kind=cpu", "schedule.begin_step=1", "schedule.end_step=14"],
            "",
        ),  # what fractions give here
        (["trainer.dense_learning_rate=0.002"], ""),  # what it is already
        (["trainer.early_stopping.patience=2", "trainer.early_stopping.monitor=accuracy"], "dense"),
        (["trainer.learning_rate_decay=stepwise", "trainer.decay_factor=0.5"], "pruned"),
    ],
)
def test_equal_work_has_equal_digests_however_it_is_asked_for(composed, overrides, first):
    before, after = quick_digests(), digests(composed(*QUICK, *overrides))
    assert changed(before, after) == CHANGED[first]


def test_epochs_of_training_for_int8_and_its_version_change_its_stage_and_the_file(composed, monkeypatch):
    from pruneflow.flow import quantization_aware

    def found(epochs):
        return digests(composed(*QUICK, "export=int8", f"quantization_aware.epochs={epochs}"))

    one = found(1)
    assert changed(one, found(0)) == changed(one, found(2)) == CHANGED["shared"]
    monkeypatch.setattr(quantization_aware, "AWARE_VERSION", 99)
    assert changed(one, found(1)) == CHANGED["shared"]


@pytest.mark.parametrize("stage", ["dense", "pruned", "shared", "export"])
def test_a_raised_version_constant_changes_the_digest(composed, monkeypatch, stage):
    from pruneflow.flow import export, networks, sharing

    config = composed(*QUICK, "sharing.values=8")
    before = digests(config)
    module = {"export": export, "shared": sharing}.get(stage, networks)
    monkeypatch.setattr(module, f"{stage.upper()}_VERSION", 99)
    assert changed(before, digests(config)) == CHANGED[stage]


def test_another_version_of_a_library_changes_the_digests(composed, monkeypatch):
    from importlib import metadata

    config = composed(*QUICK)
    before, real = quick_digests(), metadata.version
    for name, first in (("tf_keras", 0), ("tensorflow-model-optimization", 1), ("rich", 4)):
        monkeypatch.setattr(metadata, "version", lambda asked, n=name: "99" if asked == n else real(asked))
        assert changed(before, digests(config)) == tuple(range(first, 4))


def finished(folder):
    return [path for path in folder.iterdir() if path.is_dir()]


def test_cleaning_deletes_what_was_not_used_for_long_then_the_longest_unused(tmp_path, capsys):
    ages = {1: 40, 2: 10, 3: 5}
    places = {}
    for number, days in ages.items():
        stage, _ = get(Store(tmp_path), {"a": number}, "x" * 1000)
        places[number] = Path(stage.path)
        then = time.time() - days * 86_400
        os.utime(places[number] / "manifest.json", (then, then))
    assert clean.main([f"--dir={tmp_path}", "--unused-days=30"]) == 0
    assert [number for number in ages if places[number].exists()] == [2, 3]
    get(Store(tmp_path), {"a": 2})  # used now
    assert clean.main([f"--dir={tmp_path}", "--max-size=2k"]) == 0
    assert [number for number in ages if places[number].exists()] == [2]
    assert "Deleted 1 stages" in capsys.readouterr().out


def test_cleaning_leaves_alone_what_a_run_works_on_and_takes_what_killed_runs_left(tmp_path):
    owner = process(tmp_path)
    while not made(tmp_path):
        time.sleep(0.02)
    store = tmp_path / "store"
    (work,) = finished(store / "v1" / "dense")
    left = of_another_version(store)
    (store / "venv" / "locks").mkdir(parents=True)
    (store / "v1.txt").write_text("")
    clean.clean(store, unused_s=0)
    assert work.exists() and not left.exists()
    assert {path.name for path in store.iterdir()} == {"v0", "v1", "v1.txt", "venv"}
    owner.kill()
    owner.communicate()
    clean.clean(store, unused_s=0)
    assert not work.exists()
    assert get(Store(store), {"a": 1})[1] == "result"


@pytest.mark.parametrize(("line", "answer"), rows_of("Cleaning"))
def test_cleaning_refuses_what_it_cannot_do(line, answer, capsys, tmp_path):
    with pytest.raises(SystemExit) as ended:
        clean.main(shlex.split(line))
    assert ended.value.code == 2
    assert capsys.readouterr().err.endswith(f"python -m pruneflow.clean: error: {answer}\n")
    assert list(tmp_path.iterdir()) == []


def test_a_size_with_hundreds_of_digits_is_refused(capsys):
    with pytest.raises(SystemExit) as ended:
        clean.main([f"--max-size={'9' * 400}"])
    assert ended.value.code == 2


@pytest.fixture
def crowded(tmp_path):
    """A store with a stage and what a killed run left, beside everything that is somebody's own."""
    made, left = (Path(get(Store(tmp_path / "store"), {"a": number})[0].path) for number in (1, 2))
    left.rename(left.with_suffix(".part"))
    kept, v1 = Path(get(Store(tmp_path / "store"), {"a": 3})[0].path), made.parent.parent
    own = [
        made.parent / name for name in ("final", "f" * 64, f"{'e' * 64}.part", f"{'d' * 12}.00c0ffee.trash")
    ]
    own += [v1 / "models" / "final", kept, v1.parent / "v2" / "dense" / "final"]
    for folder in own:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "weights.h5").write_text("precious")
    (own[1] / "manifest.json").write_text((made / "manifest.json").read_text())  # of another folder
    (v1.parent / "v2" / "locks").mkdir()
    outside = tmp_path / "outside"
    shutil.copytree(v1, outside / "v1")
    links = (made.parent / ("c" * 64), v1 / "linked", v1.parent / "v3", made.parent / f"{'b' * 64}.part")
    for link in links:
        link.symlink_to(outside / "v1")
    (v1 / "locks" / f"dense-{'b' * 64}").touch()
    (left.with_suffix(".part") / "link").symlink_to(outside)
    return made, left.with_suffix(".part")


def test_cleaning_deletes_what_is_proved_to_be_a_stage_and_nothing_else(tmp_path, crowded, capsys):
    before = set(tmp_path.rglob("*"))
    line = [f"--dir={tmp_path / 'store'}", "--max-size=0"]
    assert clean.main([*line, "--dry-run"]) == 0
    assert set(tmp_path.rglob("*")) == before
    *shown, said, left = capsys.readouterr().out.splitlines()
    assert {Path(line.split()[0]) for line in shown} == set(crowded)
    assert said.startswith("Would delete 2 stages, ") and left.startswith("Would leave  0 stages, ")
    assert clean.main(line) == 0
    gone = {path for path in before if any(path.is_relative_to(stage) for stage in crowded)}
    assert set(tmp_path.rglob("*")) == before - gone


def test_sizes_are_read_as_written():
    assert [clean._size(text) for text in ("7", "500M", "1.5G", "2kB")] == [7, 500 * 10**6, 15 * 10**8, 2000]


def test_a_checkpoint_interval_of_nothing_means_never(composed):
    assert composed("stages.checkpoint_seconds=null").stages.checkpoint_seconds is None
    assert store.Stages(dir="x", reuse=True, checkpoint_seconds=0).folder == Path("x")
