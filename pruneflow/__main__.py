"""``python -m pruneflow`` and the console script ``pruneflow``."""

from __future__ import annotations

import sys
from typing import NoReturn

__all__ = ["main"]


def main() -> NoReturn:
    """Run the command line; a signal ends it cleanly even while modules are still being loaded."""
    try:
        from pruneflow.runtime import process
    except KeyboardInterrupt:
        _say("Interrupted")
        sys.exit(130)
    process.run_command(_command)


def _command() -> int:
    from pruneflow.runtime import signals

    try:
        from pruneflow.command.cli import main as run
    except KeyboardInterrupt:
        said, code = signals.received()
        _say(said)
        return code
    return run()


def _say(what: str) -> None:
    print(f"{what} before anything was started.", file=sys.stderr)


if __name__ == "__main__":
    main()
