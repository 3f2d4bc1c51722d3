"""Memory: the bytes that this process has and may have, and the answer where something takes more."""

import os
import re
import sys
from contextlib import suppress
from pathlib import Path

from pruneflow.errors import ConfigError, PruneflowError

RAN_OUT = (
    "Memory ran out. Lower trainer.batch_size and trainer.dense_batch_size, or set dataset.limit; "
    "on a GPU keep device.memory_growth=true."
)
ADDRESSES = 3_000_000_000  # bytes; a small run has 2.6e9 of them, of which TensorFlow 2.21 fills a quarter

_SIGNS = (
    *("oom when allocating", "out of memory", "unable to allocate", "cannot allocate memory"),
    *("failed to map segment", "can't start new thread", "bad_alloc"),
)
_STATUS = Path("/proc/self/status")
_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


def ran_out(error: BaseException) -> bool:
    """Return whether an error, of whatever library, says that there is too little memory."""
    return isinstance(error, MemoryError) or any(sign in str(error).lower() for sign in _SIGNS)


def allowed_bytes() -> int:
    """Memory that this process may have: of the machine, of its container, of ``ulimit -v``."""
    found = [_address_space()]
    with suppress(AttributeError, ValueError, OSError):
        found.append(_of_machine())
    for file in map(Path, _LIMITS):
        with suppress(OSError, ValueError):  # no such file, or "max"
            found.append(int(file.read_text(encoding="utf-8")))
    return min(found)


def require_memory(key: str, value: object, needed: int, what: str, remedy: str) -> None:
    """Refuse a setting that asks for more memory than there is.

    Args:
        what: What takes them, such as ``"its weights"``.
        remedy: What to do, a sentence.
    """
    allowed = allowed_bytes()
    if needed > allowed:
        problem = f"{what} take {_gigabytes(needed)} of memory, and there are {_gigabytes(allowed)}"
        raise ConfigError.of(key, value, problem, remedy)


def require_address_space() -> None:
    """Refuse to load TensorFlow where ``ulimit -v`` would make it crash."""
    if (allowed := _address_space()) < ADDRESSES:
        raise PruneflowError(
            f"Memory ran out: ulimit -v allows {_gigabytes(allowed)}, and TensorFlow needs "
            f"{_gigabytes(ADDRESSES)} of address space. Raise the limit."
        )


def hold() -> None:
    """Have what asks for more memory than the machine has fail here, and be ended first where it is short."""
    with suppress(OSError):  # not Linux
        Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")
    with suppress(ImportError, OSError, ValueError):  # Windows, or not allowed
        import resource

        allowed, most = resource.getrlimit(resource.RLIMIT_DATA)
        if allowed == resource.RLIM_INFINITY:
            resource.setrlimit(resource.RLIMIT_DATA, (_of_machine(), most))


def reset_peak() -> bool:
    """Start to count the peak anew: a cell is not charged for those before it.

    Returns:
        Whether the system can: Linux does, but a container may forbid it.
    """
    if not _STATUS.exists():
        return False
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    except OSError:
        return False
    return True


def resident_bytes() -> int:
    """Resident memory now, bytes; elsewhere than on Linux the largest so far."""
    return _status_bytes("VmRSS") if _STATUS.exists() else peak_bytes()


def peak_bytes() -> int:
    """Largest resident memory since ``reset_peak``, bytes; elsewhere than on Linux, of the process."""
    if _STATUS.exists():
        return _status_bytes("VmHWM")
    import resource

    largest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return largest if sys.platform == "darwin" else largest * 1024


def _status_bytes(key: str) -> int:
    (kilobytes,) = re.findall(rf"{key}:\s+(\d+) kB", _STATUS.read_text(encoding="utf-8"))
    return int(kilobytes) * 1024


def _address_space() -> int:
    with suppress(ImportError):  # not on Windows
        import resource

        limit, _ = resource.getrlimit(resource.RLIMIT_AS)
        if limit != resource.RLIM_INFINITY:
            return limit
    return 2**63 - 1


def _of_machine() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _gigabytes(count: int) -> str:
    return f"{count / 1e9:,.1f} GB"
