"""Tab completion from the YAML files alone: a tenth of a second, where Hydra takes most of one.

Where they do not tell, as with a folder of one's own, Hydra's completion answers.
"""

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]

from pruneflow.runtime import extensions
from pruneflow.runtime.files import config_folder

_ASKED = (["-sc", "query=bash"], ["--shell-completion", "query=bash"])
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def answered(words: Sequence[str]) -> bool:
    """Print what may follow, if a shell asks for that and the YAML files tell; return whether they did.

    Args:
        words: Of the command line; the shell leaves the line that is typed in ``COMP_LINE``.
    """
    if list(words) not in _ASKED:
        return False
    _, _, typed = os.environ.get("COMP_LINE", "").partition(" ")
    if re.search(r"(^| )(-cd|--config-)", typed) or entry_points(group=extensions.GROUP):
        return False
    found = completions(typed, config_folder())
    if found:
        print(" ".join(found))
    return bool(found)


def completions(typed: str, folder: Path) -> list[str]:
    """Return what the last word may become.

    Args:
        typed: What follows the name of the program; a blank at the end begins a new word.
        folder: Of the YAML files.

    >>> completions("dataset=imdb model=m", config_folder())
    ['model=mlp', 'model=mobilenet']
    >>> completions("schedule=constant schedule.f", config_folder())
    ['schedule.final_sparsity=', 'schedule.frequency=']
    """
    *before, last = typed.split(" ")
    groups = {file.parent.name for file in folder.glob("*/*.yaml")}
    group, equals, start = last.partition("=")
    if equals:
        names = sorted(file.stem for file in folder.glob("*/*.yaml") if file.parent.name == group)
        return [f"{group}={name}" for name in names if name.startswith(start)]
    config = _read(folder / "config.yaml")
    listed = [item for item in config.pop("defaults") if isinstance(item, dict)]
    chosen = {name: option for item in listed for name, option in item.items() if name in groups}
    chosen |= dict(word.split("=", 1) for word in before if word.partition("=")[0] in groups)
    del config["hydra"]
    keys = [f"{name}=" for name in groups] + [f"{key}=" for key in _flat(config)]
    keys += [f"{key}=" for key in _keys_of_groups(folder, chosen, last)]
    return sorted({_as_far_as_a_point(key, len(last)) for key in keys if key.startswith(last)})


def _keys_of_groups(folder: Path, chosen: Mapping[str, str], last: str) -> Iterator[str]:
    """Yield the keys of the options that are chosen: of each group one, until its name is typed."""
    for group, option in chosen.items():
        if last.startswith(f"{group}."):
            yield from (f"{group}.{key}" for key in _keys(folder / group / f"{option}.yaml"))
        elif option not in (None, "null") and group != "experiment":  # which has no keys of its own
            yield f"{group}.name"


def _keys(file: Path) -> Iterator[str]:
    """Yield the keys of an option; nothing where its file is built in a way that only Hydra knows."""
    content = _read(file) if file.is_file() else {}
    below = [str(item) for item in content.pop("defaults", [])]
    base = [item.removesuffix("@_here_") for item in below if not re.match(r"/schema/|_self_$", item)]
    if all(re.fullmatch(r"base/\w+", item) for item in base):
        for item in base:
            yield from _keys(file.parent / f"{item}.yaml")
        yield from _flat(content)


def _flat(content: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    for key, value in content.items():
        if isinstance(value, dict) and value:
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}"


def _as_far_as_a_point(key: str, typed: int) -> str:
    end = key.find(".", typed)
    return key[: end + 1] if end >= 0 else key


def _read(file: Path) -> dict[str, Any]:
    found: dict[str, Any] = yaml.load(file.read_text(encoding="utf-8"), _LOADER)
    return found
