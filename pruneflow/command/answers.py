"""Hydra's and OmegaConf's errors in pruneflow's words: key, value, what is allowed, what to do."""

import re
import shlex
import warnings
from collections.abc import Sequence
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import hydra
from hydra.errors import HydraException, OverrideParseException
from omegaconf import DictConfig, FloatNode, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError  # type: ignore[import-untyped]

from pruneflow.command import yaml_answers
from pruneflow.command.keys import LOOK, is_group, takes, unknown_key
from pruneflow.command.yaml_answers import Answers, allowed_by
from pruneflow.errors import ConfigError, PruneflowError
from pruneflow.runtime import memory

REFUSED = (HydraException, OmegaConfBaseException, YAMLError)
"""Exceptions by which Hydra refuses a command line or a file."""

_OPTIONS_OF_FILES = {
    "model": dict.fromkeys((".keras", ".h5"), "keras_file"),
    "dataset": {"": "image_folder", ".npz": "arrays", ".npy": "arrays", ".csv": "csv_text"},
}
"""By group: the option that reads a file with this ending, or a folder."""

_INTERNAL = (
    "object_type=",
    "reference_type=",
    "full_key:",
    "Config search path",
    "provider=",
    "See https://",
)


def composed(name: str, overrides: Sequence[str], **options: Any) -> DictConfig:
    """Compose a config as Hydra does, which refuses ``group=null`` and some malformed overrides oddly.

    Raises:
        ConfigError: for those.
    """
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("error", "provider=.*is not available")
            return hydra.compose(name, list(overrides), **options)
    except UserWarning as warning:
        path = str(warning).partition("path=")[2].removesuffix(" is not available.")
        problem = "there is no such folder"
        raise ConfigError.of("hydra.searchpath", path, problem, "Check the path.") from warning
    except (ValueError, AttributeError, AssertionError, NotImplementedError) as error:
        unmerged = "Hydra cannot merge this into its settings. Write group=choice or key=value."
        reason = in_words(error) if isinstance(error, ValueError) else unmerged
        raise ConfigError(f"{' '.join(overrides)}: {reason}") from error


def in_words(error: Exception) -> str:
    """One message for an error of Hydra, OmegaConf or the reader of YAML."""
    if isinstance(error, YAMLError):
        return yaml_answers.of_syntax(error)
    if isinstance(error, OverrideParseException):
        return _not_an_override(error.override)
    text = "\n".join(str(cause) for cause in _causes(error))
    for pattern, answer in (*yaml_answers.ANSWERS, *_ANSWERS):
        if (match := re.search(pattern, text, re.MULTILINE)) and (said := answer(match)):
            return said
    lines = [line for line in text.splitlines() if line.strip()]
    return "\n".join(line for line in lines if not line.strip().startswith(_INTERNAL))


def of_object(settings: Any, error: OmegaConfBaseException) -> str:
    """One message for a typed config of which a value was changed to one that it cannot take."""
    value = re.match(r"Value '(.*)' of type", str(error))
    allowed = allowed_by(str(error)) if value else "null is not allowed here"
    return f"{_full_key(settings, error)}={value[1] if value else 'null'}: {allowed}. {LOOK}"


def _full_key(settings: Any, error: OmegaConfBaseException) -> str:
    """OmegaConf names keys as of the innermost object."""
    for each in fields(settings):
        value = getattr(settings, each.name)
        if is_dataclass(value):
            try:
                OmegaConf.structured(value)
            except OmegaConfBaseException as inner:
                return f"{each.name}.{_full_key(value, inner)}"
    return str(error.full_key)


def _causes(error: BaseException) -> list[BaseException]:
    causes = [error]
    while isinstance(causes[-1].__cause__, (HydraException, OmegaConfBaseException)):
        causes.append(causes[-1].__cause__)
    return causes


def _key_of_a_group(match: re.Match[str]) -> str:
    return f"{match[1]}: there is no such key. Did you mean {match[2]}?"


def _unknown(match: re.Match[str]) -> str:
    owner = re.search(r"^Key '.+' not in '(\w+)'", match.string, re.MULTILINE)
    value = re.search(r" use \+[^=\s]+=(.*)$", match.string, re.MULTILINE)
    return unknown_key(match[1], owner[1] if owner else "", value[1] if value else "")


def _several(match: re.Match[str]) -> str:
    """Several values where no sweep was asked for; options and most keys take no list."""
    typed, key, value = match[1], match[2], match[3]
    advice = f"; a list is written {key}=[{value}]" if takes(key, ListConfig) else ""
    if takes(key, FloatNode) and re.fullmatch(r"-?\d+,\d+", value):
        advice = f"; a number is written with a point, {key}={value.replace(',', '.')}"
    what = "options" if is_group(key) else "values"
    return f"{typed}: several {what} need a sweep, python -m pruneflow -m {shlex.quote(typed)}{advice}."


def _sweep(match: re.Match[str]) -> str:
    return f"{match[1]}: several values need a sweep, python -m pruneflow -m {shlex.quote(match[1])}."


def _refused(match: re.Match[str]) -> str:
    return f"{match[1]}: {allowed_by(match[2])}. {LOOK}"


def _no_such_option(match: re.Match[str]) -> str:
    group, typed, allowed = match[1], match[2], ", ".join(match[3].split())
    root, _, path = f"{group}/{typed}".partition("/")
    remedy = "Pick one of these."
    if root in _OPTIONS_OF_FILES and re.search(r"[./]", path):  # a file or a folder in place of an option
        group, typed = root, path
        reader = _OPTIONS_OF_FILES[root].get(Path(path).suffix)
        remedy = f"Pick one of these, or write {root}={reader} {root}.path={path}." if reader else remedy
    return f"{group}={typed}: there is no such option; allowed are {allowed}. {remedy}"


def _without_value(match: re.Match[str]) -> str:
    return f"{match[1]}: it has no value. {LOOK}"


def _without_option(match: re.Match[str]) -> str:
    return f"{match[1]}: no option is chosen; allowed are {', '.join(match[2].split())}. Pick one of these."


def _without_variable(match: re.Match[str]) -> str:
    remedy = f"Set it, or write ${{oc.env:{match[1]},default}}"
    return f"{match[2]}: the environment variable {match[1]} is not set. {remedy}."


def _without_origin(match: re.Match[str]) -> str:
    return f"{match[2]}: its value is taken from {match[1]}, and there is no such key. {LOOK}"


def _not_an_override(typed: str) -> str:
    key, _, value = typed.partition("=")
    if value.startswith("{"):
        return (
            f"{typed}: not a setting. Keys in braces are not quoted, the whole argument is: "
            "'key={pattern:0.5,other*:0.9}'."
        )
    quoted = f": \"{key}='{value}'\"" if value and "'" not in value and len(value) < 200 else ""
    remedy = f"Write key=value; quote values that hold blanks, commas, brackets or ~{quoted}"
    return f"{typed}: not a setting. {remedy}."


def _there_already(match: re.Match[str]) -> str:
    return f"+{match[2]}: {match[1]} is there already. Write {match[2]}."


def _no_such_config(match: re.Match[str]) -> str:
    remedy = "It is looked for in conf/ and in the folder of --config-dir"
    return f"--config-name={match[1]}: there is no file {match[1]}.yaml. {remedy}."


_ANSWERS: Answers = (
    (r"^Could not override '(.+?)'\.\nDid you mean to override (.+?)\?", _key_of_a_group),
    (r"^Could not override '(.+?)'", _unknown),
    (r"^Could not delete from config\. '(.+?)' does not exist", _unknown),
    (r"^Ambiguous value for argument '((.+?)=(.*))'$", _several),
    (r"^Sweep parameters '(.+)' requires --multirun", _sweep),
    (r"^Error merging override (.+)((?:.|\n)*)", _refused),
    (r"Could not find '(.+)/(.+)'\s+Available options in '.+?':\n((?:.|\n)+?)\nConfig", _no_such_option),
    (r"^You must specify '(.+?)', e\.g(?:.|\n)*?Available options:\n((?:.|\n)+)", _without_option),
    (r"Environment variable '(.+?)' not found\"?\n +full_key: (\S+)", _without_variable),
    (r"^Interpolation key '(.+?)' not found\n +full_key: (\S+)", _without_origin),
    (r"[Mm]issing(?:.|\n)*argument: '(\w+)'", _without_value),
    (r"[Mm]issing(?:.|\n)*full_key: (\S+)", _without_value),
    (r"An item is already at '(.+?)'\.\nEither remove \+ prefix: '(.+?)'", _there_already),
    (r"^Cannot find primary config '(.+?)'", _no_such_config),
)


def failure_in_words(error: Exception) -> str:
    """One message for a failure that has a cause outside the program; empty for any other.

    TensorFlow has error classes of its own for a full disk, hence the search in the text.
    """
    if isinstance(error, PruneflowError):
        return str(error)
    text = str(error)
    if match := re.search(r"\bDataError: (.+)", text):  # raised where TensorFlow reads examples from files
        return match[1]
    if match := re.search(r"(truncated|corrupted) record at \d+|(\S+); No such file or directory", text):
        what = match[2] or f"A TFRecord file ({match[0]})"
        return f"{what}: changed or vanished while it was in use. Run again."
    for sign in ("No space left on device", "Disk quota exceeded", "File too large", "Read-only file system"):
        if sign in text:
            where = re.search(r"(/[^\s;:'\"]+)", text)
            file = where[1] if where else "the run folder"
            return f"{file} cannot be written: {sign}. Make room there, or choose another hydra.run.dir."
    if memory.ran_out(error):
        return memory.RAN_OUT
    if isinstance(error, OSError):
        return f"{error.filename or 'A file'}: {error.strerror or error}. Check the path and its permissions."
    return ""
