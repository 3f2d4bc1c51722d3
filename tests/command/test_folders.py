"""Folders of runs and sweeps: the one that ended last is named."""

from pathlib import Path

import pytest
from conftest import QUICK
from test_cli import exit_code, pretend_to_run

from pruneflow.command import folders
from pruneflow.report.collect import collect


def latest():
    return Path(folders.LATEST.read_text().rstrip("\n"))


@pytest.mark.run
def test_the_latest_run_or_sweep_is_named_in_outputs(tmp_path, monkeypatch):
    pretend_to_run(monkeypatch)
    assert exit_code(QUICK) == 0
    assert (latest() / "result.json").is_file() and latest().parent.parent == tmp_path / "outputs"
    assert exit_code([*QUICK, "-m", "seed=0,1"]) == 0
    assert (sweep := latest()).parent.parent == tmp_path / "outputs" / "sweeps"
    assert {path.name for path in sweep.iterdir() if path.is_dir()} == {"seed-0", "seed-1"}
    assert exit_code([*QUICK, "hydra.run.dir=elsewhere"]) == 0
    assert latest() == sweep
    assert exit_code([*QUICK, "hydra.run.dir=outputs/mine"]) == 0
    assert latest() == tmp_path / "outputs" / "mine"
    assert len(collect([Path("outputs")]).runs) == 4


def test_a_folder_that_somebody_named_latest_stays(tmp_path):
    (tmp_path / "outputs" / "latest").mkdir(parents=True)
    folders.name_latest(Path("outputs/run"))
    assert [path.name for path in (tmp_path / "outputs").iterdir()] == ["latest"]
    assert not list((tmp_path / "outputs" / "latest").iterdir())
