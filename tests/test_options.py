"""Every registered option does the verb of its group: a new one is tested here without an edit."""

import functools

import numpy as np
import pytest
import yaml
from hydra.core.config_store import ConfigStore
from own_fixtures import class_folders, numbers, opinions, rows
from record_fixtures import number_files

import pruneflow
from pruneflow import Spec
from pruneflow.datasets.augmentation import augment
from pruneflow.datasets.weights import weighed
from pruneflow.flow.config import config_folder
from pruneflow.flow.loggers import Tool
from pruneflow.options import choices
from pruneflow.runtime.device import processors

SPECS = {
    "image": Spec("image", (32, 32, 3), 3),
    "tokens": Spec("tokens", (12,), 3, 70),
    "numbers": Spec("numbers", (6,), 3),
    "signal": Spec("signal", (12, 5), 3),
}
BROUGHT = ("custom", "keras_file")  # networks of the user's own have tests of their own


@functools.cache
def composed(group, name):
    data = {"lstm": ["dataset=imdb"], "gru": ["dataset=imdb"]}.get(name, []) if group == "model" else []
    return getattr(pruneflow.compose([f"{group}={name}", *data]), group)


def options(group):
    """Every file of the group, and every class: one may have several files."""
    files = {file.stem for file in (config_folder() / group).glob("*.yaml")}
    assert set(choices(group)) <= files
    return sorted(files)


@pytest.mark.parametrize("group", yaml.safe_load((config_folder() / "config.yaml").read_text())["defaults"])
def test_every_group_of_the_config_has_options_with_schemas(group):
    if isinstance(group, dict) and (name := next(iter(group))) in choices_of_groups():
        assert options(name)


def choices_of_groups():
    return {name for name in ConfigStore.instance().list("schema") if not name.endswith(".yaml")}


@pytest.mark.parametrize("name", options("schedule"))
@pytest.mark.parametrize("steps", [1, 7, 844])
def test_a_schedule_rises_to_its_target_within_its_steps(name, steps):
    plan = composed("schedule", name).plan(steps)
    reached = [plan.sparsity_of_update(step) for step in plan.updates]
    assert reached == sorted(reached) and reached[-1] == pytest.approx(0.8)
    assert 0 <= plan.updates[0] <= plan.updates[-1] <= steps


@pytest.mark.parametrize("name", options("criterion"))
def test_a_criterion_scores_each_element_the_same_each_time(name):
    rng = np.random.default_rng(0)
    weight, accumulated = rng.normal(size=(5, 4)), rng.normal(size=(5, 4)) ** 2
    criterion = composed("criterion", name)
    given = {"name": "a/kernel", "seed": 1, "accumulated": accumulated if criterion.uses_gradients else None}
    scores = criterion.scores(weight, **given)
    assert scores.shape == weight.shape and (scores >= 0).all() and np.ptp(scores) > 0
    np.testing.assert_array_equal(scores, criterion.scores(weight, **given))


@pytest.mark.parametrize("name", sorted({*options("model")} - {*BROUGHT}))
def test_a_model_gives_a_row_per_example_for_all_that_it_reads(name):
    model = composed("model", name)
    read = [model.reads] if isinstance(model.reads, str) else list(model.reads)
    assert read
    for kind in read:
        spec = SPECS[kind]
        network = model.build(spec)
        x = np.ones((2, *spec.shape), np.int32 if kind == "tokens" else np.float32)
        assert network(x).shape[0] == 2 and np.isfinite(network(x)).all()


NEEDED = {"int4": "litert_quantizer", "micro": "tflite_micro"}  # by exports whose package is an extra


@pytest.mark.parametrize("name", options("export"))
def test_an_export_names_its_files_once_each(name):
    if name in NEEDED:
        pytest.importorskip(NEEDED[name])
    kinds = [each.kind for each in composed("export", name).exports()]
    assert kinds and len({*kinds}) == len(kinds)


def given():
    """What a function of a user's own may return."""
    return {f"{key}_train": value for key, value in numbers().items()}


def made(folder):
    """What the options of the group dataset are given; a new one needs a row here."""
    np.savez(folder / "rows.npz", **numbers())
    return {
        "mnist": [],
        "imdb": [],
        "arrays": [f"dataset.path={folder / 'rows.npz'}", "model=mlp"],
        "csv_text": [f"dataset.path={rows(folder / 'a.csv', opinions())}", "model=lstm"],
        "image_folder": [f"dataset.path={class_folders(folder / 'photos')}"],
        "tfrecord": [f"dataset.path={number_files(folder / 'records')}", "model=mlp"],
        "custom": ["dataset.factory=test_options:given", "model=mlp"],
    }


@pytest.mark.parametrize("name", options("dataset"))
def test_a_data_set_has_three_parts_that_its_spec_describes(name, tmp_path):
    words = made(tmp_path)[name] + (["model=lstm"] if name == "imdb" else [])
    data = pruneflow.compose([f"dataset={name}", *words]).dataset.load()
    for part in (data.train, data.validation, data.test):
        assert len(part) == len(part.y) > 0
        assert part.x[:1].shape[1:] == data.spec.shape
        assert set(part.y) <= set(range(data.spec.classes))
    assert data.digest and data.source
    weights = weighed(data, "balanced").train.weights
    assert len(weights) == len(data.train) and weights.mean() == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("name", options("then"))
def test_what_comes_after_a_cut_is_a_structure_of_the_same_name(name):
    then = pruneflow.compose(["structure=channel", f"then={name}"]).then
    if name != "none":
        assert then.structure == composed("structure", name)
        assert then.final_sparsity == min(0.8, then.structure.max_sparsity)


@pytest.mark.parametrize("name", options("augmentation"))
def test_an_augmentation_keeps_the_shape_of_a_batch_and_is_fixed_by_seed_and_step(name):
    option = composed("augmentation", name)
    batch = np.random.default_rng(0).random((8, *SPECS["image"].shape)).astype(np.float32)
    first, again = (np.asarray(augment(option.layers(), (1, 0))(batch, 5)) for _ in range(2))
    assert first.shape == batch.shape
    np.testing.assert_array_equal(first, again)
    assert np.array_equal(first, batch) is (option.inputs == {})


@pytest.mark.parametrize("name", options("trainer"))
def test_a_trainer_says_what_decides_its_phases(name):
    trainer = composed("trainer", name)
    assert trainer.dense_fit(0).inputs["epochs"] >= 0 and trainer.pruned_fit(0).inputs["epochs"] >= 1


@pytest.mark.parametrize("name", options("device"))
def test_a_device_takes_all_processors_or_its_share(name):
    device = composed("device", name)
    assert device.kind in ("auto", "cpu", "gpu")
    assert (device.interpreters(), device.interpreters(3)) == (processors(), 3)


TOOLS = {
    "none": (),
    "mlflow": ("mlflow",),
    "wandb": ("wandb",),
    "all": ("mlflow", "wandb"),
}  # a new one needs a row


@pytest.mark.parametrize("name", options("logger"))
def test_a_logger_names_its_tools_and_the_extras_that_bring_them(name, monkeypatch):
    monkeypatch.setattr(Tool, "require_installed", lambda *_: None)
    tools = composed("logger", name).tools()
    assert tuple(tool.option_name for tool in tools) == TOOLS[name]
    extras = (config_folder().parent / "pyproject.toml").read_text()
    assert all(tool.title and tool.needs and f"\n{tool.extra} = [" in extras for tool in tools)
