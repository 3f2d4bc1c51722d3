"""``python -m pruneflow`` and the console script ``pruneflow``."""

from __future__ import annotations

import os
import sys
from typing import Any

__all__ = ["main"]

INTERRUPTED = (130, 143)


def main() -> None:
    """Run the command line; Ctrl-C ends cleanly even while modules are still being loaded."""
    try:
        from pruneflow.cli import main as run

        run()
    except KeyboardInterrupt:
        print("Interrupted before anything was started.", file=sys.stderr)
        sys.exit(130)
    except SystemExit as ended:
        if ended.code in INTERRUPTED and not {"joblib", "ray"} & set(sys.modules):
            _leave(ended.code)
        raise


def _leave(code: Any) -> None:
    """End without taking TensorFlow down, whose threads are still at work: that may abort (2.21).

    Everything of ours has unwound by now. The engines of sweeps end their processes at exit: left to it.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    main()
