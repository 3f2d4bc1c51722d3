"""The terminal: one console, progress with time left, plain lines where nobody watches."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, NoReturn

from rich.cells import cell_len
from rich.console import Console, RenderableType
from rich.markup import escape
from rich.measure import Measurement
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
)
from rich.table import Column, Table

from pruneflow.errors import PruneflowError
from pruneflow.runtime.signals import let_through

PLAIN_INTERVAL_S = 10.0
LEAST_SHARE = 0.05  # of the work: an estimate from less is mostly about how it starts
NO_TIME = "-:--:--"
LOG_WIDTH = 120  # a log has no width of its own
BAR_WIDTH = 28
LONGEST_LINE = 1200  # of a message, characters
CLOSED = 141  # what a shell reports of a program that wrote into a closed pipe: 128 + SIGPIPE


@contextmanager
def printing() -> Iterator[None]:
    """Write out what the block prints to standard output, and answer where that cannot be done.

    Raises:
        SystemExit: with 141, where nobody reads any more, as behind ``| head``.
        PruneflowError: where it cannot be written for another reason, such as a full disk.
    """
    with _answered():
        yield
        if sys.stdout is not None:
            sys.stdout.flush()


@contextmanager
def _answered() -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:
        _leave()
    except OSError as error:
        if error.filename:  # not of standard output, but of a file that the block read
            raise
        _discard_output()
        reason = error.strerror or error
        raise PruneflowError(
            f"Standard output cannot be written: {reason}. Make room there, or send it elsewhere."
        ) from error


def _leave() -> NoReturn:
    _discard_output()
    raise SystemExit(CLOSED)


def _discard_output() -> None:
    """Forget what cannot be written, so that Python does not try once more when it ends."""
    with suppress(OSError, ValueError):  # no file behind standard output
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)


class _Output(Console):
    def print(self, *objects: Any, **options: Any) -> None:
        """Print as any console does; see `printing` for what is answered where that fails."""
        with _answered():
            super().print(*objects, **options)

    def on_broken_pipe(self) -> None:
        """Leave with the exit code of a closed pipe; rich would take 1."""
        _leave()


console = _Output(highlight=False)
if not console.is_terminal:
    console.width = LOG_WIDTH
error_console = Console(stderr=True, highlight=False)


def say(line: str) -> None:
    """Print a line as it is, however long."""
    console.print(line, markup=False, soft_wrap=True)


def warn(message: str) -> None:
    """Print what must not be overlooked."""
    console.print(message, style="bold yellow", markup=False, soft_wrap=True)


def alarm(message: str) -> None:
    """Print what makes a result worthless, in red."""
    console.print(message, style="bold red", markup=False, soft_wrap=True)


def complain(message: str) -> None:
    """Print what went wrong, on standard error; an empty message prints nothing."""
    if message:
        lines = [_shortened(line) for line in message.split("\n")]
        error_console.print("\n".join(lines), style="bold red", markup=False, soft_wrap=True)


def answered(work: Callable[[], int | None]) -> int:
    """Do the work of a command and print its output, or the message of its failure.

    Returns:
        The exit code: of the failure, or what ``work`` returns; None stands for 0.
    """
    try:
        with printing():
            return work() or 0
    except PruneflowError as error:
        complain(str(error))
        return error.exit_code


def _shortened(line: str) -> str:
    """A line of a message; what was typed may be very long."""
    return line if len(line) <= LONGEST_LINE else f"{line[: LONGEST_LINE - 300]} ... {line[-300:]}"


@dataclass
class Advance:
    """Moves one progress bar on.

    Attributes:
        total: Amount of work, or None where it is not known.
        show: Called after each move.
        start: When it began, seconds of the monotonic clock.
        done: Amount of work that is done.
        before: Amount of it that an earlier process did.
        note: A short text beside the bar, such as the current loss.
    """

    total: float | None
    show: Callable[[Advance], None]
    start: float
    done: float = 0.0
    before: float = 0.0
    note: str = ""

    def __call__(self, amount: float = 1, note: str = "") -> None:
        """Move on by ``amount`` units; an empty ``note`` leaves the one that is there."""
        self.done += amount
        self.note = note or self.note
        self.show(self)
        let_through()  # a signal that was held back is answered here

    @property
    def seconds(self) -> float:
        """Time since the start."""
        return time.monotonic() - self.start

    @property
    def seconds_left(self) -> float | None:
        """Return an estimate; None where too little is done for one."""
        made = self.done - self.before
        if not self.total or made <= 0 or made < LEAST_SHARE * (self.total - self.before):
            return None
        return self.seconds / made * (self.total - self.done)

    @property
    def whole(self) -> bool:
        """Return whether all the work is done, as far as that is known."""
        return self.total is None or self.done >= self.total


@contextmanager
def bar(description: str, *, total: float | None, unit: str = "", before: float = 0) -> Iterator[Advance]:
    """Show progress of ``total`` units of work, with the time left, and at the end how long it took.

    On a terminal a bar is drawn, which gives way to that last line; elsewhere there is a plain line every ten
    seconds. The time left is shown once 5 % of the work is done. Work that was left early, by an exception or
    short of ``total``, has no last line.

    Args:
        description: What is being done, such as ``"Training, dense, epoch 1/4"``.
        total: Amount of work, or None where it is not known.
        unit: ``"bytes"`` shows megabytes; anything else counts.
        before: Amount of the work that an earlier process did.

    Yields:
        A callable ``advance(amount, note)``.
    """
    drawn = console.is_terminal and not console.is_dumb_terminal
    show = _live(description, total, unit, before) if drawn else _plain(description)
    with show as shown:
        advance = Advance(total, shown, time.monotonic(), before, before)
        yield advance
    if advance.whole:
        _print_line(f"{description}: {advance.seconds:.1f} s", advance.note)


@contextmanager
def _live(
    description: str, total: float | None, unit: str, before: float
) -> Iterator[Callable[[Advance], None]]:
    """Draw a bar; where the terminal is narrow, what is cut is the note, not what is being done."""
    width = min(BAR_WIDTH, max(4, console.width - 92))
    amount = (
        DownloadColumn(table_column=_kept(14))
        if unit == "bytes"
        else MofNCompleteColumn(table_column=_kept(9))
    )
    with Progress(
        TextColumn("{task.description}", markup=False, table_column=_kept(cell_len(description))),
        BarColumn(bar_width=width, table_column=_kept(width)),
        amount,
        TimeElapsedColumn(table_column=_kept(7)),
        TextColumn("left", table_column=_kept(4)),
        TextColumn("{task.fields[left]}", style="progress.remaining", table_column=_kept(7)),
        TextColumn("{task.fields[note]}", markup=False),
        console=console,
        transient=True,
    ) as progress:
        task = progress.add_task(description, total=total, completed=int(before), note="", left=NO_TIME)
        yield lambda advance: progress.update(
            task, completed=advance.done, note=advance.note, left=_clock(advance.seconds_left)
        )


def _clock(seconds: float | None) -> str:
    """Spell a time as a clock does; `NO_TIME` where it is not known.

    >>> _clock(95.2)
    '0:01:35'
    """
    return NO_TIME if seconds is None else str(timedelta(seconds=round(seconds)))


def _kept(width: int) -> Column:
    return Column(no_wrap=True, min_width=width)


@contextmanager
def _plain(description: str) -> Iterator[Callable[[Advance], None]]:
    shown = time.monotonic()

    def show(advance: Advance) -> None:
        nonlocal shown
        total, done = advance.total, advance.done
        if time.monotonic() - shown >= PLAIN_INTERVAL_S and total and 0 < done < total:
            shown = time.monotonic()
            left = "" if advance.seconds_left is None else f", {advance.seconds_left:.0f} s left"
            _print_line(f"{description}: {done / total:.0%}{left}", advance.note)

    yield show


def table(names: Sequence[str], figures: Sequence[str], rows: Iterable[Sequence[str]] = ()) -> Table:
    """Make a table whose figures are never cut; names fold where the terminal is narrow."""
    made = Table(box=None, pad_edge=False, header_style="bold")
    for head in names:
        made.add_column(escape(head), overflow="fold")
    for head in figures:
        made.add_column(escape(head), justify="right", no_wrap=True)
    for row in rows:
        made.add_row(*map(escape, row))
    return made


def print_whole(shown: RenderableType) -> None:
    """Print a table or a tree; where nobody watches, as wide as it needs to be."""
    if console.is_terminal:
        console.print(shown)
        return
    usual = console.width
    wide = console.options.update(width=10_000)
    console.width = max(usual, Measurement.get(console, wide, shown).maximum)
    try:
        console.print(shown)
    finally:
        console.width = usual


def _print_line(line: str, note: str) -> None:
    console.print(line + (f"  {note}" if note else ""), soft_wrap=True, markup=False)
