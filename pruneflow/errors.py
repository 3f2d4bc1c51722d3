"""Errors a user can act on: one message, no traceback."""

from __future__ import annotations

import re

LONGEST = 1000  # letters of a value that a message repeats
COLOURS = re.compile(r"\x1b\[[0-9;]*m?")  # Keras 3 has them in its messages, which may have been cut short

__all__ = ["ConfigError", "DataError", "PruneflowError"]


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
    """Spell ``value`` the way the command line does."""
    try:
        text = _spelled(value).encode(errors="backslashreplace").decode()
    except Exception:  # of any kind: somebody else's object, or a number of ten thousand digits
        text = f"<{type(value).__qualname__}>"
    text = " ".join(text.split()) if "\n" in text else text
    return text if len(text) <= LONGEST else f"{text[:LONGEST]} ..."


def _spelled(value: object) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (list, tuple)):
        return "[" + ",".join(_spelled(item) for item in value) + "]"
    if isinstance(value, dict):
        return "{" + ",".join(f"{key}:{_spelled(item)}" for key, item in value.items()) + "}"
    return str(value)
