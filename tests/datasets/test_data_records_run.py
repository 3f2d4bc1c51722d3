"""Runs on TFRecord files: from training to evaluation, cut off, and with files that vanish."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from record_fixtures import image_files, number_files
from test_cli import exit_code
from test_faults import documented
from test_resume import cut_off, differing, train

from pruneflow import evaluate
from pruneflow.flow import pipeline

pytestmark = pytest.mark.run

IMAGES = ["dataset=tfrecord", "dataset.path=records", "dataset.shuffle_buffer=16", "model.filters=[4]"]
NUMBERS = ["model=mlp", "model.hidden_units=[8]", "model.dropout=0.3", *IMAGES[:-1]]
SHORT = [
    *("latency.seconds=0", "report=false", "trainer.dense_epochs=2", "trainer.epochs=2"),
    *("trainer.batch_size=20", "trainer.dense_batch_size=20", "schedule.frequency=auto"),
    *("schedule.final_sparsity=0.5", "hydra.run.dir=run"),
]
STEPS = 14  # of an epoch: 280 of 400 records are for training


def test_a_run_trains_prunes_exports_and_evaluates_and_its_file_is_scored_alike(
    tmp_path: Path, capsys: Any
) -> None:
    image_files(tmp_path / "records", n=100)
    assert exit_code([*IMAGES, *SHORT, "export=int8"]) == 0
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert result["data"]["class_names"] == ["cat", "dog"]
    assert "drawn by dataset.split_seed" in result["data"]["note"]
    (file,) = result["tflite"]
    assert file["agreement"] >= 0.9
    capsys.readouterr()
    evaluate.main([f"run/{file['file']}", *IMAGES[:2], "latency.seconds=0", "--json"])
    (scored,) = json.loads(capsys.readouterr().out)["files"]
    assert scored["accuracy"] == file["accuracy"]


def test_a_run_that_was_cut_off_inside_epochs_ends_with_the_same_bits(
    composed: Any, tmp_path: Path, capsys: Any
) -> None:
    number_files(tmp_path / "records", n=400, files=4)
    words = [*NUMBERS, f"dataset.path={tmp_path / 'records'}", *SHORT[2:-1]]  # data are kept by their path
    train(composed, tmp_path / "whole", *words)
    cut_off(composed, tmp_path / "killed", *words, step=STEPS + 4)
    cut_off(composed, tmp_path / "killed", *words, step=STEPS - 3 + 7)
    assert "Resumes    dense training at epoch 2/2, step 4" in capsys.readouterr().out
    train(composed, tmp_path / "killed", *words)
    assert "Resumes    pruned training at epoch 1/2, step 7" in capsys.readouterr().out
    assert differing(tmp_path / "whole", tmp_path / "killed") == []


@pytest.mark.parametrize("change", [Path.unlink, lambda file: file.write_bytes(file.read_bytes()[:-7])])
def test_a_file_that_changes_in_training_ends_the_run_with_one_message(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any, change: Any
) -> None:
    number_files(tmp_path / "records", n=400, files=1)
    run = pipeline.run

    def broken(*arguments: Any, **named: Any) -> Any:
        change(tmp_path / "records" / "part-00000-of-00001.tfrecord")
        return run(*arguments, **named)

    monkeypatch.setattr(pipeline, "run", broken)
    answer, code = documented("a TFRecord file vanishes in training")
    assert exit_code([*NUMBERS, *SHORT]) == code
    said = capsys.readouterr().err
    assert re.search(answer, said) and "Traceback" not in said
