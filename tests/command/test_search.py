"""The plan of a search, its trials and the sweeper, with cells that reach figures without any training."""

from pathlib import Path
from types import SimpleNamespace

import pytest
from conftest import QUICK
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import RangeSweep
from hydra.core.plugins import Plugins
from hydra.plugins.sweeper import Sweeper
from omegaconf import OmegaConf
from results_fixtures import exported, typed
from results_fixtures import result as made_up
from test_cli import exit_code
from test_grid import kill_when, start

from pruneflow.command import optuna_sweeper, plugins, search
from pruneflow.command.search_plan import Plan
from pruneflow.command.search_space import ends, grid_of, space_of, words_of
from pruneflow.command.search_trials import Trials
from pruneflow.errors import ConfigError
from pruneflow.flow.config import config_folder

pytestmark = pytest.mark.cluster
optuna = pytest.importorskip("optuna", minversion="5")

SAMPLERS = sorted(file.stem for file in (config_folder() / "hydra/sweeper/sampler").glob("*.yaml"))
TYPED = ["a=range(0,5)", "b=tag(log,interval(0.001,1.0))"]


def parsed(*words):
    return OverridesParser.create().parse_overrides(list(words))


def in_yaml(name):
    """Settings of conf/hydra/sweeper, without a list of defaults."""
    found = OmegaConf.to_container(OmegaConf.load(config_folder() / "hydra/sweeper" / f"{name}.yaml"))
    return {key: value for key, value in found.items() if key != "defaults"}


def plan(*words, objective=("validation_accuracy",), sampler="tpe", **settings):
    sweeper, chosen = in_yaml("optuna"), in_yaml(f"sampler/{sampler}")
    ways = ["minimize" if name == "gzip_bytes" else "maximize" for name in objective]
    own = {"sampler": {**chosen, "seed": 7}, "direction": ways, **settings}
    return Plan(OmegaConf.merge(sweeper, own), list(objective), space_of(parsed(*words))[0])


def trials_in(folder, of):
    return Trials.of(of, Path(folder), lambda trial: None)


def reached(accuracy, size=100, verdict="kept", drop=0.0, limit=None):
    found = made_up(exported(gzip_bytes=size))
    found["pruned"]["validation_accuracy"] = accuracy
    judged = {"message": "", "dense": 0.9, "pruned": 0.8, "chance": 0.1}
    found["judgement"] = {**judged, "verdict": verdict, "drop": drop, "max_accuracy_drop": limit}
    return typed(found)


def run(trials, at_a_time=1, batches=100):
    """Parameters of each cell that is run, by number; the accuracy follows from them."""
    seen = {}
    for _ in range(batches):
        for cell in trials.batch(at_a_time):
            seen[cell.number] = dict(cell.trial.params)
            trials.tell(cell, reached(sum(map(float, cell.trial.params.values()))))
    return seen


# What is typed


@pytest.mark.parametrize(
    ("word", "shown"),
    [
        ("a=interval(0.5,0.9)", "FloatDistribution(high=0.9, log=False, low=0.5, step=None)"),
        ("a=int(interval(1,9))", "IntDistribution(high=9, log=False, low=1, step=1)"),
        ("a=tag(log,interval(0.01,1))", "FloatDistribution(high=1.0, log=True, low=0.01, step=None)"),
        ("a=tag(log,int(interval(1,64)))", "IntDistribution(high=64, log=True, low=1, step=1)"),
        ("a=range(1,6,2)", "IntDistribution(high=5, log=False, low=1, step=2)"),
        ("a=range(1,5)", "IntDistribution(high=4, log=False, low=1, step=1)"),
        ("a=range(10,0,-3)", "IntDistribution(high=10, log=False, low=1, step=3)"),
        ("a=range(0.5,0.8,0.1)", "FloatDistribution(high=0.7, log=False, low=0.5, step=0.1)"),
        ("a=shuffle(range(0,3))", "IntDistribution(high=2, log=False, low=0, step=1)"),
        ("a=3,1,2,1", "CategoricalDistribution(choices=(3, 1, 2))"),
        ("a=shuffle(choice(3,1,2))", "CategoricalDistribution(choices=(3, 1, 2))"),
        (
            "a=null,true,[8,16],0.5",
            "CategoricalDistribution(choices=('null', 'True', '[8,16]', 0.5))",
        ),
        ("a='x y',{b:1}", "CategoricalDistribution(choices=(\"'x y'\", '{b:1}'))"),
    ],
)
def test_what_is_typed_is_what_optuna_chooses_from(word, shown):
    assert str(space_of(parsed(word))[0]["a"]) == shown


@pytest.mark.parametrize("word", ["a=null,true,[8,16],0.5", "a='x y','b'", "a={b:1},{b:2}", "a=1e-5,7"])
def test_a_value_that_is_chosen_reads_as_it_was_typed(word):
    (override,) = parsed(word)
    listed = list(override.sweep_iterator())
    distribution = space_of([override])[0]["a"]
    again = [parsed(*words_of({"a": choice}))[0].value() for choice in distribution.choices]
    plain = [getattr(each, "text", each) for each in listed]
    assert [str(each) for each in again] == [str(each) for each in plain]


def test_of_the_same_key_the_last_word_counts_and_other_words_are_kept():
    space, fixed = space_of(parsed("a=1,2", "b=1", "a=3,4", "+c=5", "b=6,7", "~d", "e=1,2", "e=8"))
    assert {key: each.choices for key, each in space.items()} == {"a": (3, 4), "b": (6, 7)}
    assert fixed == ["+c=5", "~d", "e=8"]


@pytest.mark.parametrize(
    ("numbers", "low", "high"),
    [
        ((0, 5, 1), 0, 4),
        ((0, 4, 2), 0, 2),
        ((5, 0, -2), 1, 5),
        ((0.1, 0.35, 0.1), 0.1, 0.3),
        ((0, 1, 0.5), 0, 0.5),
    ],
)
def test_a_range_ends_where_a_grid_ends(numbers, low, high):
    start, stop, step = numbers
    sweep = RangeSweep(start=start, stop=stop, step=step)
    assert ends(sweep) == (low, high)
    listed = list(map(float, sweep.range()))
    assert (min(listed), max(listed)) == pytest.approx((low, high))


def test_the_ends_that_are_checked_are_those_that_are_chosen():
    assert search.probes(parsed("a=range(0,5,2)", "b=1")) == [["b=1", "a=0"], ["b=1", "a=4"]]
    assert search.probes(parsed("a=range(3,4)")) == [["a=3"]]


def test_a_grid_lists_numbers_without_rounding_errors():
    space, _ = space_of(parsed("a=range(0.1,0.45,0.1)", "b=x,y", "c=range(1,8,3)"))
    assert grid_of(space) == {"a": [0.1, 0.2, 0.3, 0.4], "b": ["x", "y"], "c": [1, 4, 7]}


# Cells


def test_cells_are_numbered_and_as_many_as_are_asked_for():
    trials = trials_in("here", plan(*TYPED, n_trials=5))
    assert [[cell.number for cell in trials.batch(2)] for _ in range(4)] == [[0, 1], [2, 3], [4], []]


@pytest.mark.parametrize("at_a_time", [1, 2])
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_search_that_was_cut_off_comes_to_the_cells_of_one_that_was_not(sampler, at_a_time):
    """Three times: after some cells, while cells run, and after the last one."""
    words = ["a=range(0,5)", "b=range(1,4)"] if sampler == "grid" else TYPED
    of = plan(*words, sampler=sampler, n_trials=8)
    whole = run(trials_in("whole", of), at_a_time)
    assert len(whole) == 8
    assert len({str(params) for params in whole.values()}) > 5
    parts = run(trials_in("cut", of), at_a_time, batches=4 // at_a_time)
    begun = trials_in("cut", of).batch(at_a_time)
    again = trials_in("cut", of).batch(at_a_time)
    assert [cell.trial.number for cell in again] == [cell.trial.number for cell in begun]
    parts |= run(trials_in("cut", of), at_a_time)
    assert parts == whole
    assert trials_in("cut", of).batch(at_a_time) == []


def test_a_cell_that_failed_is_tried_again_by_the_same_command():
    trials = trials_in("here", of := plan(*TYPED, n_trials=3))
    chosen = {}
    while batch := trials.batch(1):
        chosen[batch[0].number] = batch[0].trial.params
        assert trials.tell(batch[0], None if batch[0].number == 1 else reached(0.9)) is (batch[0].number != 1)
    trials = trials_in("here", of)
    (again,) = trials.batch(3)
    assert (again.number, again.trial.params) == (1, chosen[1])
    trials.tell(again, reached(0.95))
    assert trials.best() == [{"params": chosen[1], "values": [0.95]}]
    assert trials_in("here", of).batch(3) == []


@pytest.mark.parametrize("accuracy", [float("nan"), float("inf"), None])
def test_a_figure_that_is_no_number_is_a_failure(accuracy):
    trials = trials_in("here", plan(*TYPED))
    assert trials.tell(trials.batch(1)[0], reached(accuracy)) is False


def test_a_grid_takes_each_combination_once_and_no_more():
    of = plan("a=range(0,3)", "b=x,y", sampler="grid", n_trials=20)
    trials, seen = trials_in("here", of), []
    while batch := trials.batch(4):
        seen += [tuple(cell.trial.params.values()) for cell in batch]
        assert [trials.tell(cell, reached(0.9)) for cell in batch] == [True] * len(batch)
    assert sorted(seen) == [(a, b) for a in range(3) for b in "xy"]


def test_two_searches_share_a_study_and_not_their_cells():
    shared = plan(*TYPED, n_trials=2, storage="sqlite:///shared.db", study_name="mine")
    first, second = run(trials_in("one", shared)), run(trials_in("two", shared))
    assert first.keys() == second.keys() == {0, 1}
    assert not {str(each) for each in first.values()} & {str(each) for each in second.values()}
    study = optuna.load_study(study_name="mine", storage="sqlite:///shared.db")
    assert len(study.trials) == 4
    shared.check()


def test_a_cell_that_is_tried_again_is_not_taken_by_another_search(monkeypatch):
    shared = plan(*TYPED, n_trials=1, storage="sqlite:///shared.db", study_name="mine")
    first = trials_in("one", shared)
    (failed,) = first.batch(1)
    first.tell(failed, None)
    ask, taken = Plan.ask, []

    def other_asks_first(self, study, search):
        if not taken:
            taken.append(None)
            taken.append(trials_in("two", shared).batch(1)[0])
        return ask(self, study, search)

    monkeypatch.setattr(Plan, "ask", other_asks_first)
    (again,) = trials_in("one", shared).batch(1)
    other = taken[1] if taken else trials_in("two", shared).batch(1)[0]
    assert again.trial.params == failed.trial.params != other.trial.params


def test_two_searches_that_ask_at_the_same_time_choose_other_cells():
    shared = plan(*TYPED, n_trials=1, storage="sqlite:///shared.db", study_name="mine")
    study = shared.open(Path("here"), "mine")
    counted = len(study.get_trials())
    asked = [shared.sampler(counted, each).sample_independent for each in (1, 2)]
    chosen = [
        each(study, study.ask(), "b", shared.space["b"]) for each in asked
    ]  # both have counted the same trials
    assert chosen[0] != chosen[1]


SEARCH = [*QUICK, "trainer.epochs=8", "-m", "hydra/sweeper=optuna", "hydra.sweeper.n_trials=2"]


def test_a_search_that_was_killed_goes_on_and_trains_nothing_twice(tmp_path, capsys):
    words = [*SEARCH, "schedule.final_sparsity=interval(0.5,0.9)"]
    sweeps = tmp_path / "outputs" / "sweeps"
    kill_when(start(tmp_path, *words), lambda: list(sweeps.glob("*/*/1-*/pruned/events.*")))
    (sweep,) = sweeps.glob("*/*")
    study = optuna.load_study(study_name=None, storage=f"sqlite:///{sweep / 'search.db'}")
    before = [trial.params for trial in study.trials]
    (finished,) = sweep.rglob("result.json")
    written = finished.stat().st_mtime_ns
    assert [trial.state.name for trial in study.trials] == ["COMPLETE", "RUNNING"]
    assert exit_code(words) == 0
    assert [trial.state.name for trial in study.trials] == ["COMPLETE"] * 2
    assert [trial.params for trial in study.trials] == before
    assert "Continues" in capsys.readouterr().out
    assert finished.stat().st_mtime_ns == written
    assert len(list(tmp_path.rglob("pruned/*/manifest.json"))) == 2
    assert (sweep / "sweep.csv").read_text().count(",done,") == 2


def test_another_seed_chooses_other_cells():
    chosen = []
    for seed in (0, 1):
        of = plan(*TYPED, n_trials=3, sampler="random")
        of.sweeper.sampler.seed = seed
        chosen.append(run(trials_in(f"seed {seed}", of)))
    assert not {str(e) for e in chosen[0].values()} & {str(e) for e in chosen[1].values()}


def test_the_folder_of_a_search_may_have_any_name():
    folder = Path("what? {x} 100% #1 ü")
    run(trials_in(folder, of := plan(*TYPED, n_trials=1)))
    assert (folder / "search.db").is_file()
    assert trials_in(folder, of).batch(1) == []


# Constraints


def test_wrecks_and_what_lost_too_much_are_never_best():
    trials = trials_in("here", plan(*TYPED, objective=("validation_accuracy", "gzip_bytes")))
    told = [
        reached(0.95, 90, drop=0.02, limit=0.02),
        reached(0.99, 50, "over_limit", 0.021, 0.02),
        reached(0.10, 10, "chance", 0.88),
        reached(0.94, 80, "dropped", 0.06),
        reached(0.93, 85),
    ]
    for result in told:
        trials.tell(trials.batch(1)[0], result)
    assert sorted(each["values"] for each in trials.best()) == [[0.94, 80.0], [0.95, 90.0]]
    constraints = [trial.constraints for trial in trials._study.trials]
    assert constraints[1] == {"guessing": 0.0, "max_accuracy_drop": pytest.approx(0.001)}
    assert constraints[2] == {"guessing": 0.88}
    assert all(trial.state.name == "COMPLETE" for trial in trials._study.trials)


def test_where_nothing_is_feasible_nothing_is_best():
    trials = trials_in("here", plan(*TYPED))
    trials.tell(trials.batch(1)[0], reached(0.1, 10, "chance", 0.8))
    assert trials.best() == []
    optuna_sweeper._write_best(file := Path("best.yaml"), [], several=False)
    assert OmegaConf.load(file) == {"name": "optuna", "best_params": {}, "best_value": None}


def test_a_search_learns_where_it_may_not_go():
    """The more the better, but not beyond 0.6: TPE stays below it, and goes on without the constraint."""
    shares = {}
    for known in (True, False):
        trials = trials_in(f"known {known}", plan("a=interval(0,1)", n_trials=40))
        values = []
        while batch := trials.batch(1):
            values.append(a := batch[0].trial.params["a"])
            beyond = known and a > 0.6
            trials.tell(batch[0], reached(a, 1, "over_limit" if beyond else "kept", a, 0.6 if known else 1.0))
        shares[known] = sum(a > 0.6 for a in values[20:]) / 20
    assert shares[True] < 0.6 < shares[False]


# What is refused


@pytest.mark.parametrize(
    ("objective", "words", "answer"),
    [
        (("gzip_bytes",), TYPED, "this study has the directions maximize, and the objectives have others"),
        (("validation_accuracy", "gzip_bytes"), TYPED, "this study has the directions maximize, and"),
        (("validation_accuracy",), ["a=x,y"], "this study has other values of a"),
    ],
)
def test_a_study_of_another_search_is_not_gone_on_with(objective, words, answer):
    kept = {"storage": "sqlite:///search.db", "study_name": "mine"}
    run(trials_in("here", plan(*TYPED, n_trials=1, **kept)))
    with pytest.raises(ConfigError, match=rf"^hydra\.sweeper\.study_name=mine: {answer}.*\. Name another\."):
        plan(*words, objective=objective, **kept).check()
    plan("c=1,2", **kept).check()


def test_a_database_that_optuna_cannot_read_is_refused_and_stays():
    Path("search.db").write_text("no database, and longer than the head of one" * 30)
    with pytest.raises(ConfigError, match=r"^hydra\.sweeper\.storage=sqlite:///search\.db: Optuna cannot"):
        plan(*TYPED, storage="sqlite:///search.db", study_name="mine").check()
    assert Path("search.db").read_text().startswith("no database")


@pytest.mark.parametrize("storage", [7, "garbage", "redis://here", "mysql+nowhere://x/y"])
def test_what_is_no_database_is_refused(storage):
    with pytest.raises(ConfigError, match=r"^hydra\.sweeper\.storage="):
        plan(*TYPED, storage=storage).check()


def test_a_new_study_is_not_begun_by_the_check():
    plan(*TYPED, storage="sqlite:///search.db", study_name="mine").check()
    assert list(Path().iterdir()) == []


# The sweeper


def sweep(*words, fails=(), extend=None, **settings):
    """Run the sweeper with cells that train nothing; return first number and words of each batch."""
    of = plan("x=1,2", **settings)
    of.sweeper.custom_search_space = extend
    config = {
        "objective": ["validation_accuracy"],
        "hydra": {"sweeper": of.sweeper, "sweep": {"dir": "here"}},
    }
    sweeper = optuna_sweeper.OptunaSweeper(**of.sweeper)
    sweeper._config = OmegaConf.create(config)
    batches = []

    def launch(cells, initial_job_idx):
        batches.append((initial_job_idx, cells))
        numbers = range(initial_job_idx, initial_job_idx + len(cells))
        cfg = [OmegaConf.create({"hydra": {"runtime": {"output_dir": str(number)}}}) for number in numbers]
        return [SimpleNamespace(hydra_cfg=each) for each in cfg]

    def outcome(name, folder):
        return SimpleNamespace(result=None if int(folder.name) in fails else reached(0.9))

    sweeper._launcher = SimpleNamespace(launch=launch)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(optuna_sweeper, "outcome_in", outcome)
        sweeper.sweep(list(words))
    return batches


def test_cells_are_handed_to_the_launcher_some_at_a_time_with_all_words():
    batches = sweep("seed=1,2", "~x", params={"export": "float,int8", "seed": 3}, n_trials=5, n_jobs=2)
    assert [first for first, _ in batches] == [0, 2, 4]
    assert [len(cells) for _, cells in batches] == [2, 2, 1]
    for cell in (cell for _, cells in batches for cell in cells):
        assert cell[0] in ("export=float", "export=int8")
        assert cell[1] in ("seed=1", "seed=2")
        assert cell[2:] == ["~x"]
    assert OmegaConf.load("here/optimization_results.yaml").best_value == 0.9


@pytest.mark.parametrize(("rate", "batches"), [(1.0, 3), (0.5, 3), (0.4, 2), (0.0, 1)])
def test_a_search_is_given_up_when_too_many_cells_fail(rate, batches, capsys):
    """Of the first two cells one fails, so of the second two; none of the last."""
    fails = {0.0: (0,), 0.4: (3,)}.get(rate, (0, 3))
    assert len(sweep("a=range(0,9)", fails=fails, n_trials=6, n_jobs=2, max_failure_rate=rate)) == batches
    said = capsys.readouterr().err
    stopped = f"hydra.sweeper.max_failure_rate={rate}: 1 of 2 cells failed. The search ends here.\n"
    assert said == ("" if batches == 3 else stopped)


def test_a_function_of_the_user_adds_values_of_other_keys_only(monkeypatch):
    Path("mine.py").write_text("def more(config, trial):\n    trial.suggest_int('c', 5, 6)\n")
    monkeypatch.syspath_prepend(".")
    ((_, (cell,)),) = sweep("a=1,2", "b=3", extend="mine.more", n_trials=1)
    assert cell[0] in ("a=1", "a=2") and cell[1] in ("c=5", "c=6") and cell[2:] == ["b=3"]
    with pytest.raises(
        ConfigError, match=r"^hydra\.sweeper\.custom_search_space=mine\.more: it chooses c, w"
    ):
        sweep("a=1,2", "c=3", extend="mine.more", n_trials=2)


# The plugin


def test_hydra_knows_the_sweeper_by_its_name():
    plugins.prefer_own_yaml()
    known = Plugins.instance()
    assert known.class_name_to_class[optuna_sweeper.TARGET] is optuna_sweeper.OptunaSweeper
    assert known.is_in_toplevel_plugins_module(optuna_sweeper.TARGET)
    assert optuna_sweeper.OptunaSweeper in known.discover(Sweeper)


def of_hydra(**sweeper):
    return OmegaConf.create(
        {
            "runtime": {"choices": {"hydra/launcher": "basic", "hydra/sweeper": "optuna"}},
            "launcher": {"_target_": "hydra._internal.core_plugins.basic_launcher.BasicLauncher"},
            "sweeper": {**in_yaml("optuna"), "direction": "maximize", **sweeper},
        }
    )


@pytest.mark.parametrize(
    ("sweeper", "answer"),
    [
        ({"search_space": {"a": {"type": "int"}}}, "hydra.sweeper.search_space={a:{type:int}}: there is no"),
        (
            {"_target_": "hydra_plugins.hydra_optuna_sweeper.optuna_sweeper.OptunaSweeper"},
            "hydra.sweeper._target_=hydra_plugins.hydra_optuna_sweeper.optuna_sweeper.OptunaSweeper: prun",
        ),
    ],
)
def test_settings_of_the_sweeper_of_optuna_2_are_answered(sweeper, answer):
    with pytest.raises(ConfigError) as caught:
        plugins.check(of_hydra(**sweeper))
    assert str(caught.value).startswith(answer)


def test_an_optuna_that_is_too_old_is_refused(monkeypatch):
    plugins.check(of_hydra())
    monkeypatch.setattr(plugins, "version", lambda name: "2.10.1")
    with pytest.raises(ConfigError, match=r"Optuna 2\.10\.1 is installed, and 5 is needed\. Install it with"):
        plugins.check(of_hydra())
