"""Ctrl-C, SIGTERM and SIGHUP: answered once, and held back while TensorFlow is at work.

An exception that a signal raises in the middle of a C++ extension comes out as another error, corrupts
memory, or aborts the process (seen with TensorFlow 2.21 and LiteRT 2.3). It waits for a place where Python is
alone.
"""

import os
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

POLL_S = 0.2

_WORDS: dict[int, str] = {
    signal.SIGINT: "Interrupted",
    signal.SIGTERM: "Terminated",
    getattr(signal, "SIGHUP", signal.SIGTERM): "Hung up",
}
CODES = tuple(128 + number for number in _WORDS)
"""Exit code that a shell reports of programs that such a signal ended."""

_received: list[int] = []
_held: list[int] = []
_postponed: list[bool] = []
_handlers: dict[int, Any] = {}


def answer() -> None:
    """Have the first signal raise KeyboardInterrupt, and those that come while that unwinds do nothing.

    A signal that is ignored stays so, as SIGHUP is under nohup.
    """
    _received.clear()
    _set(_raise)


def pass_over() -> None:
    """Have signals do nothing from now on: what there was to do is done."""
    _set(lambda *_: None)  # if they were ignored, Python would complain of one that has just come


def received() -> tuple[str, int]:
    """Return the name and the exit code of the signal that was answered; else those of Ctrl-C.

    It is not known from the exception: Ray replaces that by another.
    """
    number = (_received or [signal.SIGINT])[0]
    return _WORDS[number], 128 + number


def leave_to_parent() -> None:
    """Ignore what reaches the parent too, when it comes from a terminal; the parent ends this process."""
    for number in set(_WORDS) - {signal.SIGTERM}:
        signal.signal(number, signal.SIG_IGN)


def _raise(number: int, _: Any) -> NoReturn:
    _received.append(number)
    pass_over()
    raise KeyboardInterrupt


def _set(handler: Callable[[int, Any], object]) -> None:
    for number in _answered():
        signal.signal(number, handler)


def _answered() -> list[int]:
    """Return the numbers of the signals that this process does not ignore."""
    return [number for number in _WORDS if signal.getsignal(number) is not signal.SIG_IGN]


@contextmanager
def undisturbed() -> Iterator[None]:
    """Hold signals back until the block ends, or calls ``let_through``; those that are ignored stay so."""
    if threading.current_thread() is not threading.main_thread() or _handlers:
        yield  # signals go to the main thread, and an outer block has them
        return
    try:
        for number in _answered():
            _handlers[number] = signal.signal(number, lambda number, _: _held.append(number))
        yield
    finally:
        _let_go()


def let_through() -> None:
    """Answer a signal that is held back, here."""
    if _held and not _postponed and threading.current_thread() is threading.main_thread():
        _let_go()


@contextmanager
def postponed() -> Iterator[None]:
    """Hold signals back until the block ends, or calls `answer_held`; ``let_through`` does nothing in it."""
    _postponed.append(True)
    try:
        with undisturbed():
            yield
    finally:
        _postponed.pop()


def held() -> int:
    """Return the number of the signal that is held back; 0 without one."""
    return int(_held[0]) if _held else 0


def answer_held(number: int) -> None:
    """Answer a signal that is held back in this process, or in another one that works with it."""
    _held[:] = [number]
    _let_go()


def _let_go() -> None:
    for number, handler in _handlers.items():
        signal.signal(number, signal.SIG_DFL if handler is None else handler)
    _handlers.clear()
    if _held:
        number = _held[0]
        _held.clear()
        signal.raise_signal(number)


def ended(child: subprocess.Popen[bytes], meanwhile: Callable[[], object]) -> int:
    """Wait for a child, and answer signals that are held back meanwhile.

    Args:
        meanwhile: Called every `POLL_S` seconds, and once more when it has ended.

    Returns:
        Its exit status.
    """
    while True:
        try:
            status = child.wait(POLL_S)
        except subprocess.TimeoutExpired:
            let_through()
            meanwhile()
        else:
            meanwhile()
            return status


def end_with_parent(before: Callable[[], object] = lambda: None) -> None:
    """End this process as soon as its standard input does, which the parent holds open while it lives."""
    threading.Thread(target=_end_at_end_of_input, args=(before,), daemon=True).start()


def _end_at_end_of_input(before: Callable[[], object]) -> None:
    while os.read(0, 1):  # past Python's buffer, whose lock would be held when the interpreter ends
        pass
    try:
        before()
    finally:
        os._exit(1)
