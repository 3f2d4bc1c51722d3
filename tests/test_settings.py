"""Every setting of every option, held against values that nobody should give it."""

import math
from copy import deepcopy

import hydra
import pytest
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from pruneflow import plugins
from pruneflow.config import _GROUPS, config_folder, option_from_hydra
from pruneflow.errors import ConfigError
from pruneflow.options import choices

STRANGE = [-1, 0.5, 10**12, 10**30, 1e-320, 1e308, math.nan, math.inf, None, True, "", "nan", "a\nb", "\0"]
STRANGE += ["\u202e\U0001f600", [], ["a"], [None], [10**12], [math.nan], {}, {"a": {"b": [1]}}]

# What an option cannot be made without.
NEEDED = {
    "dataset/arrays": {"path": "x.npz"},
    "dataset/csv_text": {"path": "x.csv"},
    "dataset/image_folder": {"path": "x"},
    "dataset/custom": {"factory": "a:b"},
    "model/custom": {"factory": "a:b"},
    "model/keras_file": {"path": "x.h5"},
}
WHOLE = (
    "trainer",
    "pruning",
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
