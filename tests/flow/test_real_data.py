"""The main jobs on the real data, where they are there."""

import json

import pytest
from test_cli import command

pytestmark = pytest.mark.long


def only_result(folder):
    (file,) = folder.glob("outputs/*/*/result.json")
    return json.loads(file.read_text())


@pytest.mark.usefixtures("real_data")
def test_the_plain_command_keeps_the_guides_promises(tmp_path):
    done = command(["export=dynamic-range"])
    assert done.returncode == 0, done.stderr
    result = only_result(tmp_path)
    assert [result["data"][part] for part in ("train", "validation", "test")] == [54_000, 6_000, 10_000]
    dense, pruned, (tflite,) = result["dense"], result["pruned"], result["tflite"]
    assert dense["accuracy"] >= 0.975
    assert pruned["accuracy"] >= 0.965
    assert pruned["measured_sparsity"] == pytest.approx(0.8, abs=1e-4)
    assert abs(tflite["accuracy"] - pruned["accuracy"]) <= 0.002
    assert dense["h5"]["zip_bytes"] / pruned["tflite"]["zip_bytes"] >= 3
    assert dense["h5"]["zip_bytes"] / tflite["size"]["zip_bytes"] >= 9


@pytest.mark.usefixtures("real_data")
def test_imdb_keeps_its_promises_with_its_defaults_and_in_int8(tmp_path):
    words = ["model=lstm", "dataset=imdb", "dataset.limit=8000", "latency.seconds=0"]  # of either half
    done = command(words)
    assert done.returncode == 0, done.stderr
    result = only_result(tmp_path)
    assert [result["data"][part] for part in ("train", "validation", "test")] == [7_200, 800, 8_000]
    pruned, (tflite,) = result["pruned"], result["tflite"]
    assert pruned["accuracy"] >= 0.84  # 0.87 with all reviews
    assert pruned["accuracy"] >= result["dense"]["accuracy"] - 0.01
    assert pruned["measured_sparsity"] == pytest.approx(0.8, abs=1e-4)
    assert abs(tflite["accuracy"] - pruned["accuracy"]) <= 0.005
    # TFLite takes 5 ms for a review in int8, so on the 800 of the validation part alone.
    done = command([*words, "export=int8", "hydra.run.dir=int8", "test_part=false", "report=false"])
    assert done.returncode == 0, done.stderr
    in_int8 = json.loads((tmp_path / "int8" / "result.json").read_text())
    assert in_int8["stages"]["pruned"]["reused"]
    assert abs(in_int8["tflite"][0]["validation_accuracy"] - pruned["validation_accuracy"]) <= 0.02
