"""Keys and groups that there are, and the answer to one that is not there."""

import difflib
import re
from dataclasses import is_dataclass

from hydra.core.config_store import ConfigStore
from omegaconf import DictConfig, OmegaConf
from omegaconf.base import Node

from pruneflow.options import choices

SHORT = {"sparsity": "final_sparsity", "lr": "learning_rate", "batch": "batch_size"}  # what people type
MAIN = ("model", "dataset", "schedule", "trainer", "export")
LOOK = "python -m pruneflow --cfg job shows all keys with their values; conf/ explains them."


def unknown_key(key: str, owner: str = "", value: str = "") -> str:
    """Say that there is no such key, and what is near. Hydra would advise ``+key``, which nothing takes.

    Args:
        owner: Name of the class that has no such key, where that is known.
        value: As it was typed, where that is known.
    """
    group, _, _ = key.partition(".")
    having = [f"{group}={name}" for name in _options_with(key)]
    if having:
        asked = next((name for name, option in choices(group).items() if option.__name__ == owner), "")
        chosen = f"{group}={asked}" if asked else f"the {group} that is chosen"
        others = " and ".join(filter(None, (", ".join(having[:-1]), having[-1])))
        has = "has" if len(having) == 1 else "have"
        return f"{key}: {chosen} has no such key; {others} {has} it. Leave it out, or choose another {group}."
    near = [f"{each}={_meant(each, value)}" if value else each for each in _near(key)]
    hint = f"Did you mean {' or '.join(near)}? " if near else ""
    return f"{key}: there is no such key. {hint}{LOOK}"


def _meant(key: str, value: str) -> str:
    """Return a value; of a sparsity in percent the fraction.

    >>> _meant("schedule.final_sparsity", "90"), _meant("trainer.epochs", "90")
    ('0.9', '90')
    """
    percent = re.fullmatch(r"([1-9]\d(\.\d+)?)%?", value) if key.endswith("sparsity") else None
    return f"{float(percent[1]) / 100:g}" if percent else value


def _near(key: str) -> list[str]:
    """Return keys that end with this word or one like it, the main groups first; or keys spelled alike."""
    alike = [each for each in sorted(_keys()) if "." not in key or not choices(each)]  # a group has no value
    last = sorted({each.rpartition(".")[2] for each in alike})
    word = SHORT.get(key, key)
    if word not in last:
        groups = difflib.get_close_matches(key, [each for each in alike if choices(each)], n=1, cutoff=0.8)
        if groups:
            return groups
        word = [*difflib.get_close_matches(word, last, n=1, cutoff=0.8), word][0]
    owned = [each for each in _keys() if each.endswith(f".{word}")]
    owned.sort(key=lambda each: each.partition(".")[0] not in MAIN)
    return owned[:3] or difflib.get_close_matches(key, alike, n=3, cutoff=0.6)


def is_group(key: str) -> bool:
    """Return whether a key chooses options, such as ``export`` or ``trainer/recipe@trainer``."""
    return bool(choices(key)) or key == "experiment" or "/" in key


def takes(key: str, kind: type[Node]) -> bool:
    """Return whether some option has the key, for values of this kind, such as ``ListConfig``."""
    return isinstance(_keys().get(key), kind)


def _keys() -> dict[str, Node | None]:
    """Every key that some option has, as typed on the command line, and what holds its value."""
    schema = ConfigStore.instance().repo["schema"]
    found = _leaves(schema["config.yaml"].node, prefix="")
    for group, options in schema.items():
        for entry in options.values() if isinstance(options, dict) else []:
            found |= _leaves(entry.node, prefix=f"{group}.")
    return found


def _options_with(key: str) -> list[str]:
    """Names of the options of its group that have a key."""
    group, _, _ = key.partition(".")
    options = ConfigStore.instance().repo["schema"].get(group)
    if not isinstance(options, dict):
        return []
    has = [file for file, entry in options.items() if key in _leaves(entry.node, prefix=f"{group}.")]
    return sorted(file.removesuffix(".yaml") for file in has)


def _leaves(node: DictConfig, *, prefix: str) -> dict[str, Node | None]:
    found: dict[str, Node | None] = {}
    for key in map(str, node):
        value = node._get_node(key)
        if isinstance(value, DictConfig) and is_dataclass(value._metadata.ref_type):
            group = OmegaConf.structured(value._metadata.ref_type) if value._is_missing() else value
            found |= _leaves(group, prefix=f"{prefix}{key}.")
        else:
            found[f"{prefix}{key}"] = value if isinstance(value, Node) else None
    return found
