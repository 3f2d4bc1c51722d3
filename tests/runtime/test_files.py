"""Files that are written whole or not at all, whatever comes between."""

import sys

import pytest

from pruneflow.errors import PruneflowError
from pruneflow.runtime.files import write_file


def test_a_file_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    target = tmp_path / "result.json"
    write_file(target, b"old")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(PruneflowError, match=r"result\.json cannot be written: No space left"):
        write_file(target, b"new")
    assert target.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [target]


class Signal(BaseException):
    pass


def interrupted_at(count, function, *arguments):
    """Call ``function``, with a signal at its ``count``-th instruction; whether it was that long."""
    left = count

    def trace(frame, event, _):
        nonlocal left
        frame.f_trace_opcodes = True
        if event == "opcode" and not (left := left - 1):
            raise Signal
        return trace

    sys.settrace(trace)
    try:
        function(*arguments)
    except Signal:
        return True
    finally:
        sys.settrace(None)
    return False


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # of the file left open
def test_a_signal_at_any_instruction_leaves_the_old_file_or_the_new_one_and_nothing_else(tmp_path):
    target, count = tmp_path / "result.json", 1
    write_file(target, b"old")
    while interrupted_at(count, write_file, target, b"new"):
        assert list(tmp_path.iterdir()) == [target], f"instruction {count}"
        assert target.read_bytes() in (b"old", b"new")
        write_file(target, b"old")
        count += 1
    assert count > 100
    assert target.read_bytes() == b"new"
