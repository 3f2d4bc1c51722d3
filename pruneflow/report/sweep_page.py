"""The page of many runs: a sweep, several, or all that lie in a folder."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from pruneflow.errors import PruneflowError, spelled
from pruneflow.flow.figures import LatencyResult, Result
from pruneflow.flow.judgement import Judgement, marked
from pruneflow.report.advice import advice
from pruneflow.report.charts import Picture, styled
from pruneflow.report.checklist import study_part
from pruneflow.report.choice import chosen
from pruneflow.report.collect import Collected, Run
from pruneflow.report.goal import answer_in, test_in
from pruneflow.report.page import REPORT, Cell, Column, Row, link, write_page
from pruneflow.report.points import Grid, Mark, Point, differing, grid_of, labels, points_of
from pruneflow.report.study import study_of, study_picture
from pruneflow.report.sweep_charts import note, sweep_pictures
from pruneflow.runtime.records import pick

NONE = Cell("", float("nan"))
MOST_MODELS = 3  # that a title names


def write_sweep_report(collected: Collected, page: Path) -> Path:
    """Make a page of all runs that were found, and its pictures in a folder of the same name.

    Args:
        page: Where it goes, ``.../<name>.html``.
    """
    if not collected.runs and not collected.failed:
        raise PruneflowError(
            "\n".join(["No run has finished, so there is nothing to show.", *collected.notices])
        )
    links = {run.name: _page_of(run, page) for run in collected.runs}
    grids = _grids(points_of(collected.runs))
    with styled():
        drawn = _pictures(grids, links)
        counts = [len(each) for each in drawn]
        values = _values(collected, grids, links, page)
        pictures = [picture for each in drawn for picture in each]
        for number, (part, grid) in enumerate(zip(values["parts"], grids.values(), strict=True), start=1):
            study = study_of(grid)
            part["study"] = {**study_part(study, grid), "picture": len(pictures)} if study else None
            if study:
                pictures.append(study_picture(study, grid, f"-{number}" if len(grids) > 1 else ""))
        write_page(page, "sweep.html", pictures, counts=counts, **values)
    return page


def _grids(points: Sequence[Point]) -> dict[str, Grid]:
    """Points on the same data together, under a name that tells the data apart."""
    by_data: dict[tuple[str, str], list[Point]] = {}
    for point in points:
        by_data.setdefault(point.data, []).append(point)
    keys = [key for key in differing(points) if key.startswith("dataset.")]
    named, found = labels(keys), {}
    for (name, digest), same in by_data.items():
        told = [
            f"{named[key]}={spelled(same[0].settings[key])}"
            for key in keys
            if all(point.settings.get(key) == same[0].settings.get(key, None) for point in same)
            and key in same[0].settings
        ]
        title = ", ".join([name, *told])
        found[title if title not in found else f"{title} (SHA-256 {digest[:8]})"] = grid_of(same)
    return found


def _page_of(run: Run, page: Path) -> str:
    """The report of a run, or its result where it has none."""
    own = run.folder / REPORT
    return link(own if own.is_file() else run.folder / "result.json", page)


def _pictures(grids: Mapping[str, Grid], links: Mapping[str, str]) -> list[list[Picture]]:
    return [
        list(sweep_pictures(grid, f"-{number}" if len(grids) > 1 else "", links))
        for number, grid in enumerate(grids.values(), start=1)
    ]


def _values(
    collected: Collected, grids: Mapping[str, Grid], links: Mapping[str, str], page: Path
) -> dict[str, Any]:
    title = _title(collected, grids)
    answers = list(filter(None, map(answer_in, collected.folders)))
    return {
        "title": answers[0] if answers else title,
        "lead": [
            *filter(None, map(test_in, collected.folders)),
            *([title] if answers else []),
            *map(str, collected.folders),
        ],
        "alarms": list(_alarms(collected.runs)),
        "notices": [*collected.notices, *_notices(collected, grids)],
        "parts": [_part(title, grid, links) for title, grid in grids.items()],
        "failed_columns": [Column("run"), Column("message")],
        "failed_rows": [
            Row([Cell(run.name, link=link(run.folder / "failure.json", page)), Cell(run.message)])
            for run in collected.failed
        ],
    }


def _title(collected: Collected, grids: Mapping[str, Grid]) -> str:
    """Return the title: the number of runs, and the settings in which they differ."""
    count, failed = len(collected.runs) + len(collected.failed), len(collected.failed)
    points = [point for grid in grids.values() for mark in grid.marks for point in mark.points]
    keys = list(labels(differing(points)).values()) if points else []
    if any(grid.seeds > 1 for grid in grids.values()):
        keys.append("seed")
    subject = _subject(points) if len(grids) == 1 else ""
    said = f"{count} run{'' if count == 1 else 's'}{subject}" + (f", {failed} failed" if failed else "")
    return said + (f": {', '.join(keys)}" if keys else "" if failed else ": nothing differs")


def _subject(points: Sequence[Point]) -> str:
    """Name the models and the data set that the runs have in common."""
    models = dict.fromkeys(str(point.run.result.config["model"]["name"]) for point in points)
    return f" of {' and '.join(models)} on {points[0].data[0]}" if len(models) <= MOST_MODELS else ""


def _notices(collected: Collected, grids: Mapping[str, Grid]) -> Iterator[str]:
    """Yield notices for a page that shows runs of several sweeps side by side."""
    shown = {point.run.name for grid in grids.values() for mark in grid.marks for point in mark.points}
    for run in collected.runs:
        if run.name not in shown:
            yield f"{run.name}: left out. It has no figures on the validation part, which is compared here."
    if len(grids) > 1:
        yield f"There are runs on {len(grids)} sets of data; each has pictures and a table of its own."
    if len(collected.folders) > 1:
        swept = {folder: _swept_in(folder, collected.runs) for folder in collected.folders}
        if len(set(swept.values())) > 1:
            said = "; ".join(f"{folder}: {', '.join(keys) or 'nothing'}" for folder, keys in swept.items())
            yield f"The folders differ in other settings ({said}). Runs are compared by all of these."
    timed = ((run.result, run.result.tflite[0].latency) for run in collected.runs)
    machines = {_machine(result, latency) for result, latency in timed if latency}
    if len(machines) > 1:
        yield (
            "Latencies were measured on machines or with libraries that differ; compare speed-ups, each of "
            f"which was measured in one run: {'; '.join(sorted(machines))}."
        )


def _alarms(runs: Sequence[Run]) -> Iterator[str]:
    """Yield a notice that counts the networks that pruning made much worse."""
    lost = sum(marked(run.result.judgement) is not None for run in runs)
    if lost:
        yield (
            f"{lost} of {len(runs)} runs are marked in red: the column pruning says why, with the loss on "
            "the validation part. The report of each says more."
        )


def _machine(result: Result, latency: LatencyResult) -> str:
    version = result.versions.get("ai-edge-litert", "unknown")
    return f"{result.device['name']}, LiteRT {version}, threads {latency.pruned.threads}"


def _swept_in(folder: Path, runs: Sequence[Run]) -> tuple[str, ...]:
    inside = [
        run for run in runs if folder.resolve() in (run.folder.resolve(), *run.folder.resolve().parents)
    ]
    if not inside:
        return ()
    grid = grid_of(points_of(inside))
    return tuple(grid.labels[key] for key in grid.keys)


def _part(title: str, grid: Grid, links: Mapping[str, str]) -> dict[str, Any]:
    points = [point for mark in grid.marks for point in mark.points]
    repeated = any(mark.counted for mark in grid.marks)
    keys = [*grid.keys, *(["seed"] if repeated else [])]
    named = {**grid.labels, "seed": "seed"}
    judged = any(marked(point.run.result.judgement) for point in points)
    front = {id(point) for mark in grid.front for point in mark.points}
    mixed = len({point.run.result.sparsity_of for point in points}) > 1
    rows = [_run_row(point, keys, links, front=id(point) in front, extra=(judged, mixed)) for point in points]
    columns = [
        Column("run"),
        *([Column("pruning")] if judged else []),
        *_key_columns(grid, keys, named),
        *([Column("sparsity of")] if mixed else []),
        *_figure_columns(grid, _figures_on(grid.part)),
    ]
    columns, rows, common = _shared(columns, rows, ("run", grid.label, f"validation {grid.metric}"))
    choice = chosen(grid)
    return {
        "title": title,
        "choice": choice,
        "chosen_link": links[choice.point.run.name] if choice else "",
        "note": note(grid),
        "advice": advice([point.run.result for point in points]),
        "columns": columns,
        "rows": rows,
        "common": common,
        "seed_columns": [*_key_columns(grid, grid.keys, named), *_figure_columns(grid, _SEED_FIGURES)],
        "seed_rows": [_seed_row(mark, grid) for mark in grid.marks] if repeated else [],
    }


def _shared(
    columns: Sequence[Column], rows: Sequence[Row], stay: Sequence[str]
) -> tuple[list[Column], list[Row], str]:
    """Take the columns that say the same in each row out of a table, and say it in words."""
    kept, said = [], []
    for index, column in enumerate(columns):
        first, *others = {row.cells[index].text for row in rows}
        if others or len(rows) < 2 or column.name in stay:
            kept.append(index)
        elif first:
            said.append(f"{column.name} {first}")
    cut = [replace(row, cells=[row.cells[index] for index in kept]) for row in rows]
    return [columns[index] for index in kept], cut, f"In all rows: {'; '.join(said)}." if said else ""


def _key_columns(grid: Grid, keys: Sequence[str], named: Mapping[str, str]) -> list[Column]:
    points = [point for mark in grid.marks for point in mark.points]
    return [
        Column(named[key], number=all(_is_number(point.settings.get(key, 0)) for point in points))
        for key in keys
    ]


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _run_row(
    point: Point, keys: Sequence[str], links: Mapping[str, str], *, front: bool, extra: tuple[bool, bool]
) -> Row:
    """A row; ``extra``: whether there are columns of judgements, and of what sparsity is a share of."""
    judged, mixed = extra
    settings = [_setting(point.settings, key) for key in keys]
    counted = [_number(*_FIGURES[name], point) for name in _figures_on(point.part)]
    share = [Cell(point.run.result.sparsity_of)] if mixed else []
    name, lost = point.run.name, marked(point.run.result.judgement)
    said = [Cell(_verdict(lost))] if judged else []
    cells = [Cell(name, link=links[name]), *said, *settings, *share, *counted]
    return Row(cells, marked=front, lost=lost is not None)


def _verdict(lost: Judgement | None) -> str:
    if not lost:
        return "kept"
    drop = "" if lost.drop is None else f" (-{lost.drop:.4f})"
    return f"{lost.verdict.replace('_', ' ')}{drop}"


def _setting(settings: Mapping[str, Any], key: str) -> Cell:
    if key not in settings:
        return NONE
    value = settings[key]
    return Cell(spelled(value), float(value) if _is_number(value) else None)


def _number(form: str, figure: Callable[[Point], float | None], point: Point) -> Cell:
    value = figure(point)
    return NONE if value is None else Cell(form.format(value), value)


# Name of a column, how it is written, and where the figure is.
_FIGURES: dict[str, tuple[str, Callable[[Point], float | None]]] = {
    "{metric}": ("{:.4f}", lambda point: point.quality),
    "validation {metric}": ("{:.4f}", lambda point: point.validation),
    "dense {metric}": ("{:.4f}", lambda point: point.run.result.quality(point.run.result.dense, point.part)),
    "sparsity": ("{:.4f}", lambda point: point.sparsity),
    "kB gzip": ("{:,.1f}", lambda point: point.size_bytes / 1000),
    "compression": ("{:.2f}x", lambda point: point.compression),
    "latency, ms": ("{:.3g}", lambda point: point.latency_ms),
    "speedup": ("{:.2f}x", lambda point: pick(point.file, "latency.speedup.ratio")),
    "agreement": ("{:.2%}", lambda point: point.file.agreement),
}
_SEED_FIGURES = ("runs", "{metric}", "kB gzip", "compression")


def _figures_on(part: str) -> list[str]:
    """Return the names of the columns; the validation part has one of its own beside the test part alone."""
    return [name for name in _FIGURES if part == "test" or not name.startswith("validation ")]


def _figure_columns(grid: Grid, names: Iterable[str]) -> list[Column]:
    return [Column(name.format(metric=grid.label), number=True) for name in names]


def _seed_row(mark: Mark, grid: Grid) -> Row:
    settings = [_setting(mark.points[0].settings, key) for key in grid.keys]
    low, high = mark.qualities
    figures = [
        Cell(mark.counted or "1", len(mark.points)),
        Cell(f"{mark.quality:.4f}" + (f" ({low:.4f} to {high:.4f})" if mark.counted else ""), mark.quality),
        Cell(f"{mark.size_bytes / 1000:,.1f}", mark.size_bytes),
        Cell(f"{mark.compression:.2f}x", mark.compression),
    ]
    return Row([*settings, *figures], marked=mark in grid.front)
