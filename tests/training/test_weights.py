"""What weights do in training: the loss of both phases is weighed, figures of evaluations are not."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import QUICK

import pruneflow

pytestmark = pytest.mark.run


def run_on(folder: Path, held: dict[str, Any], *words: str) -> Any:
    np.savez(folder / "mine.npz", **held)
    data = ["model=mlp", "model.hidden_units=[4]", "dataset=arrays", f"dataset.path={folder / 'mine.npz'}"]
    name = f"run{len(list(folder.glob('run*')))}"
    return pruneflow.run([*QUICK, *data, "trainer.learning_rate=0.02", *words], folder=folder / name)


def unequal(n: int = 400) -> dict[str, Any]:
    """One class of nine tenths, one of a tenth, which overlap: always saying 0 is right in 0.9."""
    y = (np.arange(n) % 10 == 0).astype(np.int64)
    return {"x": np.random.default_rng(0).normal(size=(n, 2)) + 1.2 * y[:, None], "y": y}


LONGER = ["trainer.dense_epochs=10", "trainer.epochs=6"]


def test_balanced_weights_find_more_of_a_rare_class_in_both_phases(tmp_path: Path) -> None:
    recall = "trainer.metrics=[recall]"
    plain, balanced = (
        run_on(tmp_path, unequal(), *LONGER, recall, f"dataset.class_weights={each}")
        for each in ("null", "balanced")
    )
    # Of 288 training examples 29 are of class 1: 288 / (2 * 259) and 288 / (2 * 29).
    assert "counts examples by class: 0 0.556, 1 4.966." in balanced.data.note
    for network in ("dense", "pruned"):
        before, after = (getattr(each, network).metrics["recall"] for each in (plain, balanced))
        assert after > before + 0.2, (network, before, after)


def test_examples_of_weight_0_are_as_good_as_none(tmp_path: Path) -> None:
    """Half of the labels are wrong, and have weight 0: both networks learn from the others."""
    rng = np.random.default_rng(1)
    x = rng.normal(size=(600, 2))
    right, wrong = (x[:, 0] > 0).astype(np.int64), np.arange(600) % 2 == 0
    held = {"x": x, "y": np.where(wrong, 1 - right, right), "w": np.where(wrong, 0.0, 1.0)}
    tested = {"x_test": x[:100], "y_test": right[:100]}
    weighed = run_on(tmp_path, {**held, **tested}, *LONGER, "dataset.sample_weights=w")
    assert weighed.dense.metrics["accuracy"] > 0.9
    assert weighed.pruned.metrics["accuracy"] > 0.9


def test_weights_of_1_give_the_same_network(tmp_path: Path) -> None:
    plain, ones = (run_on(tmp_path, unequal(), *words) for words in ([], ["dataset.class_weights=[1,1]"]))
    assert (plain.dense.loss, plain.pruned.loss) == pytest.approx(
        (ones.dense.loss, ones.pruned.loss), rel=1e-5
    )


def test_a_loss_of_regression_and_gradients_of_taylor_are_weighed_too(tmp_path: Path) -> None:
    """Examples of weight 0 have other answers: the mean that is predicted is that of the others."""
    x = np.random.default_rng(2).normal(size=(300, 2))
    odd = np.arange(300) % 2 == 1
    y = x[:, 0] + np.where(odd, 50.0, 0.0)
    held = {"x": x, "y": y, "w": (~odd).astype(float), "x_test": x, "y_test": x[:, 0]}
    words = [*LONGER, "dataset.sample_weights=w", "dataset.task=regression", "criterion=taylor"]
    result = run_on(tmp_path, held, *words)
    assert result.pruned.metrics["mean_absolute_error"] < 8  # without weights about 25
