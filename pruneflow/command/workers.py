"""The command in each worker of a training: the chief runs it, the others follow."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from pruneflow.flow import following
from pruneflow.flow.config import Config
from pruneflow.runtime import replicas
from pruneflow.runtime.terminal import complain, console, say


def check(configs: Sequence[Config], *, sweep: bool) -> None:
    """Refuse workers that the environment does not name, and sweeps of several workers."""
    problem = "a sweep is many runs, and workers train one together"
    for config in configs:
        if sweep:
            config.device.require_one_process(problem, "Type a command for each run, or take mirrored.")
        config.device.check_workers()


def follows() -> bool:
    """Return whether another worker is the chief; known once the device is configured."""
    together = replicas.current()
    return together is not None and not together.is_chief


def follow(config: Config) -> int:
    """Train with the chief, which alone writes and shows what it does; return the exit code of the chief."""
    from pruneflow.flow import pipeline

    say("Follows    the chief, which alone writes")
    console.quiet = True
    code = pipeline.follow(config, pipeline.prepare(config))
    if code:
        complain(f"The chief ended with exit code {code}, and says why.")
    return code


@contextmanager
def others_told(code_of: Callable[[BaseException], int]) -> Iterator[None]:
    """Tell other workers how the block ends, so that they end with the same code.

    Args:
        code_of: Gives the exit code of an exception that ends the command.
    """
    try:
        yield
    except SystemExit as ended:
        following.end(int(ended.code or 0))
        raise
    except BaseException as error:
        following.end(code_of(error))
        raise
