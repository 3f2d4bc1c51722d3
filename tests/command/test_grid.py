"""Grids never do the same work twice, and go on where they were cut off."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import forked
import hydra
import pytest
from conftest import QUICK
from hydra.core.hydra_config import HydraConfig
from results_fixtures import result as made_up
from support import ROOT
from test_cli import exit_code

from pruneflow.command import continuing
from pruneflow.flow.store import Store

STAGES = ("dense", "pruned", "export", "evaluate")


def results(folder):
    files = sorted(folder.rglob("result.json"), key=lambda file: file.stat().st_mtime_ns)
    return {file.parent: json.loads(file.read_text()) for file in files}


@pytest.mark.run
def test_a_grid_of_two_by_two_trains_one_baseline_and_two_pruned_networks(tmp_path, capsys):
    grid = ["-m", "schedule.final_sparsity=0.5,0.8", "export=float,dynamic-range"]
    assert exit_code([*QUICK, *grid]) == 0
    found = list(results(tmp_path / "outputs" / "sweeps").values())
    assert len(found) == 4
    made = {stage: sum(not result["stages"][stage]["reused"] for result in found) for stage in STAGES}
    distinct = {stage: len({result["stages"][stage]["digest"] for result in found}) for stage in STAGES}
    assert made == distinct == {"dense": 1, "pruned": 2, "export": 4, "evaluate": 4}
    assert len({result["dense"]["accuracy"] for result in found}) == 1
    for result in found:
        for stage in STAGES:
            assert set(result["stages"][stage]) == {"digest", "path", "reused"}
            assert Path(result["stages"][stage]["path"], "manifest.json").is_file()
    capsys.readouterr()
    # Finished: the same command makes a new sweep of it, and computes nothing.
    assert exit_code([*QUICK, *grid]) == 0
    assert len(list((tmp_path / "outputs" / "sweeps").glob("*/*"))) == 2
    again = list(results(tmp_path / "outputs" / "sweeps").values())[4:]
    assert all(result["stages"][stage]["reused"] for result in again for stage in STAGES)
    assert "Training" not in capsys.readouterr().out


@pytest.mark.long
def test_nothing_is_reused_where_that_is_asked_for(tmp_path):
    for _ in range(2):
        assert exit_code([*QUICK, "stages.reuse=false"]) == 0
    first, second = results(tmp_path / "outputs").values()
    assert not any(result["stages"][stage]["reused"] for result in (first, second) for stage in STAGES)
    assert first["pruned"] == second["pruned"]


def start(folder, *arguments):
    with (folder / "log").open("a") as log:
        line = [sys.executable, "-u", "-m", "pruneflow", *arguments]
        return forked.Command(line, cwd=folder, stdout=log, stderr=log)


def kill_when(process, ready):
    deadline = time.monotonic() + 600  # a busy machine is slow
    while not ready():
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()


LONG = [*QUICK, "trainer.dense_epochs=60", "stages.checkpoint_seconds=0.1"]


@pytest.mark.long
def test_a_killed_run_goes_on_in_its_folder_with_the_same_command(tmp_path, capsys):
    first = start(tmp_path, *LONG)
    kill_when(first, lambda: list(tmp_path.rglob("checkpoint.zip")))
    (folder,) = (tmp_path / "outputs").glob("2*/*")
    assert not (folder / "result.json").exists()
    assert exit_code(LONG) == 0
    said = capsys.readouterr().out
    assert f"Continues  {folder}" in said.replace("\n", "")
    assert "Resumes    dense training at epoch" in said
    assert list(results(tmp_path / "outputs")) == [folder]
    # Now it is finished: typed once more it is another run, which reuses all of it.
    assert exit_code(LONG) == 0
    assert len(list((tmp_path / "outputs").glob("2*/*"))) == 2


@pytest.mark.long
def test_another_command_does_not_go_on_in_a_folder_that_was_left(tmp_path, capsys):
    first = start(tmp_path, *LONG)
    kill_when(first, lambda: list(tmp_path.rglob("checkpoint.zip")))
    assert exit_code([*QUICK, "seed=1"]) == 0
    assert len(list((tmp_path / "outputs").glob("2*/*"))) == 2
    # What it had in common with the first command would have been taken up; seed 1 has nothing in common.
    assert "Resumes" not in capsys.readouterr().out


@pytest.mark.long
@pytest.mark.parametrize("where", [[], ["hydra.sweep.dir=grid"]], ids=["default folder", "named folder"])
def test_a_killed_grid_goes_on_recognises_what_is_finished_and_shows_all(tmp_path, capsys, where):
    grid = [*QUICK, "-m", "seed=0,1,2", "export=float", *where]
    first = start(tmp_path, *grid)
    kill_when(first, lambda: list(tmp_path.rglob("seed-1/dense/events.*")))
    before = {folder: (folder / "result.json").stat().st_mtime_ns for folder in results(tmp_path)}
    assert [folder.name for folder in before] == ["seed-0"]
    assert exit_code(grid) == 0
    after = results(tmp_path)
    assert sorted(folder.name for folder in after) == ["seed-0", "seed-1", "seed-2"]
    assert len({folder.parent for folder in after}) == 1
    (kept,) = before
    assert (kept / "result.json").stat().st_mtime_ns == before[kept]
    said = capsys.readouterr().out
    assert f"Finished   before: {kept}" in said.replace("\n", "")
    assert "done cells=3 failed=0" in said
    table = (kept.parent / "sweep.csv").read_text().splitlines()
    assert [line.split(",")[1] for line in table[1:]] == ["done"] * 3


@pytest.mark.long
def test_a_failed_cell_is_run_again_by_the_same_command_and_the_others_are_not(
    tmp_path, monkeypatch, capsys, shared_stages
):
    from pruneflow.errors import PruneflowError
    from pruneflow.flow import pipeline

    whole, ran = pipeline.run, []

    def run(config, ready, run_dir, *, command):
        ran.append(config.seed)
        if ran.count(1) == 1 and config.seed == 1:
            raise PruneflowError("no room")
        return whole(config, ready, run_dir, command=command)

    monkeypatch.setattr(pipeline, "run", run)
    grid = [*QUICK, shared_stages, "-m", "seed=0,1,2"]
    assert exit_code(grid) == 1
    assert "failed seed-1: no room" in capsys.readouterr().out
    (sweep,) = (tmp_path / "outputs" / "sweeps").glob("*/*")
    assert (sweep / "seed-1" / "failure.json").exists()
    assert exit_code(grid) == 0
    assert ran == [0, 1, 2, 1]
    assert not (sweep / "seed-1" / "failure.json").exists()
    assert "Continues" in (said := capsys.readouterr().out) and "2 of 3 cells are finished" in said
    assert list((tmp_path / "outputs" / "sweeps").glob("*/*")) == [sweep]
    assert (sweep / "sweep.csv").read_text().count(",done,") == 3


def test_a_result_of_other_settings_is_never_taken_for_that_of_a_cell(composed, tmp_path):
    from pruneflow.errors import PruneflowError
    from pruneflow.flow import results as module
    from pruneflow.flow.config import plain

    settings = plain(composed(*QUICK))
    assert module.finished(tmp_path, settings) is None
    (tmp_path / "result.json").write_text(json.dumps({**made_up(), "config": settings}))
    other_store = {**settings, "stages": {"dir": "elsewhere"}}
    assert module.finished(tmp_path, other_store).config["seed"] == 0
    with pytest.raises(PruneflowError, match="holds the result of other settings"):
        module.finished(tmp_path, {**settings, "seed": 1})


def test_a_result_of_before_there_was_a_key_has_had_its_default(composed, tmp_path):
    from pruneflow.errors import PruneflowError
    from pruneflow.flow import results as module
    from pruneflow.flow.config import plain

    settings, asked = plain(composed(*QUICK)), []
    older = {**settings, "sharing": {"epochs": 0}}
    del older["then"]
    (tmp_path / "result.json").write_text(json.dumps({**made_up(), "config": older}))

    def usual(groups):
        asked.extend(groups)
        return {**plain(composed()), "seed": 5}  # what is kept is not replaced

    assert module.finished(tmp_path, settings, usual).config == older
    assert "model" in asked and "then" not in asked
    for other in ({"sharing": {"epochs": 0, "values": 16}}, {"then": {"name": "unstructured"}}, {"seed": 5}):
        with pytest.raises(PruneflowError, match="holds the result of other settings"):
            module.finished(tmp_path, {**settings, **other}, usual)


def test_the_defaults_of_a_cell_are_those_of_the_options_that_it_has_chosen():
    from pruneflow.command import cli
    from pruneflow.flow.config import config_folder, from_hydra, plain

    with hydra.initialize_config_dir(str(config_folder()), version_base="1.3"):
        cell = hydra.compose("config", ["schedule=constant", "seed=3"], return_hydra_config=True)
        HydraConfig.instance().set_config(cell)
        settings = plain(from_hydra(hydra.compose("config", ["schedule=constant"])))
        assert cli._usual(list(settings)) == json.loads(json.dumps(settings))
        assert cli._usual(["seed"])["schedule"]["name"] == "polynomial"


@pytest.mark.parametrize("text", ["", "[]", "{", '{"format": 2}', "[" * 100_000], ids=lambda text: text[:9])
def test_a_damaged_result_of_a_run_that_goes_on_is_made_anew(tmp_path, text, capsys):
    from pruneflow.flow import results as module

    (tmp_path / "result.json").write_text(text)
    assert module.finished(tmp_path, {}) is None
    assert capsys.readouterr().out.startswith("The run is carried out anew. ")


@pytest.mark.long
@pytest.mark.parametrize("part", ["data", "device"])
def test_a_finished_cell_of_other_data_or_another_device_is_run_again(sharing, tmp_path, part):
    from pruneflow.command import cli, isolation
    from pruneflow.flow import pipeline

    config = sharing(*QUICK)
    pipeline.run(config, pipeline.prepare(config), tmp_path)
    assert cli._finished(isolation.Work(config, tmp_path, ""))
    file = tmp_path / "result.json"
    result = json.loads(file.read_text())
    result[part] |= {"digest": "0" * 64, "threads": 99}
    file.write_text(json.dumps(result))
    assert cli._finished(isolation.Work(config, tmp_path, "")) is None


@pytest.mark.long
def test_the_same_command_at_once_is_refused_in_a_named_folder_and_gets_its_own_elsewhere(tmp_path, capsys):
    named = [*LONG, "hydra.run.dir=here"]
    first = start(tmp_path, *named)
    deadline = time.monotonic() + 600  # a busy machine is slow
    while not list(tmp_path.rglob("dense/events.*")):
        assert time.monotonic() < deadline and first.poll() is None
        time.sleep(0.02)
    first.send_signal(signal.SIGSTOP)  # it is as long at work as the second takes
    assert exit_code(named) == 2
    assert "hydra.run.dir=here: the same command is running in this folder." in capsys.readouterr().err
    first.kill()
    first.wait()
    assert exit_code(named) == 0
    assert (tmp_path / "here" / "result.json").exists()


def test_temporary_files_of_a_killed_process_are_deleted_and_nothing_else(tmp_path):
    from pruneflow.runtime.files import remove_temporaries

    for name in (
        ".dense.h5.0123abcd.pruneflow",
        ".hydra",
        ".keep.txt",
        "dense.h5",
        ".dense.h5.0123abcg.pruneflow",
        ".cache.0123abcd",
    ):
        (tmp_path / name).write_text("")
    remove_temporaries(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {
        ".hydra",
        ".keep.txt",
        "dense.h5",
        ".dense.h5.0123abcg.pruneflow",
        ".cache.0123abcd",
    }


def test_curves_of_a_killed_run_are_deleted_and_nothing_else(tmp_path):
    from pruneflow.training.events import remove

    (tmp_path / "outside").mkdir()
    for name in ("train/events.out.tfevents.1", "tfmot/events.out.tfevents.1", "notes/mine.txt"):
        (tmp_path / "dense" / name).parent.mkdir(parents=True)
        (tmp_path / "dense" / name).write_text("")
    (tmp_path / "outside" / "events.out.tfevents.1").write_text("")
    for link in (tmp_path / "dense" / "link", tmp_path / "pruned"):
        link.symlink_to(tmp_path / "outside")
    remove(tmp_path / "dense")
    remove(tmp_path / "pruned")
    left = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")}
    assert left == {
        *("outside", "outside/events.out.tfevents.1", "pruned"),
        *("dense", "dense/link", "dense/notes", "dense/notes/mine.txt"),
    }


def claim(store, identity):
    return continuing.claimed(store, identity)


def test_a_command_that_runs_already_is_not_joined(tmp_path):
    store = Store(tmp_path / "store")
    (tmp_path / "folder").mkdir()
    with claim(store, "a" * 64) as first:
        first.begin(tmp_path / "folder")
        with claim(store, "a" * 64) as second:
            assert (second.left, second.record) == (None, None)
            second.begin(tmp_path / "other")  # notes nothing down
        with claim(store, "b" * 64) as other:
            assert other.left is None and other.record is not None
    with claim(store, "a" * 64) as third:
        assert third.left == tmp_path / "folder"
        third.finish()
    with claim(store, "a" * 64) as fourth:
        assert fourth.left is None


UNUSABLE = [
    "",
    "{",
    "[]",
    "{}",
    '{"folder": "/nowhere/at/all"}',
    '{"folder": ""}',
    '{"folder": 1}',
    "[" * 100_000,
]


@pytest.mark.parametrize("record", UNUSABLE, ids=lambda text: text[:20])
def test_a_record_that_cannot_be_used_means_a_new_folder(tmp_path, record):
    store = Store(tmp_path)
    file = store.folder / "runs" / ("a" * 64 + ".json")
    file.parent.mkdir(parents=True)
    file.write_text(record)
    assert continuing.left(store, "a" * 64) is None
    file.unlink()
    os.mkfifo(file)
    assert continuing.left(store, "a" * 64) is None


def test_without_reuse_nothing_is_taken_up(tmp_path):
    with claim(Store(tmp_path), "a" * 64) as first:
        first.begin(tmp_path)
    assert continuing.left(Store(tmp_path), "a" * 64) == tmp_path
    assert continuing.left(Store(tmp_path, reuse=False), "a" * 64) is None


@pytest.mark.long
def test_real_runs_killed_twice_at_random_moments_end_with_the_same_bits(tmp_path, tiny_data):
    script = ROOT / "benchmarks" / "kills.py"
    line = [sys.executable, str(script), "--kills=2", "--least=4.5", "--most=7"]
    line += [*QUICK, "trainer.dense_epochs=50", "trainer.epochs=50", "model.dropout=0.3", "device.threads=1"]
    line += ["stages.checkpoint_seconds=0.1"]
    environment = {**os.environ, "PRUNEFLOW_DATA_DIR": str(tiny_data)}
    done = subprocess.run(line, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "files, results and curves that differ" in done.stdout
    assert done.stdout.splitlines()[-2].split() == ["kills", "2"]
    assert done.stdout.splitlines()[-1].split()[-1] == "0"
