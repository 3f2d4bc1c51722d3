"""The whole flow on tiny data: every model, schedule and export, and what stays on disk."""

import gc
import itertools
import json
import math
import sys
import traceback
import weakref

import ml_dtypes  # noqa: F401 - teaches NumPy the name bfloat16
import numpy as np
import pytest
from conftest import QUICK, QUICK_LSTM

import pruneflow
from pruneflow.__main__ import main
from pruneflow.flow import pipeline, results
from pruneflow.runtime import backend
from pruneflow.sparsity.measure import count_zeros

MODELS = {"cnn": ["model=cnn"], "lstm": ["model=lstm", "dataset=imdb", *QUICK_LSTM]}
EXPORTS = ["float", "dynamic-range", "int8"]
# Each model with each export, and with each schedule too: no schedule knows of what follows it.
TOGETHER = [
    (*both, ("constant", "polynomial")[number % 2])
    for number, both in enumerate(itertools.product(MODELS, EXPORTS))
]


def run(composed, folder, *overrides):
    folder.mkdir(exist_ok=True)
    config = composed(*QUICK, *overrides)
    return pipeline.run(config, pipeline.prepare(config), folder, command="test")


@pytest.mark.run
@pytest.mark.parametrize(("model", "export", "schedule"), TOGETHER)
def test_every_model_schedule_and_export_goes_through(sharing, tmp_path, model, schedule, export):
    result = run(sharing, tmp_path, *MODELS[model], f"schedule={schedule}", f"export={export}")
    written = json.loads((tmp_path / "result.json").read_text())
    weights = {layer["name"] + "/" + layer["weight"] for layer in written["pruned"]["layers"]}
    assert (
        weights
        == {
            "cnn": {"conv2d/kernel", "dense/kernel"},
            "lstm": {"embedding/embeddings", "lstm/kernel", "lstm/recurrent_kernel", "dense/kernel"},
        }[model]
    )
    for layer in written["pruned"]["layers"]:
        size = math.prod(layer["shape"])
        assert abs(layer["zeros"] - size * 0.8) <= 1
    (tflite,) = written["tflite"]
    assert tflite["kind"] == export
    assert (tmp_path / tflite["file"]).stat().st_size == tflite["size"]["bytes"]
    assert abs(tflite["accuracy"] - written["pruned"]["accuracy"]) <= 0.05
    assert tflite["agreement"] >= 0.95
    assert tflite["max_difference"] <= {"float": 1e-5, "dynamic-range": 0.1, "int8": 0.25}[export]
    assert result.pruned.accuracy >= 0.9  # the tiny data are easy


@pytest.mark.run
def test_a_result_has_every_promised_field(sharing, tmp_path):
    assert run(sharing, tmp_path) == results.read(tmp_path)
    written = json.loads((tmp_path / "result.json").read_text())
    promised = {
        "": "config command versions device seed data dense pruned tflite phases peak_memory_bytes",
        "data": "name source note digest train validation test",
        "dense": "accuracy validation_accuracy loss parameters tflite h5",
        "pruned": "accuracy validation_accuracy loss requested_sparsity measured_sparsity compression_ratio",
    }
    for path, names in promised.items():
        part = written[path] if path else written
        assert set(names.split()) <= set(part)
    promised_of_tflite = "kind file accuracy agreement max_difference size dense_size"
    assert set(promised_of_tflite.split()) <= set(written["tflite"][0])
    assert set(written["dense"]["h5"]) == {"bytes", "gzip_bytes", "zip_bytes", "zstd_bytes"}
    layer = written["pruned"]["layers"][0]
    assert set(layer) >= {"name", "weight", "shape", "requested_sparsity", "measured_sparsity"}
    assert all(set(phase) == {"seconds", "examples_per_second"} for phase in written["phases"].values())
    assert (written["data"]["train"], written["data"]["validation"]) == (360, 40)
    assert written["peak_memory_bytes"] > 10**8
    assert written["dense"]["parameters"] == 20410
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


@pytest.mark.run
def test_networks_of_before_are_given_back_before_training(composed, tmp_path, monkeypatch):
    class Ring:
        """Holds itself, as a Keras model does: only a collection frees it."""

    backend.tfmot()  # what is there before it is loaded is not looked at again
    ring = Ring()
    ring.itself, of_before = ring, weakref.ref(ring)
    model, alive = backend.keras().Model, []
    fit = model.fit

    def recorded(self, *args, **kwargs):
        alive.append(of_before() is not None)
        return fit(self, *args, **kwargs)

    monkeypatch.setattr(model, "fit", recorded)
    gc.disable()
    try:
        del ring
        run(composed, tmp_path)
    finally:
        gc.enable()
    assert alive == [False, False]


@pytest.mark.run
def test_blocks_go_through_to_a_sparse_kernel(sharing, tmp_path):
    blocks = ["structure=block_4x1", "model.dense_units=[32]", "pruning.skip=[dense_1]"]
    result = run(sharing, tmp_path, *blocks, "export.encoding=sparse")
    dense = next(layer for layer in result.pruned.layers if layer.name == "dense")
    assert dense.masked == 2028 * 32 - 4 * 3245  # round(16,224 blocks x 0.2) = 3,245 stay
    assert result.tflite[0].encoding == "sparse"
    kernel = (
        backend.keras().models.load_model(tmp_path / "pruned.h5", compile=False).get_layer("dense").kernel
    )
    alive = (kernel.numpy().reshape(507, 4, 32) != 0).sum(axis=1)
    assert set(np.unique(alive)) == {0, 4}
    assert "FULLY_CONNECTED" in result.tflite[0].inside.sparse_kernels


@pytest.mark.run
def test_two_of_four_inputs_stay_in_every_layer(sharing, tmp_path):
    result = run(sharing, tmp_path, "structure=n_of_m", "model.filters=[4]")
    kernel = (
        backend.keras().models.load_model(tmp_path / "pruned.h5", compile=False).get_layer("dense").kernel
    )
    values = kernel.numpy()
    assert ((values.reshape(-1, 4, 10) != 0).sum(axis=1) == 2).all()
    assert (result.pruned.requested_sparsity, result.config["schedule"]["final_sparsity"]) == (0.5, 0.8)


@pytest.mark.run
@pytest.mark.parametrize(
    ("overrides", "asked"),
    [
        (["distribution=global", "criterion=random"], None),
        (["distribution=erk", "criterion=taylor"], 0.8),
        (["distribution.layers={conv2d:0.5}", "schedule=exponential"], 0.5),
        (["distribution.layers={conv2d:0}", "schedule=linear"], 0.0),
    ],
    ids=["global", "erk", "layers", "dense layer"],
)
def test_sparsity_is_shared_as_asked_and_the_total_is_exact(sharing, tmp_path, overrides, asked):
    result = run(sharing, tmp_path, *overrides)
    of_layer = {layer.name: layer for layer in result.pruned.layers}
    assert (of_layer["conv2d"].requested_sparsity is None) == (asked is None)
    masked = {name: layer.masked for name, layer in of_layer.items()}
    if asked == 0.8 or asked is None:
        assert sum(masked.values()) == 20388 - 4078  # round(20,388 x 0.2) stay
        assert result.pruned.requested_sparsity == pytest.approx(0.8, abs=1e-6)
    else:
        assert masked == {"conv2d": round(108 * asked), "dense": 16224}
        expected = (108 * asked + 20280 * 0.8) / 20388
        assert result.pruned.requested_sparsity == pytest.approx(expected, abs=1e-6)
    scalars = read_scalars(tmp_path / "pruned")
    assert scalars["sparsity/planned"][-1][1] == pytest.approx(result.pruned.requested_sparsity, abs=1e-6)


@pytest.mark.run
def test_matrices_take_the_zeros_of_convolutions(sharing, tmp_path):
    result = run(sharing, tmp_path, "distribution=matrices", "structure=block_4x1")
    masked = {layer.name: layer.masked for layer in result.pruned.layers}
    assert masked == {"conv2d": 0, "dense": 4 * (5070 - 992)}  # round(5,070 - 20,388 x 0.8 / 4) = 992 stay
    assert result.pruned.requested_sparsity == pytest.approx(0.8, abs=1e-6)


@pytest.mark.long
def test_a_bidirectional_lstm_goes_through_to_tflite(sharing, tmp_path):
    result = run(sharing, tmp_path, *MODELS["lstm"], "model.bidirectional=true")
    names = [f"{layer.name}/{layer.weight}" for layer in result.pruned.layers]
    halves = [f"bidirectional/{half}/{kind}kernel" for half in HALVES for kind in ("", "recurrent_")]
    assert names == ["embedding/embeddings", *halves, "dense/kernel"]
    assert all(layer.masked == layer.expected for layer in result.pruned.layers)
    assert result.tflite[0].disagreements == 0
    traced = {weight.name: weight for weight in result.tflite[0].inside.weights}
    assert all(traced[name].violated == 0 and traced[name].tensors for name in names)
    assert "sparsity/bidirectional/forward/kernel" in read_scalars(tmp_path / "pruned")


HALVES = ("forward", "backward")


@pytest.mark.run
def test_the_same_command_twice_gives_the_same_bytes(composed, sharing, tmp_path):
    for overrides in ([*MODELS["cnn"], "model.dropout=0.3"], MODELS["lstm"]):
        first = run(sharing, tmp_path / "run1", *overrides)
        second = run(composed, tmp_path / "run2", *overrides)  # in a store of its own
        for name in ("dense-float.tflite", "pruned-float.tflite"):
            assert (tmp_path / "run1" / name).read_bytes() == (tmp_path / "run2" / name).read_bytes()
        assert first.pruned == second.pruned


@pytest.mark.run
def test_another_seed_gives_other_weights(sharing, tmp_path):
    for seed in (0, 1):
        run(sharing, tmp_path / str(seed), f"seed={seed}")
    files = [(tmp_path / str(seed) / "pruned-float.tflite").read_bytes() for seed in (0, 1)]
    assert files[0] != files[1]


@pytest.mark.run
def test_without_a_dense_phase_pruning_starts_from_scratch(sharing, tmp_path):
    result = run(sharing, tmp_path, "trainer.dense_epochs=0")
    assert (result.dense.accuracy, result.dense.validation_accuracy, result.dense.loss) == (None, None, None)
    assert result.dense.tflite.gzip_bytes > result.pruned.tflite.gzip_bytes
    assert not (tmp_path / "dense").exists()


@pytest.mark.run
def test_the_dense_baseline_stays_dense_on_disk(sharing, tmp_path):
    run(sharing, tmp_path)
    load = backend.keras().models.load_model
    dense, pruned = (load(tmp_path / name, compile=False) for name in ("dense.h5", "pruned.h5"))
    assert count_zeros(dense.get_layer("dense").kernel.numpy()) < 20
    assert count_zeros(pruned.get_layer("dense").kernel.numpy()) == 16224


@pytest.mark.run
def test_tensorboard_gets_sparsity_of_each_weight_up_to_the_last_epoch(sharing, tmp_path):
    result = run(sharing, tmp_path)
    scalars = read_scalars(tmp_path / "pruned")
    for tag in ("sparsity/conv2d/kernel", "sparsity/dense/kernel", "sparsity/total", "sparsity/planned"):
        steps, values = zip(*scalars[tag], strict=True)
        assert list(steps) == sorted(set(steps))
        assert steps[-1] == result.plan.total_steps == 18
        assert values[-1] == pytest.approx(0.8, abs=0.005)
    planned = dict(scalars["sparsity/planned"])
    assert planned[1] == pytest.approx(0.5)
    for tag in ("loss/train", "loss/validation", "accuracy/train", "accuracy/validation", "learning_rate"):
        assert [step for step, _ in scalars[tag]] == [9, 18]
    assert scalars["threshold/dense/kernel"][-1][1] > 0
    assert min(value for _, value in scalars["examples_per_second"]) > 0
    assert "accuracy/validation" in read_scalars(tmp_path / "dense")


def read_scalars(folder):
    from tensorboard.backend.event_processing.event_accumulator import TENSORS, EventAccumulator
    from tensorboard.util.tensor_util import make_ndarray

    events = EventAccumulator(str(folder), size_guidance={TENSORS: 0})
    events.Reload()
    return {
        tag: [(event.step, float(make_ndarray(event.tensor_proto))) for event in events.Tensors(tag)]
        for tag in events.Tags()["tensors"]
        if events.SummaryMetadata(tag).plugin_data.plugin_name == "scalars"
    }


@pytest.mark.run
@pytest.mark.parametrize(
    ("decay", "first", "last"),
    # The rate of the last step of each epoch, steps 9 and 18 of 18; stepwise drops to a tenth after 9 and 14.
    # cosine: 0.01 (1 + cos(pi 8 / 18)) / 2 and 0.01 (1 + cos(pi 17 / 18)) / 2
    [("constant", 0.01, 0.01), ("cosine", 0.0058682, 0.000075961), ("stepwise", 0.01, 0.0001)],
)
def test_the_learning_rate_follows_its_decay(sharing, tmp_path, decay, first, last):
    run(sharing, tmp_path, "trainer.learning_rate=0.01", f"trainer.learning_rate_decay={decay}")
    rates = [value for _, value in read_scalars(tmp_path / "pruned")["learning_rate"]]
    assert rates == pytest.approx([first, last], rel=1e-4)


def test_optimizer_parameters_reach_the_optimizer(composed):
    trainer = composed("trainer.optimizer=sgd", "trainer.optimizer_parameters.momentum=0.7").trainer
    optimizer = trainer.optimizer_parameters.build(trainer.optimizer, 0.25)
    assert type(optimizer).__name__ == "SGD"
    assert (optimizer.momentum, float(optimizer.learning_rate)) == (0.7, 0.25)


@pytest.mark.run
def test_early_stopping_ends_the_dense_phase_and_waits_for_the_target_in_the_pruning_phase(sharing, tmp_path):
    stopping = [
        "trainer.early_stopping.patience=1",
        "trainer.early_stopping.min_delta=9",
    ]  # never an improvement
    many = ["trainer.dense_epochs=6", "trainer.epochs=8", "schedule.end_step=36"]  # 36 steps: 4 epochs
    result = run(sharing, tmp_path, *stopping, *many)
    assert last_step(tmp_path / "dense") == 2 * 9
    assert last_step(tmp_path / "pruned") == 5 * 9
    assert result.pruned.measured_sparsity == pytest.approx(0.8, abs=0.001)


def last_step(folder):
    return read_scalars(folder)["loss/train"][-1][0]


@pytest.mark.run
def test_training_that_diverges_is_named_and_stops(composed, tmp_path):
    from pruneflow.training.logs import DivergedError

    with pytest.raises(DivergedError, match=r"loss is (nan|inf) in epoch 1\. Lower trainer\.learning_rate"):
        run(composed, tmp_path, "trainer.optimizer=sgd", "trainer.dense_learning_rate=1e30")
    assert not (tmp_path / "result.json").exists()


@pytest.mark.long
@pytest.mark.parametrize(
    ("model", "precision"), [("cnn", "mixed_bfloat16"), ("cnn", "mixed_float16"), ("lstm", "mixed_float16")]
)
def test_mixed_precision_trains_with_full_precision_weights_and_exports_float32(
    sharing, tmp_path, model, precision
):
    try:
        result = run(sharing, tmp_path, *MODELS[model], f"device.precision={precision}")
    finally:
        backend.keras().mixed_precision.set_global_policy("float32")
    assert result.device["precision"] == precision
    assert result.tflite[0].agreement >= 0.95
    pruned = backend.keras().models.load_model(tmp_path / "pruned.h5", compile=False)
    assert all(layer.compute_dtype in ("float32", "int32") for layer in pruned.layers)
    weights = np.concatenate([weight.ravel() for weight in pruned.get_weights()])
    kept = weights[weights != 0]
    rounded = kept.astype(precision.removeprefix("mixed_")).astype(np.float32)
    assert (kept != rounded).mean() > 0.9


@pytest.mark.run
def test_int8_takes_and_gives_int8_for_images_and_int32_ids_for_texts(sharing, tmp_path):
    from ai_edge_litert.interpreter import Interpreter

    dtypes = {}
    for name, overrides in MODELS.items():
        run(sharing, tmp_path / name, *overrides, "export=int8")
        interpreter = Interpreter(model_path=str(tmp_path / name / "pruned-int8.tflite"))
        details = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
        dtypes[name] = [np.dtype(detail["dtype"]).name for detail in details]
        assert details[0]["shape"][0] == 1
    assert dtypes == {"cnn": ["int8", "int8"], "lstm": ["int32", "int8"]}


def test_calibration_sees_training_examples_only(composed):
    config = composed("export=int8", "export.calibration_samples=7")
    data = config.dataset.load()
    seen = config.export.samples(data)
    assert len(seen) == 7
    assert {example.tobytes() for example in seen} <= {example.tobytes() for example in data.train.x}


@pytest.mark.run
@pytest.mark.parametrize("engine", ["pruneflow", "tfmot"])
def test_a_missed_sparsity_fails_the_run_and_writes_no_result(
    composed, tmp_path, monkeypatch, engine, trained_before
):
    from dataclasses import replace

    from pruneflow.sparsity import tfmot_engine
    from pruneflow.sparsity.masks import MaskPlan
    from pruneflow.sparsity.measure import SparsityNotReachedError

    trained_before("dense")
    update, planned = MaskPlan.update, tfmot_engine._planned_schedule

    def half(plan):
        schedule = replace(plan.schedule, initial_sparsity=0.4, final_sparsity=0.4)
        return replace(plan, schedule=schedule)

    monkeypatch.setattr(
        MaskPlan, "update", lambda masks, *given: update(replace(masks, plan=half(masks.plan)), *given)
    )
    monkeypatch.setattr(tfmot_engine, "_planned_schedule", lambda plan: planned(half(plan)))
    with pytest.raises(SparsityNotReachedError, match=r"dense/kernel has 8112 zeros .* 16224 were asked for"):
        run(composed, tmp_path, f"pruning.engine={engine}")
    assert not (tmp_path / "result.json").exists()


@pytest.mark.run
def test_weights_are_masked_in_every_validation(composed, tmp_path, monkeypatch, trained_before):
    from pruneflow.training import logs

    trained_before("dense")
    zeros = []

    def spy(self, logs=None):
        last = self.masked.weights[-1]
        zeros.append((count_zeros(last.weight.numpy()), count_zeros(last.mask.numpy())))

    monkeypatch.setattr(logs.SparsityLog, "on_test_end", spy, raising=False)
    run(composed, tmp_path)
    assert len(zeros) == 2
    assert all(of_weight >= of_mask > 0 for of_weight, of_mask in zeros)


@pytest.mark.run
@pytest.mark.parametrize("more", [[], ["trainer.dense_epochs=0"]], ids=["dense", "pruned"])
def test_nine_frames_of_our_own_lie_between_main_and_fit(monkeypatch, more):
    frames, ours = [], pruneflow.__file__.removesuffix("__init__.py")

    def fit(*_, **__):
        stack = traceback.extract_stack()
        frames.extend(frame.name for frame in stack if frame.filename.startswith(ours))
        raise SystemExit(7)

    monkeypatch.setattr(backend.keras().Model, "fit", fit)
    monkeypatch.setattr(sys, "argv", ["pruneflow", *QUICK, *more])
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 7
    assert frames[0] == "main" and len(frames) <= 9, frames
