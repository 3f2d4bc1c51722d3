"""The answer of a search for one file: a line for each network, ``goal.json``, the folder ``best``."""

import json
import re
import shlex
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pruneflow.errors import PruneflowError
from pruneflow.exports.use_script import SCRIPT
from pruneflow.flow import results
from pruneflow.flow.goal import USUAL_DROP, FileFigures, Searched
from pruneflow.flow.goal_search import Best, Tried, best, nearest
from pruneflow.flow.winner import Tested
from pruneflow.runtime.files import write_file
from pruneflow.runtime.records import read_json
from pruneflow.runtime.terminal import console, say
from pruneflow.training.metrics import label_of
from pruneflow.training.scoring import PairedDrop

READ_BY_SCRIPT = re.compile(r'HERE / "([^"]+)"')  # such as labels.txt and vocabulary.json
GOAL_FILE, BEST, ABOUT = "goal.json", "best", "about.json"
ALONE = " test_part=false"  # in the command of a network: the same without it evaluates the test part too


class GoalMissedError(PruneflowError):
    """A search that found no file within the limits; all networks are written."""

    exit_code = 4


def step(folder: Path, goal: Searched, tried: Sequence[Tried], cells: Sequence[Path]) -> None:
    """Print what the last network gave, and write what is known so far."""
    last, found = tried[-1], best(goal, tried)
    number = len(tried)
    say(f"Network {number}  {' '.join(last.proposal.words)}")
    if not last.files:
        say("  it failed; see its folder")
    for file in last.files:
        is_best = found is not None and (found.tried, found.file) == (number - 1, file)
        say(f"  {_line(goal, file)}{'  BEST SO FAR' if is_best else ''}")
    record = {
        "goal": asdict(goal),
        "networks": [
            {**asdict(each), "folder": cell.name, "misses": [goal.misses(file) for file in each.files]}
            for each, cell in zip(tried, cells, strict=True)
        ],
        "best": _named(found, cells),
        "nearest": _named(last_hope := nearest(goal, tried), cells),
        "missed": goal.misses(last_hope.file) if last_hope else {},
        "answer": _answer(goal, found),
    }
    write_file(folder / GOAL_FILE, _as_json(record))


def add_test(folder: Path, found: Tested) -> None:
    """Add the figures of the winner on the test part to ``goal.json``."""
    write_file(folder / GOAL_FILE, _as_json({**read_json(folder / GOAL_FILE), "test": asdict(found)}))


def finish(folder: Path) -> None:
    """Copy the best file and what belongs to it into ``best``, and print the answer.

    Args:
        folder: Of the search, with ``goal.json``.

    Raises:
        GoalMissedError: if no file keeps the limits; the nearest one is named.
    """
    record = read_json(folder / GOAL_FILE)
    if not record["best"]:
        raise GoalMissedError(_miss(record))
    cell, kind = folder / record["best"]["folder"], record["best"]["kind"]
    result = results.read(cell)
    (file,) = (each for each in result.tflite if each.kind == kind)
    assert result.contract, "older results belong to no search"
    command = result.command.replace(ALONE, "")
    about = {"answer": record["answer"], "test": record["test"], "command": command}
    about |= {"contract": asdict(result.contract)}
    others = [each.file for each in result.tflite]
    content = {name: (cell / name).read_bytes() for name in (file.file, file.sent)}
    if result.contract.script:
        script = (cell / SCRIPT).read_text(encoding="utf-8")
        content[SCRIPT] = script_for(file.file, script, others).encode()
        content |= {name: (cell / name).read_bytes() for name in READ_BY_SCRIPT.findall(script)}
    _replace(folder / BEST, {**content, ABOUT: _as_json({**about, "file": asdict(file)})})
    console.print()
    ratio = result.dense.tflite.gzip_bytes / file.size.gzip_bytes
    size = f"{file.size.gzip_bytes:,} B after gzip, {ratio:.1f}x smaller than the dense float file"
    for line in (
        record["answer"],
        f"Test part  {_on_test(record)}",
        f"Size       {size}",
        f"Command    {command}",
    ):
        say(line)
    say(f"Files      {shlex.quote(str(folder / BEST))}")


def answer_in(folder: Path) -> str:
    """Return the answer of a search in one sentence; empty where the folder holds no search or no answer."""
    try:
        return str(read_json(folder / GOAL_FILE)["answer"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def test_in(folder: Path) -> str:
    """Return the figures of a winner on the test part, a sentence; empty where there are none."""
    try:
        return f"On the test part: {_on_test(read_json(folder / GOAL_FILE))}."
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def _named(found: Best | None, cells: Sequence[Path]) -> dict[str, Any] | None:
    return {"folder": cells[found.tried].name, **asdict(found.file)} if found else None


def _line(goal: Searched, file: FileFigures) -> str:
    """Spell a file, what it loses, and the limits that it misses."""
    missed = [name.removeprefix("max_").replace("_", " ") for name in goal.misses(file)]
    verdict = f"too much: {', '.join(missed)}" if missed else "within the limits"
    reached = f"validation {label_of(file.metric)} {file.accuracy:.4f}"
    return f"{file.kind:<13}  {goal.shown(file.measure)}  {reached}, {_drop(goal, file)}  {verdict}"


def _drop(goal: Searched, file: FileFigures) -> str:
    return _lost(file.drop, file.drop_at_most, goal.confidence)


def _lost(drop: float, at_most: float, confidence: float) -> str:
    """Spell a drop, which may be a gain.

    >>> _lost(0.003, 0.005, 0.9), _lost(-0.01, -0.002, 0.9)
    ('0.0030 lost, at most 0.0050 with confidence 0.9', '0.0100 gained, at least 0.0020 with confidence 0.9')
    >>> _lost(-0.01, 0.005, 0.9)
    '0.0100 gained, at most 0.0050 lost with confidence 0.9'
    """
    found = f"{drop:.4f} lost" if drop >= 0 else f"{-drop:.4f} gained"
    word = " lost" if drop < 0 <= at_most else ""
    bound = f"at most {at_most:.4f}{word}" if at_most >= 0 else f"at least {-at_most:.4f}"
    return f"{found}, {bound} with confidence {confidence:g}"


def _answer(goal: Searched, found: Best | None) -> str:
    if not found:
        return ""
    file = found.file
    return (
        f"The {goal.option_name.replace('_', ' ')} file is {file.kind} of network {found.tried + 1}: "
        f"{goal.shown(file.measure)}; validation {label_of(file.metric)} {file.accuracy:.4f}, "
        f"{_drop(goal, file)}."
    )


def _on_test(record: Mapping[str, Any]) -> str:
    """Return the figures of the winner on the test part, by which nothing was chosen."""
    found, confidence = record["test"], record["goal"]["confidence"]
    metric, drop = found["metric"], PairedDrop(**found["drop"])
    return (
        f"{label_of(metric)} {found['file'][metric]:.4f}, dense {found['dense'][metric]:.4f}, on "
        f"{found['examples']:,} examples; {_lost(drop.drop, drop.at_most(confidence), confidence)}"
    )


def _miss(record: Mapping[str, Any]) -> str:
    """Say by how much the nearest file misses the goal, and what would help."""
    found, goal = record["nearest"], record["goal"]
    if not found:
        raise PruneflowError("The search found nothing: each run failed. Their messages are above.")
    width = found["drop_at_most"] - found["drop"]
    remedy = "Allow more, or train longer (trainer.epochs)."
    limit = USUAL_DROP if goal["max_accuracy_drop"] is None else goal["max_accuracy_drop"]
    if "max_accuracy_drop" in record["missed"] and found["drop"] <= limit:
        remedy = (
            f"Chance alone moves the drop by {width:.4f} on so few validation examples: take more of them "
            "(dataset.validation_fraction), allow more, or lower goal.confidence."
        )
    lost = _lost(found["drop"], found["drop_at_most"], goal["confidence"])
    return (
        f"No file reaches the goal. The nearest is {found['kind']} of {found['folder']}: {lost}; "
        f"{found['bytes']:,.0f} B. It misses {_limits(record)}. {remedy}"
    )


def _limits(record: Mapping[str, Any]) -> str:
    named = (
        f"goal.{name}={record['goal'][name]:g}" if record["goal"].get(name) is not None else name
        for name in record["missed"]
    )
    usual = f"goal.max_accuracy_drop={USUAL_DROP:g}"
    return ", ".join(usual if each == "max_accuracy_drop" else each for each in named)


def script_for(name: str, script: str, names: Sequence[str]) -> str:
    """Return ``use.py`` of a run for one of its files, which it takes where none is typed.

    Args:
        script: The script; it names one of the files.
        names: All files of the run.

    >>> script_for("b.tflite", 'HERE / "a.tflite"', ["a.tflite", "b.tflite"])
    'HERE / "b.tflite"'
    """
    for each in names:
        script = script.replace(f'"{each}"', f'"{name}"')
    return script


def _as_json(record: Mapping[str, Any]) -> bytes:
    return (json.dumps(record, indent=2) + "\n").encode()


def _replace(place: Path, files: Mapping[str, bytes]) -> None:
    """Replace a folder by one with these files."""
    new = place.with_name(f"{place.name}.new")
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir()
    for name, content in files.items():
        write_file(new / name, content)
    shutil.rmtree(place, ignore_errors=True)
    new.rename(place)
