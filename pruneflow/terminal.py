"""The terminal: one console, progress with time left, plain lines where nobody watches."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.measure import Measurement
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table

__all__ = ["Advance", "bar", "console", "error_console", "print_whole"]

console = Console(highlight=False)
if not console.is_terminal:
    console.width = 120  # a log has no width of its own
error_console = Console(stderr=True, highlight=False)

PLAIN_INTERVAL_S = 10.0


class Advance:
    """Moves one progress bar on; ``note`` is a short text beside it, such as the current loss."""

    def __init__(self, move: Callable[[float, str], None]) -> None:
        self._move = move

    def __call__(self, amount: float = 1, note: str = "") -> None:
        """Move on by ``amount`` units."""
        self._move(amount, note)


@contextmanager
def bar(description: str, *, total: float | None, unit: str = "") -> Iterator[Advance]:
    """Show progress of ``total`` units of work, with the time left.

    Where standard output is no terminal a plain line appears at the end, and every ten seconds before it.

    Args:
        description: What is being done, such as ``"Training, dense, epoch 1/4"``.
        total: Amount of work, or None where it is not known.
        unit: ``"bytes"`` shows megabytes; anything else counts.

    Yields:
        A callable ``advance(amount, note)``.
    """
    show = _live if console.is_terminal else _plain
    with show(description, total, unit) as advance:
        yield advance


@contextmanager
def _live(description: str, total: float | None, unit: str) -> Iterator[Advance]:
    amount = DownloadColumn() if unit == "bytes" else MofNCompleteColumn()
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=28),
        amount,
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
        console=console,
    ) as progress:
        task = progress.add_task(description, total=total, note="")

        def move(amount: float, note: str) -> None:
            progress.update(task, advance=amount)
            if note:
                progress.update(task, note=note)

        yield Advance(move)


@contextmanager
def _plain(description: str, total: float | None, unit: str) -> Iterator[Advance]:
    start = shown = time.monotonic()
    done, text = 0.0, ""

    def move(amount: float, note: str) -> None:
        nonlocal done, shown, text
        done, text = done + amount, note or text
        now = time.monotonic()
        if now - shown >= PLAIN_INTERVAL_S and total and done < total:
            shown = now
            left = (now - start) / done * (total - done) if done else 0.0
            _print_line(f"{description}: {done / total:.0%}, {left:.0f} s left", text)

    yield Advance(move)
    _print_line(f"{description}: {time.monotonic() - start:.1f} s", text)


def print_whole(table: Table) -> None:
    """Print a table; where nobody watches, as wide as it needs to be."""
    if console.is_terminal:
        console.print(table)
    else:
        wide = console.options.update(width=10_000)
        console.print(table, width=max(console.width, Measurement.get(console, wide, table).maximum))


def _print_line(line: str, note: str) -> None:
    console.print(line + (f"  {note}" if note else ""), soft_wrap=True)
