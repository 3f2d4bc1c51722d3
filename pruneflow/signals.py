"""Ctrl-C and SIGTERM, held back while TensorFlow is at work.

An exception that a signal raises in the middle of a C++ extension comes out as another error, corrupts
memory, or aborts the process (seen with TensorFlow 2.21 and LiteRT 2.3). It waits for a place where Python is
alone.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

__all__ = ["end_with_parent", "let_through", "undisturbed"]

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


def end_with_parent() -> None:
    """End this process as soon as its standard input does, which the parent holds open while it lives."""
    threading.Thread(target=_end_at_end_of_input, daemon=True).start()


def _end_at_end_of_input() -> None:
    while os.read(0, 1):  # past Python's buffer, whose lock would be held when the interpreter ends
        pass
    os._exit(1)
