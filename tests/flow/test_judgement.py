"""Pruning is judged by what it cost: kept, marked, or a run that fails after everything was written."""

import csv
import json

import numpy as np
import pytest
from conftest import QUICK
from results_fixtures import result, typed, write_run
from test_cli import exit_code
from test_report import Page

from pruneflow.command import cli, search
from pruneflow.flow import results
from pruneflow.flow.judgement import WreckError, fails, judge, marked, require_worth, violations
from pruneflow.report.collect import collect
from pruneflow.report.outcomes import CellOutcome, write_csv
from pruneflow.report.run_page import write_run_report
from pruneflow.report.sweep_page import write_sweep_report

THREE = np.arange(300) % 3  # guessing gives 1/3, with a standard error of 0.0272: 0.415 is clearly above it
NUMBERS = np.linspace(0, 1, 300)[:, None]
WRECK = [*QUICK, "schedule=constant", "schedule.final_sparsity=0.9999", "trainer.learning_rate=1e-6"]


def verdict(dense, pruned, *, limit=None, y=THREE, metric="accuracy"):
    return judge(dense, pruned, y, metric=metric, limit=limit).verdict


@pytest.mark.parametrize(
    ("dense", "pruned", "limit", "expected"),
    [
        (0.95, 0.95, None, "kept"),
        (0.95, 0.99, None, "kept"),
        (0.95, 0.90, None, "kept"),  # 0.05 is not beyond 0.05
        (0.95, 0.899, None, "dropped"),
        (0.95, 0.85, 0.1, "kept"),
        (0.95, 0.849, 0.1, "over_limit"),
        (0.95, 0.94, 0.0, "over_limit"),
        (0.95, 0.40, None, "chance"),
        (0.95, 0.40, 1.0, "chance"),  # whatever is allowed
        (0.95, 0.42, None, "dropped"),
        (0.45, 0.41, None, "kept"),  # not even half of what was known is lost
        (0.45, 0.35, None, "chance"),
        (0.35, 0.34, None, "guessing"),
        (None, 0.34, None, "guessing"),
        (None, 0.40, None, "kept"),
    ],
)
def test_accuracy_is_judged_beside_dense_and_beside_guessing(dense, pruned, limit, expected):
    assert verdict(dense, pruned, limit=limit) == expected


def test_guessing_is_the_share_of_the_most_frequent_class():
    y = np.array([0] * 270 + [1] * 30)  # 0.9, with a standard error of 0.0173
    assert verdict(0.99, 0.90, y=y) == "chance"
    assert verdict(0.99, 0.96, y=y) == "kept"
    assert judge(0.99, 0.90, y, metric="accuracy", limit=None).chance == 0.9


def test_a_handful_of_examples_makes_no_wreck():
    assert verdict(1.0, 0.8, y=np.arange(10) % 2) == "dropped"
    assert verdict(None, 0.9, y=np.arange(10) % 2) == "kept"


@pytest.mark.parametrize(
    ("dense", "pruned", "limit", "expected"),
    [
        (0.9, 0.88, None, "kept"),
        (0.9, 0.8, None, "dropped"),
        (0.9, 0.8, 0.02, "over_limit"),
        (0.9, 0.0, None, "chance"),
        (0.9, -20.0, None, "chance"),
        (0.04, 0.0, None, "guessing"),
        (None, 0.01, None, "guessing"),
        (None, 0.5, None, "kept"),
    ],
)
def test_a_regression_is_judged_by_r2_where_0_is_guessing(dense, pruned, limit, expected):
    assert verdict(dense, pruned, limit=limit, y=NUMBERS, metric="r2") == expected


def test_messages_have_both_figures_and_say_what_to_do():
    said = judge(0.95, 0.85, THREE, metric="accuracy", limit=0.02)
    assert said.message == (
        "pruning.max_accuracy_drop=0.02: pruning cost 0.1000: accuracy 0.9500 dense, 0.8500 pruned, on 300 "
        "validation examples. Lower schedule.final_sparsity, or train longer (trainer.min_steps or "
        "trainer.epochs), or allow more."
    )
    assert (said.drop, said.max_accuracy_drop) == (pytest.approx(0.1), 0.02)
    said = judge(0.9, -0.5, NUMBERS, metric="r2", limit=None).message
    assert said.startswith(
        "Pruning left a network that guesses: R2 0.9000 dense, -0.5000 pruned, on 300 validation examples; "
        "guessing gives 0.0000."
    )
    assert judge(0.95, 0.95, THREE, metric="accuracy", limit=None).message == ""


def test_where_neither_network_is_better_than_guessing_more_examples_are_a_remedy():
    said = judge(0.5, 0.4, np.arange(14) % 3, metric="accuracy", limit=None).message
    assert "accuracy 0.5000 dense, 0.4000 pruned, on 14 validation examples" in said
    assert "raise dataset.validation_fraction: with few examples, chance decides." in said


def judged(verdict, **settings):
    message = "" if verdict == "kept" else f"It is {verdict}."
    figures = {"dense": 0.98, "pruned": 0.4, "drop": 0.58, "chance": 0.1, "max_accuracy_drop": None}
    return {**result(**settings), "judgement": {"verdict": verdict, "message": message, **figures}}


def test_only_wrecks_fail_a_run():
    failing = [
        each
        for each in ("kept", "dropped", "guessing", "over_limit", "chance")
        if fails(typed(judged(each)).judgement)
    ]
    assert failing == ["over_limit", "chance"]
    require_worth(typed(judged("dropped")).judgement)
    with pytest.raises(WreckError, match="It is chance") as error:
        require_worth(typed(judged("chance")).judgement)
    assert error.value.exit_code == 3
    assert marked(typed(result()).judgement) is None  # of an earlier version, which had no judgement


def test_a_search_takes_no_wreck(composed, capsys):
    config = composed()
    assert cli._objectives(typed(judged("dropped")), config) == 0.97
    assert cli._objectives(typed(judged("chance")), config) is None
    cells = [CellOutcome(name, typed(judged(name)), "") for name in ("chance", "dropped")]
    search.show_best(cells, ["validation_accuracy"])
    said = capsys.readouterr().out
    search.show_best(cells[:1], ["validation_accuracy"])
    assert capsys.readouterr().err.startswith("The search found nothing: each pruned network guesses")
    assert "Best of 1" in said and "dropped: validation_accuracy" in said and "chance" not in said


def test_the_table_of_a_sweep_has_the_verdict_of_each_cell(tmp_path):
    cells = [CellOutcome(name, typed(judged(name)), "") for name in ("kept", "chance")]
    write_csv(tmp_path / "sweep.csv", [*cells, CellOutcome("old", typed(result()), "")])
    with (tmp_path / "sweep.csv").open() as file:
        kept, chance, old = csv.DictReader(file)
    assert (kept["verdict"], kept["status"], kept["message"]) == ("kept", "done", "")
    assert (chance["verdict"], chance["status"], chance["message"]) == ("chance", "done", "It is chance.")
    assert (chance["validation_drop"], old["verdict"], old["batch_size"]) == ("0.58", "", "128")


def test_the_page_of_a_run_says_it_first_and_in_red(tmp_path):
    page = write_run_report(write_run(tmp_path / "run", judged("chance")))
    text = page.read_text()
    assert '<p class="notice alarm">It is chance.</p>' in text
    assert text.count('<tr class="lost">') == 2  # the pruned network and its file, not the dense one
    kept = write_run_report(write_run(tmp_path / "kept", judged("kept"))).read_text()
    assert '"notice alarm"' not in kept and '"lost"' not in kept


def test_the_page_of_a_sweep_marks_its_rows(tmp_path):
    for seed, word in enumerate(("kept", "over_limit")):
        write_run(tmp_path / word, judged(word, seed=seed))
    page = write_sweep_report(collect([tmp_path]), tmp_path / "report.html")
    rows = {row[0]: row[1] for row in Page(page).rows if row}
    assert rows["run"] == "pruning" and rows["kept"] == "kept"
    assert rows["over_limit"] == "over limit (-0.5800)"
    assert page.read_text().count('<tr class="lost">') == 1
    assert "1 of 2 runs are marked in red" in Page(page).text


@pytest.mark.run
def test_a_wreck_exits_with_3_after_everything_is_written(tmp_path, capsys, trained_before):
    trained_before("dense")
    assert exit_code([*WRECK, "report=true", "hydra.run.dir=run"]) == 3
    said = capsys.readouterr()
    assert said.err.startswith("Pruning left a network that guesses: accuracy ")
    assert "Marked     Pruning left a network" in said.out and "verdict=chance" in said.out
    run = tmp_path / "run"
    assert results.read(run).judgement.verdict == "chance"
    names = ("report.html", "pruned-float.tflite", "pruned.h5", "float")
    assert all((run / name).exists() for name in names)
    assert not (run / "failure.json").exists() and not (run / ".unfinished").exists()


@pytest.mark.run
def test_a_sweep_marks_wrecks_goes_on_and_exits_with_0(tmp_path, capsys, shared_stages):
    words = [
        *QUICK,
        shared_stages,
        "-m",
        "schedule=constant",
        "schedule.final_sparsity=0.9999,0.5",
        "hydra.sweep.dir=sweep",
    ]
    assert exit_code([*words, "trainer.learning_rate=1e-6"]) == 0
    said = capsys.readouterr().out
    assert "marked final_sparsity-0.9999: chance. Pruning left" in said
    assert "done cells=2 failed=0 marked=1 table=" in said
    with (tmp_path / "sweep" / "sweep.csv").open() as file:
        assert [row["verdict"] for row in csv.DictReader(file)] == ["chance", "kept"]


@pytest.mark.run
def test_more_than_is_allowed_exits_with_3(tmp_path, capsys, trained_before):
    trained_before("dense")
    words = [*QUICK, "schedule=constant", "schedule.final_sparsity=0.97"]
    words += ["trainer.learning_rate=1e-6", "hydra.run.dir=run"]
    code = exit_code([*words, "pruning.max_accuracy_drop=0"])
    found = json.loads((tmp_path / "run" / "result.json").read_text())["judgement"]
    assert (code, found["drop"] > 0, found["max_accuracy_drop"]) == (3, True, 0.0), found
    assert capsys.readouterr().err.startswith(("pruning.max_accuracy_drop=0.0: ", "Pruning left"))


@pytest.mark.parametrize("value", ["-0.1", "1.1", "nan", "much"])
def test_a_limit_is_a_share(value, capsys):
    assert exit_code([*QUICK, f"pruning.max_accuracy_drop={value}"]) == 2
    assert capsys.readouterr().err.startswith("pruning.max_accuracy_drop=")


@pytest.mark.parametrize("limit", [None, 0.02, 1.0])
@pytest.mark.parametrize("pruned", [0.95, 0.93, 0.9299, 0.8, 0.4, 0.1])
def test_what_fails_a_run_is_what_a_search_may_not_take(pruned, limit):
    judged = judge(0.95, pruned, np.arange(1000) % 10, metric="accuracy", limit=limit)
    assert fails(judged) == any(figure > 0 for figure in violations(judged).values())
