"""Every setting of every option, held against values that nobody should give it."""

import math
from copy import deepcopy
from dataclasses import replace

import hydra
import pytest
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from pruneflow.command import answers, plugins
from pruneflow.datasets.spec import Spec
from pruneflow.errors import ConfigError, PruneflowError
from pruneflow.flow.config import _GROUPS, config_folder, option_from_hydra
from pruneflow.flow.prepare import prepare
from pruneflow.options import choices
from pruneflow.runtime import backend, memory

STRANGE = [-1, 0.5, 10**12, 10**30, 1e-320, 1e308, math.nan, math.inf, None, True, "", "nan", "a\nb", "\0"]
STRANGE += ["\u202e\U0001f600", [], ["a"], [None], [10**12], [math.nan], {}, {"a": {"b": [1]}}]

# What an option cannot be made without.
NEEDED = {
    "dataset/arrays": {"path": "x.npz"},
    "dataset/csv_text": {"path": "x.csv"},
    "dataset/image_folder": {"path": "x"},
    "dataset/tfrecord": {"path": "x"},
    "dataset/custom": {"factory": "a:b"},
    "model/custom": {"factory": "a:b"},
    "model/keras_file": {"path": "x.h5"},
}
WHOLE = (
    "trainer",
    "pruning",
    "sensitivity",
    "sharing",
    "quantization_aware",
    "latency",
    "tensorboard",
    "stages",
)  # what takes values of others, or is no group


def parts():
    """Each option with its defaults, alone in a config."""
    whole = hydra.compose("config")
    yield from ((part, whole) for part in WHOLE)
    for file in (f"{group}/{name}" for group in _GROUPS for name in choices(group) if group not in WHOLE):
        group = file.partition("/")[0]
        composed = hydra.compose(file)
        for key, value in NEEDED.get(file, {}).items():
            composed[group][key] = value
        yield group, composed


def keys(node, prefix):
    for name in node:
        value = node._get_node(name)
        if isinstance(value, DictConfig) and OmegaConf.get_type(value) is not dict:
            yield from keys(value, f"{prefix}.{name}")
        else:
            yield f"{prefix}.{name}"


@pytest.fixture(scope="module")
def taken():
    """What each key takes of the strange values; a key that options share is tried in the first."""
    found = {}
    with hydra.initialize_config_dir(str(config_folder()), version_base="1.3"):
        plugins.prefer_own_yaml()
        for group, composed in parts():
            for key in set(keys(composed[group], group)) - found.keys():
                found[key] = [value for value in STRANGE if takes(composed, group, key, value)]
    return found


def takes(composed, group, key, value):
    above, _, name = key.rpartition(".")
    node = OmegaConf.select(composed, above)
    before = deepcopy(node._get_node(name))
    try:
        OmegaConf.update(composed, key, value, merge=False)
        option_from_hydra(composed, group)
    except (ConfigError, OmegaConfBaseException) as error:  # anything else would be a traceback
        assert str(error)
        return False
    finally:
        node._set_item_impl(name, before)
    return True


@pytest.mark.run
def test_a_strange_value_is_taken_or_refused_with_a_message(taken):
    assert len(taken) > 100
    assert {"model.filters", "schedule.power", "trainer.optimizer_parameters.rho"} <= taken.keys()


def test_no_whole_number_is_beyond_32_bits_but_bytes_of_a_cache(taken):
    others = {key for key, values in taken.items() if any(each in values for each in (0.5, "a\nb", ["a"]))}
    switches = {key for key, values in taken.items() if any(each is True for each in values) and -1 in values}
    large = {key for key, values in taken.items() if 10**12 in values or [10**12] in values}
    assert large - others - switches == {"dataset.cache_max_bytes"}


def test_no_number_is_endless_or_none(taken):
    texts = {key for key, values in taken.items() if any(each in values for each in ("a\nb", ["a"]))}
    endless = {key for key, values in taken.items() if any(map(is_endless, values))}
    assert endless <= texts


def is_endless(value):
    return any(
        isinstance(each, float) and not abs(each) < 1e300
        for each in (value if isinstance(value, list) else [value])
    )


def test_no_text_has_a_null_character(taken):
    assert not [key for key, values in taken.items() if "\0" in values]


IMAGES = Spec(kind="image", shape=(28, 20, 1), classes=10)
TEXTS = Spec(kind="tokens", shape=(12,), classes=3, vocabulary_size=70)


@pytest.mark.run
@pytest.mark.parametrize(
    ("words", "spec"),
    [
        (["model=cnn"], IMAGES),
        (["model=cnn", "model.filters=[3,5]", "model.dense_units=[7,4]"], IMAGES),
        (["model=cnn", "model.filters=[3,5]", "model.padding=same", "model.batch_normalization=all"], IMAGES),
        (["model=cnn", "model.filters=[3,5]", "model.batch_normalization=between"], IMAGES),
        (["model=resnet8"], IMAGES),
        (["model=resnet8", "model.filters=[4,6]"], replace(IMAGES, shape=(5, 3, 13))),
        (["model=mlp", "model.hidden_units=[]"], IMAGES),
        (["model=mlp", "model.hidden_units=[6,5]", "model.batch_normalization=true"], IMAGES),
        (["model=lstm", "dataset=imdb"], TEXTS),
        (["model=lstm", "dataset=imdb", "model.bidirectional=true"], replace(TEXTS, classes=2)),
        (["model=gru", "dataset=imdb", "model.bidirectional=true"], TEXTS),
    ],
)
def test_weights_are_counted_without_building_the_network(composed, words, spec):
    model = composed(*words).model
    assert model.parameters(spec) == model.build(spec).count_params()


@pytest.mark.run
def test_weights_of_mobilenet_are_estimated(composed):
    model = composed("model=mobilenet", "model.alpha=2").model
    assert model.parameters(IMAGES) == pytest.approx(model.build(IMAGES).count_params(), rel=0.1)


def test_a_network_that_memory_does_not_hold_is_refused_before_it_is_built(composed, monkeypatch):
    model = composed("model.filters=[3]", "model.dense_units=[100000]").model
    count = model.parameters(IMAGES)
    monkeypatch.setattr("pruneflow.runtime.memory.allowed_bytes", lambda: 16 * count)
    model.check_memory(IMAGES)
    monkeypatch.setattr("pruneflow.runtime.memory.allowed_bytes", lambda: 16 * count - 1)
    with pytest.raises(ConfigError, match=r"^model=cnn: its 36,200,040 weights, .* 0\.6 GB .*dense_units"):
        model.check_memory(IMAGES)


def test_texts_that_memory_does_not_hold_are_refused_before_they_are_made(composed, monkeypatch):
    monkeypatch.setattr("pruneflow.runtime.memory.allowed_bytes", lambda: 3_000_000_000)
    with pytest.raises(ConfigError, match=r"^dataset\.length=1000000: 400 texts of this length take 3\.2 GB"):
        composed("model=lstm", "dataset=imdb", "dataset.length=1000000").dataset.load()


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        ImportError("x.so: failed to map segment from shared object"),
        RuntimeError("can't start new thread"),
        OSError(12, "Cannot allocate memory"),
    ],
)
def test_too_little_memory_while_libraries_load_is_one_message(error):
    with pytest.raises(PruneflowError) as caught, backend._importing():
        raise error
    assert str(caught.value) == memory.RAN_OUT == answers.failure_in_words(error)


def test_tensorflow_is_not_loaded_where_its_addresses_are_not_to_be_had(monkeypatch):
    monkeypatch.setattr(memory, "_address_space", lambda: 1_400_000_000)
    with pytest.raises(PruneflowError, match=r"^Memory ran out: ulimit -v allows 1\.4 GB, .* 3\.0 GB"):
        backend.tensorflow.__wrapped__()


def test_what_keras_cannot_build_is_one_message(composed, monkeypatch):
    def build(self, spec):
        raise ValueError("Shape [1,2]\n is too large")

    config = composed()
    monkeypatch.setattr(type(config.model), "build", build)
    with pytest.raises(
        ConfigError, match=r"^model=cnn: the network cannot be built: Shape \[1,2\] is too large\."
    ):
        prepare(config)
