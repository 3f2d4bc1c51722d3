"""Hydra's and OmegaConf's errors in pruneflow's words: key, value, what is allowed, what to do."""

from __future__ import annotations

import difflib
import re
from dataclasses import fields

from hydra.core.config_store import ConfigStore
from hydra.errors import HydraException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from pruneflow.config import Config
from pruneflow.errors import PruneflowError
from pruneflow.sparsity.prune import Pruning

__all__ = ["failure_in_words", "in_words"]

_LOOK = "python -m pruneflow --cfg job shows all keys with their values; conf/ explains them."

# What OmegaConf says: what is allowed.
_ALLOWED = {
    "converted to Float": "it must be a number",
    "converted to Integer": "it must be a whole number",
    "not a valid bool": "it must be true or false",
    "is not Optional": "null is not allowed here",
    "is not a ListConfig": "it must be a list, such as [a,b]",
    "Union[int, str]": "it must be a whole number or auto",
    "Cannot convert": "it must be a single value, not a list or a group of keys",
}

_INTERNAL = (
    "object_type=",
    "reference_type=",
    "full_key:",
    "Config search path",
    "provider=",
    "See https://",
)


def in_words(error: Exception) -> str:
    """One message for an error of Hydra or OmegaConf."""
    texts = [str(cause) for cause in _causes(error)]
    for text in texts:
        if match := re.match(r"Could not override '(.+?)'", text):
            return _unknown_key(match[1])
        if match := re.match(r"Ambiguous value for argument '(.+)'", text):
            key, _, value = match[1].partition("=")
            return f"{match[1]}: several values need a sweep (-m); a list is written {key}=[{value}]."
        if match := re.match(r"Error merging override (.+)", text):
            return f"{match[1]}: {_allowed(texts[-1])}. {_LOOK}"
        if match := re.match(
            r"(?s).*Could not find '(.+)/(.+)'.*?Available options in '.+?':\n(.+?)\nConfig", text
        ):
            options = ", ".join(match[3].split())
            return (
                f"{match[1]}={match[2]}: there is no such option; allowed are {options}. Pick one of these."
            )
        if "missing" in text and (key := _key_without_value(text)):
            return f"{key}: it has no value. {_LOOK}"
        if match := re.match(r"Lexer\w+|mismatched input|extraneous input|missing EQUAL|no viable", text):
            typed = re.sub(r"^Lexer\w+: ", "", text.splitlines()[0])
            return f"{typed}: not an override. Write key=value; quote values that hold blanks or commas."
    lines = [line for text in texts for line in text.splitlines() if line.strip()]
    return "\n".join(line for line in lines if not line.strip().startswith(_INTERNAL))


def _key_without_value(text: str) -> str:
    for pattern in (r"argument: '(\w+)'", r"full_key: (\S+)", r"mandatory value: (\S+)"):
        if match := re.search(pattern, text):
            return match[1]
    return ""


def failure_in_words(error: Exception) -> str:
    """One message for a failure that has a cause outside the program; empty for any other.

    TensorFlow has error classes of its own for a full disk, hence the search in the text.
    """
    if isinstance(error, PruneflowError):
        return str(error)
    text = str(error)
    for sign in ("No space left on device", "Disk quota exceeded", "File too large", "Read-only file system"):
        if sign in text:
            where = re.search(r"(/[^\s;:'\"]+)", text)
            file = where[1] if where else "the run folder"
            return f"{file} cannot be written: {sign}. Make room there, or choose another hydra.run.dir."
    if "OOM when allocating" in text or "out of memory" in text.lower() or isinstance(error, MemoryError):
        return (
            "Memory ran out. Lower trainer.batch_size and trainer.dense_batch_size, or set dataset.limit; "
            "on a GPU keep device.memory_growth=true."
        )
    if isinstance(error, OSError):
        return f"{error.filename or 'A file'}: {error.strerror or error}. Check the path and its permissions."
    return ""


def _causes(error: BaseException) -> list[BaseException]:
    causes = [error]
    while isinstance(causes[-1].__cause__, (HydraException, OmegaConfBaseException)):
        causes.append(causes[-1].__cause__)
    return causes


def _allowed(text: str) -> str:
    for sign, allowed in _ALLOWED.items():
        if sign in text:
            return allowed
    return text.splitlines()[0].rstrip(".")


def _unknown_key(key: str) -> str:
    """Hydra would advise ``+key``, which no option here takes."""
    near = difflib.get_close_matches(key, _known_keys(), n=3, cutoff=0.6)
    hint = f"Did you mean {' or '.join(near)}? " if near else ""
    return f"{key}: there is no such key. {hint}{_LOOK}"


def _known_keys() -> list[str]:
    """Every key that some option has, as typed on the command line."""
    keys = [field.name for field in fields(Config)]
    keys += [f"pruning.{field.name}" for field in fields(Pruning)]
    for group, options in ConfigStore.instance().repo["schema"].items():
        for entry in options.values() if isinstance(options, dict) else []:
            keys += [f"{group}.{key}" for key in _leaves(entry.node)]
    return sorted(set(keys))


def _leaves(node: DictConfig) -> list[str]:
    found: list[str] = []
    for key in map(str, node):
        value = node._get_node(key)
        if isinstance(value, DictConfig) and not value._is_missing():
            found += [f"{key}.{leaf}" for leaf in _leaves(value)]
        else:
            found.append(key)
    return found
