"""``quantization_aware.epochs`` in whole runs: zeros and shared values stay, and the int8 file agrees."""

import numpy as np
import pytest
from conftest import QUICK_LSTM
from test_flow import run
from test_judgement import THREE
from test_resume import cut_off, differing, with_stages_of
from test_resume import run as run_apart
from test_sharing_of_a_run import kernels

from pruneflow.errors import ConfigError
from pruneflow.flow import pipeline, results
from pruneflow.flow.judgement import AWARE as AFTER
from pruneflow.flow.judgement import judge, judge_after
from pruneflow.report import summary
from pruneflow.runtime import backend

AWARE = ["quantization_aware.epochs=1", "export=int8"]


@pytest.mark.run
def test_training_for_int8_keeps_zeros_and_its_file_agrees_with_the_rounding_network(
    composed, tmp_path, trained_before
):
    trained_before("dense", "pruned")
    alone = run(composed, tmp_path / "alone", "export=int8")
    aware = run(composed, tmp_path / "aware", *AWARE)
    assert "quantization_aware" not in alone.stages and alone.pruned.quantization_aware is None
    assert aware.stages["pruned"].reused and not aware.stages["quantization_aware"].reused
    before, after = (kernels(tmp_path / "aware" / f"{name}.h5") for name in ("pruned", "quantization_aware"))
    for name, weight in after.items():
        np.testing.assert_array_equal(weight == 0, before[name] == 0)
        assert not np.array_equal(weight, before[name])
    of_before = aware.pruned.quantization_aware.before
    assert of_before.metrics == alone.pruned.metrics
    (file,) = aware.tflite
    assert file.inside.masked == alone.tflite[0].inside.masked and not file.inside.not_found
    assert file.agreement == 1.0 and file.max_difference < 0.02
    assert aware.judgement.pruned == aware.pruned.validation_accuracy
    again = run(composed, tmp_path / "again", *AWARE)
    assert again.stages["quantization_aware"].reused
    name = "pruned-int8.tflite"
    assert (tmp_path / "again" / name).read_bytes() == (tmp_path / "aware" / name).read_bytes()
    found = results.read(tmp_path / "again")
    rows = [row[1] for row in summary.run_rows(found)]
    assert rows == ["cnn, dense", "cnn, pruned", "cnn, quantization-aware", "cnn, TFLite int8"]
    content = (tmp_path / "again" / name).read_bytes()
    interpreter = backend.litert().Interpreter(model_content=content)
    assert not [each["name"] for each in interpreter.get_tensor_details() if each["dtype"] == np.float32]


@pytest.mark.run
def test_a_network_that_was_cut_pruned_again_and_shared_is_trained_for_int8_with_depthwise_layers(
    composed, tmp_path
):
    words = ["model=ds_cnn", "model.filters=12", "model.blocks=1", "sharing.values=3"]
    words += ["structure=channel", "structure.multiple=1", "schedule.final_sparsity=0.5", "then=unstructured"]
    result = run(composed, tmp_path, *words, *AWARE)
    assert result.cut.channels.removed > 0.3
    before, after = (kernels(tmp_path / f"{name}.h5") for name in ("shared", "quantization_aware"))
    shared = {each.name: each.values for each in result.pruned.sharing.weights}
    assert {*shared.values()} == {3}
    for name, weight in after.items():
        np.testing.assert_array_equal(weight == 0, before[name] == 0)
        assert not np.array_equal(weight, before[name])
    assert [*result.phases][-5:] == ["pruned", "shared", "quantization_aware", "export", "evaluate"]
    assert result.tflite[0].agreement >= 0.95 and not result.tflite[0].inside.not_found


def test_the_plan_of_a_run_says_how_long_it_trains_for_int8(composed):
    config = composed(*AWARE, "trainer.batch_size=40")
    assert pipeline.prepare(config).lengths[-1] == "quantization-aware 1 x 9 steps = 9 steps"


@pytest.mark.parametrize(
    ("words", "layers"),
    [
        (
            ["model=lstm", "dataset=imdb", *QUICK_LSTM],
            r"embedding \(Embedding\), lstm \(LSTM\)",
        ),
        (["model=mobilenet", "dataset=mnist"], r"rescaling \(Rescaling\)"),
    ],
)
def test_layers_that_tfmot_does_not_take_are_refused_by_name(composed, words, layers):
    with pytest.raises(ConfigError, match=f"epochs=1: tfmot cannot train these layers so: {layers}. Set "):
        pipeline.prepare(composed(*words, *AWARE))


@pytest.mark.parametrize("export", ["float", "all", "every", "int4"])
def test_files_of_other_kinds_are_refused(composed, export):
    message = f"int8 in every layer, and export={export} makes another one. Take export=int8 with all layers"
    with pytest.raises(ConfigError, match=message):
        composed("quantization_aware.epochs=1", f"export={export}")


def test_some_layers_as_int8_are_refused(composed):
    with pytest.raises(ConfigError, match="Take export=int8 with all layers"):
        composed(*AWARE, "export.layers=[dense]")


def test_a_network_that_the_training_ruins_is_marked_and_the_message_says_so():
    of_pruned = judge(0.95, 0.94, THREE, metric="accuracy", limit=None)
    said = judge_after(of_pruned, 0.85, THREE, metric="accuracy", after=AFTER)
    assert said.message == (
        "Pruning with quantization-aware training cost 0.1000: accuracy 0.9500 dense, 0.9400 pruned, 0.8500 "
        "with quantization-aware training, on 300 validation examples. Raise quantization_aware.epochs, or "
        "set it to 0. pruning.max_accuracy_drop sets what is allowed."
    )


@pytest.mark.run
def test_a_run_that_was_cut_off_while_it_trains_for_int8_ends_with_the_same_bits(composed, tmp_path, capsys):
    words = ["model.dropout=0.3", "quantization_aware.epochs=2", "export=int8"]
    run_apart(composed, tmp_path / "whole", *words)
    capsys.readouterr()
    cut = with_stages_of(tmp_path / "whole", tmp_path / "cut", "dense", "pruned")
    cut_off(composed, cut, *words, step=12, work=run_apart)
    run_apart(composed, cut, *words)
    assert "Resumes    quantization_aware training at epoch 2/2, step 3" in capsys.readouterr().out
    assert differing(tmp_path / "whole", tmp_path / "cut") == []
