"""Tables and lines on the terminal: the config as a tree, the plan, the final tables."""

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.markup import escape
from rich.table import Table
from rich.tree import Tree

from pruneflow.errors import spelled
from pruneflow.exports.sizes import FORMS
from pruneflow.flow.figures import DataFacts, Result
from pruneflow.flow.forecast import Training, distinct
from pruneflow.flow.judgement import marked
from pruneflow.flow.pipeline import Prepared
from pruneflow.models import keras3
from pruneflow.report import summary
from pruneflow.report.outcomes import CellOutcome
from pruneflow.runtime.terminal import alarm, console, print_whole, say, table, warn
from pruneflow.sparsity.channels.plan import ChannelPlan
from pruneflow.sparsity.masks import Prunable

LOST = "bold red"  # a row of a network that pruning made much worse
SCANNED = "as a scan of the trained network says"
LEAST_AGREEMENT = 0.98  # below it the exported file is not the network that was measured in Keras


def show_config(changed: Mapping[str, Any] | None, command: str) -> None:
    """Print a command, in one line that can be copied, and what differs from the defaults, as a tree.

    Args:
        changed: Nested dictionaries; None says nothing about settings.
    """
    console.print(command, style="bold", markup=False, soft_wrap=True)
    if changed is not None:
        what = "what differs from the defaults" if changed else "the defaults"
        tree = Tree(f"Config     {what}; --cfg job shows all", guide_style="dim")
        _grow(tree, changed)
        print_whole(tree)


def _grow(tree: Tree, values: Mapping[str, Any]) -> None:
    for key, value in values.items():
        if isinstance(value, Mapping):
            _grow(tree.add(f"[cyan]{escape(str(key))}[/cyan]"), value)
        else:
            tree.add(escape(f"{key}: {spelled(value)}"))


def show_prepared(ready: Prepared) -> None:
    """Print what the run will do: data, the plan over time, the layers that are left."""
    data = ready.data
    _show_data(DataFacts.of(data))
    console.print(f"Device     {summary.device_in_words(ready.device)}")
    if ready.difference is not None:
        say(keras3.said(ready.difference))
    for line in [*_length_lines(ready), *_plan_lines(ready), *_mask_lines(ready)]:
        say(line)
    for warning in ready.warnings:
        warn(f"Note       {warning}")
    left = "; ".join(f"{name} ({reason})" for name, reason in ready.selection.left.items())
    say(f"Not pruned {left or 'none'}")
    if ready.then:
        _show_second_phase(ready.then)


def _show_second_phase(ready: Prepared) -> None:
    for line in [*_plan_lines(ready, "Then plan"), *_mask_lines(ready, "Then masks")]:
        say(line)
    for warning in ready.warnings:
        warn(f"Note       {warning}")


def _length_lines(ready: Prepared) -> list[str]:
    lines = [*ready.lengths, *(ready.then.lengths if ready.then else [])]
    return [f"{'' if index else 'Phases':<10} {line}" for index, line in enumerate(lines)]


def _plan_lines(ready: Prepared, label: str = "Plan") -> list[str]:
    plan = ready.plan
    if not ready.trainer.epochs:
        return [f"{label:<10} at once, to sparsity {ready.masks.requested_sparsity(plan.total_steps):.3f}"]
    schedule, updates = plan.schedule, plan.updates
    shown = sorted({updates[round(part * (len(updates) - 1) / 4)] for part in range(5)})
    sparsities = {step: ready.masks.requested_sparsity(step) for step in shown}
    points = ", ".join(f"step {step}: {sparsity:.3f}" for step, sparsity in sparsities.items())
    lines = [
        f"{label:<10} {schedule.name}: {len(updates)} updates, steps {updates[0]} to {updates[-1]} of "
        f"{plan.total_steps}, every {plan.frequency}",
        f"           sparsity at {points}",
    ]
    if schedule.end_step is not None and schedule.end_step != plan.end_step:
        lines.append(
            f"           schedule.end_step={schedule.end_step} moved to {plan.end_step}: the last update, "
            "where the target is reached, lies a whole number of updates after the first"
        )
    return lines


def _mask_lines(ready: Prepared, label: str = "Masks") -> list[str]:
    """Return a line for each weight: its sparsity at the end of the plan, and notes."""
    plan, end = ready.masks, ready.plan.total_steps
    options = plan.structure.name, plan.criterion.name, plan.distribution.name
    lines = [f"{label:<10} {', '.join(options)}"]
    if isinstance(plan, ChannelPlan):
        return [*lines, *_group_lines(plan, end), *(f"Note       {note}" for note in ready.notes)]
    requested, width = plan.sparsities_after(end), max(len(p.name) for p in plan.prunables)
    for prunable in plan.prunables:
        shape = " x ".join(map(str, prunable.shape))
        lines.append(f"           {prunable.name:<{width}}  {shape:<18} {_asked(ready, prunable, requested)}")
    return lines + [f"Note       {note}" for note in ready.notes]


def _group_lines(plan: ChannelPlan, step: int) -> list[str]:
    """Return a line for each group of channels: the units that are to stay."""
    counts = plan.units_after(step)
    width, scans = max(len(name) for name, _ in counts), plan.distribution.scans
    unknown = SCANNED if scans else "ranked with the others"
    return [
        f"           {name:<{width}}  {f'{size} units':<18} "
        + (unknown if scans or kept is None else f"{kept} stay")
        for (name, size), kept in counts.items()
    ]


def _asked(ready: Prepared, prunable: Prunable, requested: Mapping[str, float | None]) -> str:
    sparsity = requested[prunable.name]
    if ready.masks.distribution.scans:
        return SCANNED
    if sparsity is None:
        floor = ready.masks.distribution.floor(prunable.size)
        return f"ranked with the others, keeps {floor:,} or more of {prunable.size:,}"
    masks = ready.masks
    zeros = masks.expected_zeros(prunable.name, ready.plan.total_steps) or 0
    blocks = masks.tolerance(prunable.name)
    about, within = ("about ", f", within a block of {blocks}") if blocks else ("", "")
    return f"{sparsity:.3f}: {about}{prunable.size - zeros:,} of {prunable.size:,} stay{within}"


def show_result(result: Result) -> None:
    """Print what was proved of the files of a run, the final table below it, and the origin of the data."""
    console.print()
    print_whole(_size_table(result))
    if metrics := summary.metric_rows(result):
        console.print()
        print_whole(table(metrics[0][:1], metrics[0][1:], metrics[1:]))
    for line in summary.findings(result):
        if not line.startswith("Use "):  # among the last lines, with the folder
            say(line)
    console.print()
    print_whole(_run_table(result))
    console.print()
    for tflite in result.tflite:
        if tflite.agreement < LEAST_AGREEMENT:
            warn(
                f"{tflite.file} is not the network that was trained: it differs from Keras on "
                f"{1 - tflite.agreement:.2%} of the {result.part} examples. With export=int8 raise "
                "export.calibration_samples; otherwise take export=dynamic-range or export=float."
            )
    if judged := marked(result.judgement):
        alarm(f"Marked     {judged.message}")
    _show_data(result.data)


def _show_data(data: DataFacts) -> None:
    """Print the size of the data and where they are from, and what there is to know about them."""
    say(
        f"Data       {data.name}: {data.train:,} training, {data.validation:,} validation, "
        f"{data.test:,} test examples ({data.source})"
    )
    if data.note:
        warn(f"Note       {data.note}")


def _size_table(result: Result) -> Table:
    """Sizes of the dense float file, the pruned float file and what is exported, each form with its ratio."""
    made = table(["size, and times smaller than dense-float"], FORMS)
    rows = summary.size_rows(result)
    for name, size in rows.items():
        ratios = rows["dense-float"].over(size)
        cells = [f"{(size.forms[form] or 0) / 1000:,.1f} kB {ratio:6.2f}x" for form, ratio in ratios.items()]
        made.add_row(escape(name), *cells)
    return made


def show_forecast(names: Sequence[str], cells: Sequence[Sequence[Training]]) -> None:
    """Print the trainings of each cell, and as the last line what is to be trained in all."""
    columns = list(dict.fromkeys(each.name for cell in cells for each in cell))
    made = Table("cell", *columns, box=None, pad_edge=False)
    for name, cell in zip(names, cells, strict=True):
        found = {each.name: "in the store" if each.stored else _to_do(each) for each in cell}
        made.add_row(escape(name), *(found.get(column, "") for column in columns))
    print_whole(made)
    say(_forecast(cells, columns))


def _forecast(cells: Sequence[Sequence[Training]], names: Sequence[str]) -> str:
    """Say in one sentence what is to be trained, each training once."""
    missing = [each for each in distinct(cells) if not each.stored]
    count = f"{len(cells)} cell{'' if len(cells) == 1 else 's'}"
    if not missing:
        return f"{count}: the store has all trainings."
    known = [each.seconds for each in missing if each.seconds is not None]
    unknown = len(missing) - len(known)
    time = f"about {_duration(sum(known))}" if known else "of which no time is known"
    time += f", and {unknown} more of unknown time" if known and unknown else ""
    return f"{count}: {', '.join(_counted(missing, names))}, {time}."


def _counted(missing: Sequence[Training], names: Sequence[str]) -> Iterator[str]:
    """Yield how many scans and trainings of each name there are."""
    counts = Counter(each.name for each in missing)
    trained = [f"{counts[name]} {name}" for name in names if counts[name] and not name.startswith("scan")]
    scans = sum(each for name, each in counts.items() if name.startswith("scan"))
    if scans:
        yield f"{scans} scan{'' if scans == 1 else 's'}"
    if trained:
        yield f"{' and '.join(trained)} training{'' if len(missing) - scans == 1 else 's'}"


def _to_do(training: Training) -> str:
    return f"to do, {'time unknown' if training.seconds is None else _duration(training.seconds)}"


def _duration(seconds: float) -> str:
    """Spell a time that was estimated.

    >>> _duration(0.2), _duration(59.0), _duration(90.0)
    ('1 second', '59 seconds', '1.5 minutes')
    """
    whole = max(1, round(seconds))
    if whole >= 60:
        return f"{seconds / 60:.1f} minutes"
    return f"{whole} second{'' if whole == 1 else 's'}"


def show_sweep(cells: Sequence[CellOutcome]) -> None:
    """Print one table over all cells of a sweep, dense baselines first."""
    made = _table([cell.result for cell in cells if cell.result], "cell")
    made.add_column("examples/s", justify="right", no_wrap=True)
    mixed = len({cell.result.sparsity_of for cell in cells if cell.result}) > 1
    for name, row in _baselines(cells):
        made.add_row(escape(name), *map(escape, row))
    for cell in cells:
        if cell.result:
            cost = cell.result.phases.get("pruned")
            speed = (cost and cost.examples_per_second) or math.nan
            for file in cell.result.tflite:
                row = summary.export_row(cell.result, file, share_named=mixed)
                shown = (cell.name, *row, f"{speed:,.0f}")
                made.add_row(*map(escape, shown), style=LOST if marked(cell.result.judgement) else None)
        else:
            made.add_row(escape(cell.name), "failed")
    console.print()
    print_whole(made)
    for cell in cells:
        if cell.failure:
            alarm(f"failed {cell.name}: {cell.failure}")
        elif cell.result and (judged := marked(cell.result.judgement)):
            alarm(f"marked {cell.name}: {judged.verdict}. {judged.message}")
    for data in dict.fromkeys(cell.result.data for cell in cells if cell.result):
        _show_data(data)


def _baselines(cells: Sequence[CellOutcome]) -> list[tuple[str, list[str]]]:
    """Name and row of each dense baseline; of several, each is named by what its cells have in common."""
    found: dict[tuple[str, ...], list[list[str]]] = {}
    for cell in cells:
        if cell.result:
            row, words = tuple(summary.dense_row(cell.result)), cell.result.command.split()
            found.setdefault(row, []).append([word for word in words if "=" in word])
    everywhere = _shared([words for of_row in found.values() for words in of_row])
    return [
        (" ".join(["dense", *(word for word in _shared(of_row) if word not in everywhere)]), list(row))
        for row, of_row in found.items()
    ]


def _shared(several: Sequence[list[str]]) -> list[str]:
    return [word for word in (several[0] if several else []) if all(word in other for other in several)]


def _table(results: Sequence[Result], *first: str) -> Table:
    columns = summary.columns(results)
    return table((*first, *columns[:2]), columns[2:])


def _run_table(result: Result) -> Table:
    made, lost = _table([result]), marked(result.judgement) is not None
    for index, row in enumerate(summary.run_rows(result)):
        made.add_row(*map(escape, row), style=LOST if lost and index else None)
    return made
