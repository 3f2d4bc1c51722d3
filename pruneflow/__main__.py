"""``python -m pruneflow`` and the console script ``pruneflow``."""

import sys
from typing import NoReturn

__all__ = ["main"]


def main() -> NoReturn:
    """Run the command line; a signal ends it cleanly even while modules are still being loaded."""
    try:
        from pruneflow.runtime import process, signals
    except KeyboardInterrupt:
        _say("Interrupted")
        sys.exit(130)
    with process.ending() as end:
        try:
            from pruneflow.command import completion

            if completion.answered(sys.argv[1:]):
                sys.exit(0)
            from pruneflow.command import cli
        except KeyboardInterrupt:
            said, end.code = signals.received()
            _say(said)
        else:
            cli.main()
    raise AssertionError("the process has ended")


def _say(what: str) -> None:
    print(f"{what} before anything was started.", file=sys.stderr)


if __name__ == "__main__":
    main()
