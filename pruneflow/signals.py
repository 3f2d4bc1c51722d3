"""Ctrl-C and SIGTERM, held back while TensorFlow is at work.

An exception that a signal raises in the middle of a C++ extension comes out as another error, corrupts
memory, or aborts the process (seen with TensorFlow 2.21 and LiteRT 2.3). It waits for a place where Python is
alone.
"""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

__all__ = ["POLL_S", "end_with_parent", "ended", "let_through", "undisturbed"]

POLL_S = 0.2

_SIGNALS: tuple[int, ...] = (signal.SIGINT, signal.SIGTERM)
_held: list[int] = []
_handlers: dict[int, Any] = {}


@contextmanager
def undisturbed() -> Iterator[None]:
    """Hold signals back until the block ends, or calls ``let_through``."""
    if threading.current_thread() is not threading.main_thread() or _handlers:
        yield  # signals go to the main thread, and an outer block has them
        return
    for number in _SIGNALS:
        _handlers[number] = signal.signal(number, lambda number, _: _held.append(number))
    try:
        yield
    finally:
        _let_go()


def let_through() -> None:
    """Answer a signal that is held back, here."""
    if _held and threading.current_thread() is threading.main_thread():
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
        child: The process.
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
    """End this process as soon as its standard input does, which the parent holds open while it lives.

    Args:
        before: Called then, just before the end.
    """
    threading.Thread(target=_end_at_end_of_input, args=(before,), daemon=True).start()


def _end_at_end_of_input(before: Callable[[], object]) -> None:
    while os.read(0, 1):  # past Python's buffer, whose lock would be held when the interpreter ends
        pass
    try:
        before()
    finally:
        os._exit(1)
