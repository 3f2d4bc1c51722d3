"""Errors a user can act on: one message, no traceback."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

LONGEST = 1000  # letters of a value that a message repeats
COLOURS = re.compile(r"\x1b\[[0-9;]*m?")  # Keras 3 has them in its messages, which may have been cut short

__all__ = ["ConfigError", "DataError", "PruneflowError", "spelled"]


class PruneflowError(Exception):
    """A failure with a message written for the user; ``exit_code`` is what the process returns."""

    exit_code = 1


class ConfigError(PruneflowError):
    """A setting that cannot be used: key, value, what is allowed, what to do next."""

    exit_code = 2
    problem = ""  # without key, value and remedy

    @classmethod
    def of(cls, key: str, value: object, problem: str, remedy: str) -> ConfigError:
        """Build the message ``key=value: problem. remedy``.

        Args:
            key: Full key as typed on the command line, such as ``schedule.final_sparsity``.
            value: The value that was refused.
            problem: What is wrong or what is allowed, without a final stop.
            remedy: What to do next, a sentence.
        """
        problem = COLOURS.sub("", problem)
        error = cls(f"{key}={_shown(value)}: {problem}. {remedy}")
        error.problem = problem
        return error


class DataError(PruneflowError):
    """A data file that is missing, broken or not what was expected."""


def _shown(value: object) -> str:
    try:
        text = spelled(value).encode(errors="backslashreplace").decode()
    except Exception:  # of any kind: somebody else's object, or a number of ten thousand digits
        text = f"<{type(value).__qualname__}>"
    text = " ".join(text.split()) if "\n" in text else text
    return text if len(text) <= LONGEST else f"{text[:LONGEST]} ..."


def spelled(value: Any, text: Callable[[str], str] = str) -> str:
    """Spell a value as the command line does.

    Args:
        value: Null, a scalar, a list or a mapping of such.
        text: Spells text; it stays as it is otherwise.

    >>> spelled({"a": [None, True, 0.5]})
    '{a:[null,true,0.5]}'
    """
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (list, tuple)):
        return "[" + ",".join(spelled(each, text) for each in value) + "]"
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{key}:{spelled(each, text)}" for key, each in value.items()) + "}"
    return text(value) if isinstance(value, str) else str(value)
