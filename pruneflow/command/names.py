"""Names of cells and runs: what differs between them, as short as it can be."""

import hashlib
import re
from collections import Counter
from collections.abc import Sequence

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException

LONGEST_NAME = 80
# Values without capitals, which some file systems take for small letters, and without both "_" and "-", which
# could be read as a value, the next name and its value.
_PLAIN = re.compile(r"[a-z0-9._+]*|[a-z0-9.+-]*")


def cell_name(overrides: Sequence[str], constant_keys: Sequence[str]) -> str:
    """Folder name of a cell: what differs from the others, safe on every file system and in every shell.

    Two cells with the same keys never share a name, even where the file system ignores case.

    Args:
        constant_keys: Keys that have the same value in all cells.

    >>> cell_name(["trainer.epochs=1", "schedule.final_sparsity=0.5", "export=int8"], ["trainer.epochs"])
    'final_sparsity-0.5_export-int8'
    """
    return _safe(_varying(overrides, constant_keys)) or "cell"


def run_name(overrides: Sequence[str]) -> str:
    """Return the end of the folder name of a single run: the overrides, as `cell_name` writes them.

    >>> run_name(["model=lstm", "schedule.final_sparsity=0.5"]), run_name([])
    ('_model-lstm_final_sparsity-0.5', '')
    """
    return f"_{cell_name(overrides, [])}" if overrides else ""


def differing(overrides: Sequence[str], constant_keys: Sequence[str]) -> dict[str, str | float | bool]:
    """Return the settings that differ from the other cells, by the names of `cell_name`.

    Args:
        constant_keys: Keys that have the same value in all cells.

    >>> differing(["seed=1", "schedule.final_sparsity=0.5", "model.filters=[8]"], ["seed"])
    {'final_sparsity': 0.5, 'filters': '[8]'}
    """
    return {label: _value(text) for label, text in _varying(overrides, constant_keys)}


def _value(text: str) -> str | float | bool:
    try:
        value = OverridesParser.create().parse_override(f"value={text}").value()
    except HydraException:  # of settings that were not typed, such as a mapping with keys of any letters
        return text
    return value if isinstance(value, (bool, int, float)) else text


def _varying(overrides: Sequence[str], constant_keys: Sequence[str]) -> list[tuple[str, str]]:
    """Name, as short as it can be, and value, as typed, of each override that differs."""
    pairs = [override.lstrip("+~").partition("=") for override in overrides]
    varying = [(key, value) for key, _, value in pairs if key not in constant_keys]
    last = Counter(_last_part(key) for key, _ in varying)
    return [(_last_part(key) if last[_last_part(key)] == 1 else key, value) for key, value in varying]


def _last_part(key: str) -> str:
    return re.split(r"[./@]", key)[-1] or key


def _safe(pairs: Sequence[tuple[str, str]]) -> str:
    """Join names and values; a digest keeps apart those that had to be changed."""
    name = "_".join(f"{label}-{value}" for label, value in pairs)
    safe = re.sub(r"[^A-Za-z0-9._+-]+", "_", name.replace(",", "+")).strip("._")
    plain = all(_PLAIN.fullmatch(value) for _, value in pairs)
    if safe == name and len(name) <= LONGEST_NAME and plain:
        return name
    exact = ",".join(f"{label}={value}" for label, value in pairs)
    digest = hashlib.sha256(exact.encode(errors="surrogateescape")).hexdigest()[:8]
    return f"{safe[: LONGEST_NAME - 9]}-{digest}"
