"""Whole sweeps in small: large and sparse against small and dense, and the page of small networks."""

import csv
import json
import runpy
from pathlib import Path

import pytest
from conftest import QUICK
from support import ROOT
from test_cli import exit_code


@pytest.mark.long
def test_the_study_in_small_compares_networks_of_equal_size(tmp_path: Path, shared_stages: str) -> None:
    small = ["criterion=magnitude,small_dense", "seed=0", "schedule.final_sparsity=0.5,0.9"]
    words = [*QUICK, "report=true", "export.kinds=[float]", *small, shared_stages]
    assert exit_code(["experiment=large_sparse_small_dense", *words]) == 0
    (sweep,) = (tmp_path / "outputs" / "sweeps").glob("*/*")
    rows = list(csv.DictReader((sweep / "sweep.csv").read_text().splitlines()))
    counted = {
        (row["criterion"], float(row["final_sparsity"])): int(row["nonzero_parameters"]) for row in rows
    }
    for sparsity in (0.5, 0.9):
        pair = [counted[name, sparsity] for name in ("magnitude", "small_dense")]
        assert pair[0] == pytest.approx(pair[1], rel=0.05)
    found = [json.loads(file.read_text()) for file in sweep.rglob("result.json")]
    dense = {each["stages"]["dense"]["digest"]: each["dense"]["parameters"] for each in found}
    assert len(dense) == 3 and len({*dense.values()}) == 3  # the wide one is trained once
    page = (sweep / "report.html").read_text()
    assert "Large and sparse (criterion=magnitude) wins at" in page and "checklist of Blalock" in page
    assert (sweep / "report" / "study.png").is_file()


@pytest.mark.long
def test_the_page_of_small_networks_is_written_from_results_and_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shared_stages: str
) -> None:
    import pruneflow

    script = runpy.run_path(str(ROOT / "benchmarks" / "small_networks.py"))
    words = ["--networks", "cnn", "--set", *QUICK, "export.kinds=[float,int8]", shared_stages]
    script["main"](["--page", "one.md", *words])
    page = (tmp_path / "one.md").read_text()
    rows = [line.split(" | ") for line in page.splitlines() if line.startswith("| ")][1:]
    ways = ["dense", "zeros 0.8", "channels 0.5", "both"]
    assert [row[0].strip("| ") for row in rows] == [way for way in ways for _ in range(2)]
    assert [row[1] for row in rows] == ["float", "int8"] * 4
    gzip = [int(row[4].replace(",", "")) for row in rows]
    assert gzip[0] > gzip[2] > gzip[6] and gzip[0] > gzip[4] > gzip[6]
    assert "20,410 parameters. " in page and "trainer.epochs=2" in page
    monkeypatch.setattr(pruneflow, "run", None)  # nothing is made again
    script["main"](["--page", "two.md", *words])
    assert (tmp_path / "two.md").read_text() == page
    script["main"](["--page", "three.md", "--page-only"])
    assert "##" not in (tmp_path / "three.md").read_text()
