"""Any combination of overrides is refused with one clean message, or runs to a consistent result."""

import contextlib
import io
import json
import math
import tempfile
from pathlib import Path

import pytest
from conftest import QUICK, QUICK_LSTM
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pruneflow.command import cli

pytestmark = pytest.mark.long

BASES = st.sampled_from(
    [[], [], ["model=lstm", "dataset=imdb", *QUICK_LSTM], ["model=lstm"], ["dataset=imdb"]]
)
NUMBERS = st.one_of(
    st.sampled_from(
        ["0", "1", "2", "9", "18", "100", "-1", "0.5", "1.5", "nan", "inf", "1e9", "null", "x", "''"]
    ),
    st.floats(-0.2, 1.2).map(lambda value: f"{value:.3g}"),
)
FRACTIONS = st.floats(0, 1).map(lambda value: f"{value:.3g}")
STEPS = st.integers(0, 20).map(str)

# Each key with values that are mostly sensible, and now and then with any number or word.
KEYS = {
    "schedule": st.sampled_from(["constant", "polynomial", "linear", "exponential", "step"]),
    "structure": st.sampled_from(["unstructured", "block", "block_4x1", "block_16x1", "n_of_m"]),
    "structure.indivisible": st.sampled_from(["pad", "refuse", "cut"]),
    "structure.inputs": st.sampled_from(["2", "9", "10", "0"]),
    "structure.outputs": st.sampled_from(["2", "3", "12", "13"]),
    "structure.n": st.sampled_from(["1", "2", "4"]),
    "criterion": st.sampled_from(["magnitude", "random", "taylor"]),
    "distribution": st.sampled_from(["uniform", "global", "erk", "matrices", "sensitivity"]),
    "distribution.layers": st.sampled_from(["{conv2d:0.5}", "{dense*:0}", "{'*':0.7,dense:0.2}", "{foo:1}"]),
    "distribution.min_density": FRACTIONS,
    "pruning.engine": st.sampled_from(["pruneflow", "tfmot"]),
    "export": st.sampled_from(["float", "dynamic-range", "int8", "int4"]),
    "schedule.initial_sparsity": FRACTIONS,
    "schedule.final_sparsity": FRACTIONS,
    "schedule.begin_fraction": FRACTIONS,
    "schedule.end_fraction": FRACTIONS,
    "schedule.begin_step": STEPS,
    "schedule.end_step": STEPS,
    "schedule.frequency": st.one_of(st.just("auto"), STEPS),
    "trainer.optimizer": st.sampled_from(["adam", "sgd", "rmsprop", "lion"]),
    "trainer.optimizer_parameters.momentum": FRACTIONS,
    "trainer.learning_rate_decay": st.sampled_from(["constant", "cosine", "stepwise"]),
    "trainer.batch_size": st.sampled_from(["40", "100", "360", "361"]),
    "trainer.dense_epochs": st.sampled_from(["0", "1"]),
    "trainer.early_stopping.patience": st.sampled_from(["1", "2", "0"]),
    "model.filters": st.sampled_from(["[4]", "[4,8]", "[]", "[4,8,8,8,8]", "4"]),
    "model.batch_normalization": st.sampled_from(["none", "between", "all", "some"]),
    "model.dropout": FRACTIONS,
    "pruning.skip": st.sampled_from(["[dense]", "[conv2d*]", "['*']", "[nothing]", "[embedding]"]),
    "dataset.limit": st.sampled_from(["100", "300", "5", "1"]),
    "dataset.validation_fraction": FRACTIONS,
    "seed": st.sampled_from(["0", "7", "-1"]),
}


@st.composite
def overrides(draw):
    chosen = draw(st.lists(st.sampled_from(sorted(KEYS)), max_size=4, unique=True))
    wild = draw(st.integers(0, 7))  # one key in a few gets any value at all
    values = [draw(NUMBERS if index == wild else KEYS[key]) for index, key in enumerate(chosen)]
    return draw(BASES) + [f"{key}={value}" for key, value in zip(chosen, values, strict=True)]


@settings(
    max_examples=15,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(typed=overrides())
def test_any_overrides_are_refused_cleanly_or_run_to_a_consistent_result(shared_stages, typed):
    with tempfile.TemporaryDirectory() as folder:
        shown, said = io.StringIO(), io.StringIO()
        with captured(shown, said), contextlib.suppress(SystemExit):
            try:
                cli.main([*QUICK, shared_stages, *typed, f"hydra.run.dir={folder}/run"])
            except SystemExit as stop:
                code = stop.code
        message = said.getvalue()
        assert "Traceback" not in message
        if code in (0, 3):  # 3: a wreck, all of which is written
            consistent(Path(folder) / "run")
            assert bool(message.strip()) == (code == 3)
        else:
            assert code in (1, 2)
            assert message.strip()
            assert code == 1 or not list(Path(folder).iterdir())


@contextlib.contextmanager
def captured(shown, said):
    """What rich writes: its consoles look the streams up at each line."""
    with contextlib.redirect_stdout(shown), contextlib.redirect_stderr(said):
        yield


def consistent(run_dir):
    result = json.loads((run_dir / "result.json").read_text())
    pruned, (tflite,) = result["pruned"], result["tflite"]
    settings_ = result["config"]
    final, structure = settings_["schedule"]["final_sparsity"], settings_["structure"]
    unit = structure.get("inputs", 1) * structure.get("outputs", 1)
    total = 0.0
    for layer in pruned["layers"]:
        size, asked = math.prod(layer["shape"]), layer["requested_sparsity"]
        total += size * (final if asked is None else asked)
        if asked is None:
            assert layer["zeros"] >= layer["masked"]
        elif "n" not in structure:  # at least one unit stays, and counts are whole units
            assert abs(layer["zeros"] - size * asked) <= max(unit, size * 1e-6)
        if not (
            settings_["distribution"]["layers"]
            or "n" in structure
            or "min_density" in settings_["distribution"]
        ):
            assert asked == final
    sizes = sum(math.prod(layer["shape"]) for layer in pruned["layers"])
    assert pruned["requested_sparsity"] == pytest.approx(total / sizes)
    shares = [pruned["accuracy"], tflite["accuracy"], tflite["agreement"], pruned["measured_sparsity"]]
    assert all(0 <= share <= 1 for share in shares)
    assert (run_dir / tflite["file"]).stat().st_size == tflite["size"]["bytes"]
    assert (result["dense"]["accuracy"] is None) == (result["config"]["trainer"]["dense_epochs"] == 0)
    assert result["plan"]["end_step"] <= result["plan"]["total_steps"]
