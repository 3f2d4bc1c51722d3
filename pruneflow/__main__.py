"""``python -m pruneflow`` and the console script ``pruneflow``."""

from __future__ import annotations

import sys

__all__ = ["main"]


def main() -> None:
    """Run the command line; Ctrl-C ends cleanly even while modules are still being loaded."""
    try:
        from pruneflow.cli import main as run

        run()
    except KeyboardInterrupt:
        print("Interrupted before anything was started.", file=sys.stderr)
        sys.exit(130)


if __name__ == "__main__":
    main()
