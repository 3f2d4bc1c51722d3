"""``goal=smallest`` from the command line: the networks that it trains, and what is left."""

import json
import re
import signal
import sys
from dataclasses import fields

import forked
import numpy as np
import pytest
from conftest import QUICK
from hydra.core.override_parser.overrides_parser import OverridesParser
from test_cli import exit_code

from pruneflow import compose, evaluate, run
from pruneflow.command import goal
from pruneflow.command.arguments import parse
from pruneflow.command.job import Job
from pruneflow.datasets.spec import Data, Part, Spec
from pruneflow.errors import ConfigError, PruneflowError
from pruneflow.flow.goal import USUAL_SHARE, FileFigures, NoGoal, Searched
from pruneflow.flow.goal_search import Proposal, Tried
from pruneflow.flow.run_folder import record_failure
from pruneflow.report.automatic import report_sweep
from pruneflow.report.goal import (
    ALONE,
    GOAL_FILE,
    READ_BY_SCRIPT,
    GoalMissedError,
    answer_in,
    finish,
    script_for,
)
from pruneflow.report.goal import test_in as answer_test_in

SEARCH = [
    *QUICK,
    "goal=smallest",
    "goal.kinds=[dynamic-range]",
    "goal.max_accuracy_drop=0.5",
    "goal.confidence=0.5",
    "goal.max_trainings=3",
]


def only_folder(tmp_path):
    (found,) = (tmp_path / "outputs" / "sweeps").glob("*/*")
    return found


@pytest.mark.run
def test_a_search_leaves_the_best_file_with_what_an_app_needs(tmp_path, capsys):
    assert exit_code(SEARCH) == 0
    said, folder = capsys.readouterr().out, only_folder(tmp_path)
    record = json.loads((folder / GOAL_FILE).read_text())
    assert record["networks"][0]["folder"] == "0-final_sparsity-0.8"
    assert len(record["networks"]) == 3
    holds_the_best_file(folder, record)
    is_judged_by_the_validation_part(folder, record)
    looks_at_the_test_part_once(tmp_path, folder, record, said)
    file = folder / "best" / "pruned-dynamic-range.tflite"
    assert evaluate.main([str(file), "latency.seconds=0", "--json"]) == 0
    (scored,) = json.loads(capsys.readouterr().out)["files"]
    assert record["test"]["file"] == scored["metrics"]
    assert record["answer"] in " ".join(said.split())
    assert "Network 3  schedule.final_sparsity=" in said and said.count("BEST SO FAR") >= 1
    assert said.count("Reused     dense network") == 2  # of three
    assert "goal=none" not in said.rpartition("Command")[2]
    report_sweep(folder)
    page = (folder / "report.html").read_text()
    assert "3 runs" in page and f"<h1>{record['answer']}</h1>" in page
    assert (
        "On the test part: accuracy" in page and ">validation accuracy<" in page and ">accuracy<" not in page
    )


def holds_the_best_file(folder, record):
    kept = [
        (file["measure"], network["folder"])
        for network in record["networks"]
        for file, misses in zip(network["files"], network["misses"], strict=True)
        if not misses
    ]
    assert (record["best"]["measure"], record["best"]["folder"]) == min(kept)
    best = {file.name for file in (folder / "best").iterdir()}
    assert best == {"pruned-dynamic-range.tflite", "pruned-dynamic-range.tflite.gz", "use.py", "about.json"}
    winner = folder / record["best"]["folder"] / "pruned-dynamic-range.tflite"
    assert (folder / "best" / winner.name).read_bytes() == winner.read_bytes()
    assert f'"{winner.name}"' in (folder / "best" / "use.py").read_text()


def is_judged_by_the_validation_part(folder, record):
    for network in record["networks"]:
        result = json.loads((folder / network["folder"] / "result.json").read_text())
        (file,), (figures,) = result["tflite"], network["files"]
        assert figures["accuracy"] == file["validation_accuracy"]
        lost = result["dense"]["validation_accuracy"] - file["validation_accuracy"]
        assert figures["drop"] == pytest.approx(lost, abs=1e-9)
        assert file["against_dense"]["examples"] == result["data"]["validation"]


def looks_at_the_test_part_once(tmp_path, folder, record, said):
    """Cells have no figure of it, no stage of theirs keeps one, and the winner's are right."""
    scores = [json.loads(file.read_text())["scores"] for file in tmp_path.rglob("evaluate/*/facts.json")]
    assert scores and all(set(each) == {"validation"} for each in scores)
    assert said.count("Evaluating pruned-dynamic-range.tflite") == 4  # three on one part, the winner on both
    for network in record["networks"]:
        result = json.loads((folder / network["folder"] / "result.json").read_text())
        (file,) = result["tflite"]
        assert result["part"] == "validation" and result["classes"] == []
        assert result["pruned"]["wrapped"]["agreement"] == 1.0 and file["agreement"] > 0.8
        for figures in (result["dense"], result["pruned"], result["pruned"]["wrapped"], file):
            assert figures["accuracy"] is None and figures["metrics"] is None
    about = json.loads((folder / "best" / "about.json").read_text())
    assert about["contract"]["gives"] == "logits" and about["contract"]["reads"]
    assert about["test"] == record["test"] and "test_part" not in about["command"]


KILLED = """
import os, signal, sys
from pruneflow.command import cli, goal
step = goal.step
def killed(folder, wanted, tried, cells):
    step(folder, wanted, tried, cells)
    if len(tried) == 2:
        os.kill(os.getpid(), signal.SIGKILL)
goal.step = killed
cli.main(sys.argv[1:])
"""


@pytest.mark.run
def test_a_search_that_was_killed_goes_on(tmp_path, capsys, shared_stages):
    search = [*SEARCH, shared_stages]
    assert forked.run([sys.executable, "-c", KILLED, *search]).returncode == -signal.SIGKILL
    before = json.loads((only_folder(tmp_path) / GOAL_FILE).read_text())
    assert exit_code(search) == 0
    after = json.loads((only_folder(tmp_path) / GOAL_FILE).read_text())
    assert len(before["networks"]) == 2 and after["networks"][:2] == before["networks"]
    said = capsys.readouterr().out
    assert said.count("Finished   before") == 2 and "Continues  " in said


@pytest.mark.run
def test_the_drop_of_a_regression_is_one_of_r2(tmp_path, capsys):
    x = np.random.default_rng(0).normal(size=(400, 4))
    np.savez("numbers.npz", x=x, y=x @ np.array([1.0, -2.0, 0.5, 3.0]))
    data = ["dataset=arrays", "dataset.path=numbers.npz", "dataset.task=regression", "model=mlp"]
    assert exit_code([*SEARCH, *data, "goal.max_trainings=1", "goal.max_accuracy_drop=0.9"]) == 0
    said, folder = capsys.readouterr().out, only_folder(tmp_path)
    record = json.loads((folder / GOAL_FILE).read_text())
    (network,) = record["networks"]
    result = json.loads((folder / network["folder"] / "result.json").read_text())
    (file,), (figures,) = result["tflite"], network["files"]
    assert (figures["metric"], record["test"]["metric"]) == ("r2", "r2")
    lost = result["dense"]["validation_metrics"]["r2"] - file["validation_metrics"]["r2"]
    assert figures["drop"] == pytest.approx(lost, abs=1e-6)
    assert "; validation R2 " in record["answer"] and "Test part  R2 " in said


@pytest.mark.run
def test_a_goal_that_nothing_reaches_has_an_exit_code_of_its_own(tmp_path, capsys, shared_stages):
    wanted = ["goal.max_bytes=10", "goal.max_trainings=1", shared_stages]
    assert exit_code([*SEARCH, *wanted]) == 4
    said = capsys.readouterr().err
    assert "No file reaches the goal. The nearest is dynamic-range of 0-final_sparsity-0.8: " in said
    assert not (only_folder(tmp_path) / "best").exists()


def test_each_network_is_a_step_of_the_staircase(tmp_path, capsys):
    wanted = job_of("goal=smallest").goal
    small = FileFigures("int4", 5051.0, 0.975, 0.004, 0.006, 5051.0, None)
    large = FileFigures("int8", 7948.0, 0.977, 0.002, 0.004, 7948.0, None)
    shares = {0.8: (large, small), 0.9: ()}
    tried = [Tried(Proposal("zeros", (), USUAL_SHARE, share), files) for share, files in shares.items()]
    for count in (1, 2):
        goal.step(tmp_path, wanted, tried[:count], [tmp_path / "0", tmp_path / "1"][:count])
    assert [line.rstrip() for line in capsys.readouterr().out.splitlines()] == [
        "Network 1  schedule.final_sparsity=0.8",
        "  int8           7,948 B after gzip  validation accuracy 0.9770, 0.0020 lost, at most 0.0040 with "
        "confidence 0.9  within the limits  BEST SO FAR",
        "  int4           5,051 B after gzip  validation accuracy 0.9750, 0.0040 lost, at most 0.0060 with "
        "confidence 0.9  too much: accuracy drop",
        "Network 2  schedule.final_sparsity=0.9",
        "  it failed; see its folder",
    ]


def test_the_script_beside_the_best_file_takes_that_file():
    script = 'network = Interpreter(HERE / [*typed, "pruned-dynamic-range.tflite"][0])'
    found = script_for("pruned-int4.tflite", script, ["pruned-dynamic-range.tflite", "pruned-int4.tflite"])
    assert found == 'network = Interpreter(HERE / [*typed, "pruned-int4.tflite"][0])'


def test_files_that_a_script_reads_are_named_in_it():
    script = 'names = (HERE / "labels.txt").read_text("utf-8")\nHERE / [*typed, "pruned.tflite"][0]'
    assert READ_BY_SCRIPT.findall(script) == ["labels.txt"]


def job_of(*words):
    return Job.of(parse(list(words))[0])


def test_a_way_that_does_not_go_with_what_is_typed_is_left_out(capsys):
    job = job_of("goal=smallest", "structure=block_4x1")
    assert list(job.decided) == ["~goal.ways.channels"]
    assert "~goal.ways.channels" in job.pinned
    assert "Left out   the way channels: then=unstructured: it prunes" in capsys.readouterr().out
    assert not job_of("goal=smallest").decided


def test_ways_that_the_engine_of_tfmot_has_not_are_left_out(capsys):
    job = job_of("goal=smallest", "pruning.engine=tfmot")
    left_out = ["sensitive", "ranked", "channels"]
    assert list(job.decided) == [f"~goal.ways.{way}" for way in left_out]
    said = capsys.readouterr().out
    for way, setting in zip(
        left_out, ("distribution=sensitivity", "criterion=lamp", "structure=channel"), strict=True
    ):
        assert f"Left out   the way {way}: {setting}: pruning.engine=tfmot can do" in said


GOAL_IN_A_FILE = """\
# @package _global_
defaults:
  - override /goal: smallest
goal:
  max_bytes: 9000
  ways:
    rows: {settings: [structure=block_4x1]}
"""


def test_a_file_may_choose_the_goal(tmp_path):
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "mine.yaml").write_text(GOAL_IN_A_FILE)
    words = [f"--config-dir={tmp_path}", "experiment=mine"]
    job = job_of(*words, "goal.tolerance=0.1")
    assert (job.goal.max_bytes, job.goal.tolerance, job.sweep) == (9000, 0.1, True)
    assert {each.goal.option_name for each in job.configs} == {"none"}
    assert [each.structure.name for each in job.configs][-1] == "block_4x1"
    assert job_of(*words, "goal=none", "seed=1").goal is None


@pytest.fixture
def file_with_export(tmp_path):
    (tmp_path / "experiment").mkdir()
    text = GOAL_IN_A_FILE.replace("goal: smallest\n", "goal: smallest\n  - override /export: int8\n")
    (tmp_path / "experiment" / "mine.yaml").write_text(text)
    return [f"--config-dir={tmp_path}", "experiment=mine"]


def kinds(job):
    return [each.kind for each in job.configs[0].export.exports()]


def test_an_export_that_a_file_chooses_wins(file_with_export, capsys):
    job = job_of(*file_with_export)
    assert kinds(job) == ["int8"] and "export=int8" in job.pinned
    assert "Export     int8, which a file chooses" in capsys.readouterr().out
    assert kinds(job_of(*file_with_export, "export=float16")) == ["float16"]
    typed = job_of(*file_with_export, "goal.kinds=[dynamic-range]")
    assert kinds(typed) == ["dynamic-range"] and not typed.decided
    assert kinds(job_of("goal=smallest")) == ["dynamic-range", "int8", "int4"]


def test_networks_of_a_search_have_no_page_and_no_test_part_and_the_search_has_a_page():
    job = job_of("goal=smallest")
    assert job.configs[0].report and not job.configs[0].test_part
    assert not job_of("goal=smallest", "report=false").configs[0].report
    assert "report=false" in goal.cell(job.goal, [])


def test_files_are_timed_where_latency_counts_and_channels_are_cut_for_it():
    fast, small = (job_of(f"goal={goal}").configs[0] for goal in ("fastest", "smallest"))
    assert fast.latency.seconds > 0 and small.latency.seconds == 0
    assert (fast.structure.option_name, fast.schedule.final_sparsity) == ("channel", 0.5)
    assert job_of("goal=smallest", "goal.max_latency_ms=1").configs[0].latency.seconds > 0


@pytest.mark.parametrize("spelled", ["1", "yes", "true"])
def test_networks_of_a_search_look_at_no_test_part_however_it_is_spelled(spelled):
    with pytest.raises(
        ConfigError, match=rf"^test_part={spelled}: goal=smallest looks at the test part once"
    ):
        job_of("goal=smallest", f"test_part={spelled}")


def test_the_command_of_a_winner_has_nothing_of_the_test_part_however_it_was_typed():
    typed = OverridesParser.create().parse_overrides(["goal=smallest", "test_part=False"])
    words = [word for word in goal.cell(job_of("goal=smallest").goal, typed) if "test_part" in word]
    assert words == [ALONE.strip()]


@pytest.mark.parametrize("found", ["[]", "null", '"text"'])
def test_a_file_of_another_shape_has_no_answer(tmp_path, found):
    (tmp_path / GOAL_FILE).write_text(found)
    assert (answer_in(tmp_path), answer_test_in(tmp_path)) == ("", "")


def test_a_limit_without_a_goal_is_refused():
    with pytest.raises(ConfigError, match=r"^goal[.]max_bytes=9: goal=none looks for nothing[.] Choose one"):
        job_of("goal.max_bytes=9")


def test_the_library_refuses_a_limit_without_a_goal():
    for words in (["goal.max_minutes=3"], ["goal=none", "+goal.ways.mine={}"]):
        with pytest.raises(ConfigError, match=rf"^{re.escape(words[-1])}: goal=none looks for nothing"):
            compose(words)
    with pytest.raises(ConfigError, match=r"^goal[.]max_minutes=3: goal=none"):
        run(["goal.max_minutes=3"])


def test_goal_none_has_each_key_of_a_search():
    """A file may set them, and ``goal=none`` leaves the search out."""
    of_search, unused = ({each.name for each in fields(option)} for option in (Searched, NoGoal))
    assert unused == of_search and len(unused) > 8


def test_a_way_of_ones_own_is_one_of_the_ways():
    job = job_of("goal=smallest", '+goal.ways.rows={settings:["structure=block_4x1"]}')
    assert [config.structure.name for config in job.configs][-1] == "block_4x1"
    assert list(job.goal.ways)[-1] == "rows"


def test_commands_with_other_goals_are_not_the_same_command():
    one, other = (job_of("goal=smallest", f"goal.tolerance={each}") for each in (0.1, 0.2))
    assert one.identity != other.identity
    assert one.identity == job_of("goal=smallest", "goal.tolerance=0.1").identity


def test_a_limit_that_so_few_examples_cannot_show_is_refused():
    wanted = job_of("goal=smallest").goal
    few, many = (Data.__new__(Data) for _ in range(2))
    for data, n in ((few, 100), (many, 6000)):
        object.__setattr__(data, "spec", Spec("image", (2, 2, 1), 10))
        object.__setattr__(data, "validation", Part(np.zeros((n, 1)), np.zeros(n)))
    with pytest.raises(
        ConfigError, match=r"on 100 validation examples an equally good file may lose 0[.]0126 by chance"
    ):
        goal.check_examples(wanted, few)
    goal.check_examples(wanted, many)


def test_the_time_of_a_network_that_failed_counts(tmp_path):
    proposal = Proposal("zeros", (), "schedule.final_sparsity", 0.8)
    record_failure(tmp_path, "no memory")
    assert goal._tried(job_of("goal=smallest").goal, proposal, tmp_path, 30.0) == Tried(proposal, (), 30.0)


def test_the_library_refuses_a_search():
    with pytest.raises(ConfigError, match="goal=smallest: a search for one file"):
        run(["goal=smallest"])


@pytest.mark.parametrize("limit", [0.005, None])  # null allows as much
def test_a_miss_that_chance_explains_names_the_remedy(tmp_path, limit):
    nearest = {"kind": "int8", "folder": "0", "drop": 0.001, "drop_at_most": 0.02, "bytes": 900}
    goal_of = {"max_accuracy_drop": limit, "confidence": 0.9}
    record = {"best": None, "nearest": nearest, "goal": goal_of, "missed": {"max_accuracy_drop": 1.0}}
    (tmp_path / GOAL_FILE).write_text(json.dumps(record))
    with pytest.raises(GoalMissedError, match=r"Chance alone moves the drop by 0[.]0190 on so few"):
        finish(tmp_path)
    (tmp_path / GOAL_FILE).write_text(json.dumps({**record, "nearest": None}))
    with pytest.raises(PruneflowError, match="each run failed"):
        finish(tmp_path)
