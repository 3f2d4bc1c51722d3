"""A study in the page of a sweep: its sentence, its verdicts, and the checklist."""

from __future__ import annotations

from typing import Any

from pruneflow.report.checklist import checklist
from pruneflow.report.page import Cell, Column, Row
from pruneflow.report.points import Grid
from pruneflow.report.study import Study, Verdict


def study_part(study: Study, grid: Grid) -> dict[str, Any]:
    """Return what the template of a sweep shows of a study."""
    return {
        "sentence": study.sentence,
        "columns": [
            Column("as many"),
            Column("criterion"),
            Column("wins at"),
            Column("difference", number=True),
        ],
        "rows": [Row(_cells(each)) for each in study.verdicts],
        "checklist_columns": [Column("checklist of Blalock et al. 2020"), Column("here")],
        "checklist_rows": [Row([Cell(question), Cell(answer)]) for question, answer in checklist(grid)],
    }


def _cells(verdict: Verdict) -> list[Cell]:
    low, high = verdict.spread
    told = verdict.difference is not None
    said = f"{verdict.difference:+.4f} ({low:+.4f} to {high:+.4f})" if told else ""
    won = f"{verdict.won} of {verdict.points}"
    return [Cell(verdict.measure), Cell(verdict.criterion), Cell(won), Cell(said, verdict.difference)]
