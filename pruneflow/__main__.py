"""``python -m pruneflow`` and the console script ``pruneflow``."""

from __future__ import annotations

import sys
from typing import NoReturn

from pruneflow import process, signals

__all__ = ["main"]


def main() -> NoReturn:
    """Run the command line; a signal ends it cleanly even while modules are still being loaded."""
    process.run_command(_command)


def _command() -> int:
    try:
        from pruneflow.cli import main as run
    except KeyboardInterrupt:
        said, code = signals.received()
        print(f"{said} before anything was started.", file=sys.stderr)
        return code
    return run()


if __name__ == "__main__":
    main()
