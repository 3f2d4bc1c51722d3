"""What TensorBoard shows, read back through TensorBoard's own code."""

import io
import json
import re
import shutil
import time
import warnings
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from conftest import QUICK, QUICK_LSTM
from PIL import Image
from results_fixtures import latency, timing
from test_cli import exit_code
from test_resume import cut_off, train, with_stages_of
from test_store import digests

from pruneflow.command import isolation
from pruneflow.command.names import LONGEST_NAME, differing
from pruneflow.flow import pipeline
from pruneflow.flow.networks import pruned_inputs
from pruneflow.report import hparams
from pruneflow.runtime import backend
from pruneflow.sparsity.pictures import picture
from pruneflow.training.dashboard import charts, description
from pruneflow.training.fit import Fit

BOTH = ["tensorboard.histograms=true", "tensorboard.masks=true"]
WEIGHTS = ("conv2d/kernel", "dense/kernel")
OF_A_PHASE = {
    *("loss/train", "loss/validation", "accuracy/train", "accuracy/validation"),
    *("learning_rate", "examples_per_second"),
}
OF_PRUNING = {
    *OF_A_PHASE,
    *("sparsity/total", "sparsity/planned", "accuracy/pruned"),
    *(f"sparsity/{name}" for name in WEIGHTS),
    *(f"threshold/{name}" for name in WEIGHTS),
}


SUCCESS, FAILURE = 1, 2  # STATUS_SUCCESS, STATUS_FAILURE


class Board:
    """A folder as TensorBoard sees it."""

    def __init__(self, folder):
        from tensorboard.backend.event_processing import data_provider, plugin_event_multiplexer
        from tensorboard.context import RequestContext
        from tensorboard.plugins.base_plugin import TBContext

        everything = {"tensors": 10_000, "images": 10_000}
        seen = plugin_event_multiplexer.EventMultiplexer(tensor_size_guidance=everything)
        seen.AddRunsFromDirectory(str(folder))
        seen.Reload()
        self.seen, self.request = seen, RequestContext()
        provider = data_provider.MultiplexerDataProvider(seen, str(folder))
        self.context = TBContext(data_provider=provider, logdir=str(folder), plugin_name_to_instance={})

    @property
    def runs(self):
        return set(self.seen.Runs())

    def tags(self, run, plugin):
        accumulator = self.seen.GetAccumulator(run)
        found = [(tag, accumulator.SummaryMetadata(tag)) for tag in accumulator.Tags()["tensors"]]
        return {tag for tag, metadata in found if metadata.plugin_data.plugin_name == plugin}

    def values(self, run, tag):
        """Step and array of each event."""
        from tensorboard.util.tensor_util import make_ndarray

        return [(event.step, make_ndarray(event.tensor_proto)) for event in self.seen.Tensors(run, tag)]

    def all_values(self, run):
        """Everything of a run but times, as bytes."""
        tags = self.seen.GetAccumulator(run).Tags()["tensors"]
        return {
            tag: [(step, value.dtype.str, value.tolist()) for step, value in self.values(run, tag)]
            for tag in tags
            if tag != "examples_per_second"
        }

    def described(self, run):
        accumulator = self.seen.GetAccumulator(run)
        tags = accumulator.Tags()["tensors"]
        return {tag: accumulator.SummaryMetadata(tag).summary_description for tag in tags}

    def sessions(self):
        """Settings, status, name and figures of each session that the page of HParams lists, by run."""
        from tensorboard.plugins.hparams import api_pb2, backend_context, get_experiment, list_session_groups

        backend_of_page = backend_context.Context(self.context)
        handle = partial(get_experiment.Handler, self.request, backend_of_page, "")
        experiment = handle(api_pb2.GetExperimentRequest()).run()
        statuses = [api_pb2.Status.Value(f"STATUS_{name}") for name in ("SUCCESS", "FAILURE", "UNKNOWN")]
        request = api_pb2.ListSessionGroupsRequest(slice_size=100, allowed_statuses=statuses)
        request.col_params.extend(api_pb2.ColParams(metric=info.name) for info in experiment.metric_infos)
        listed = list_session_groups.Handler(self.request, backend_of_page, "", request).run()
        return {
            session.name: (group, session) for group in listed.session_groups for session in group.sessions
        }


def settings_of(group):
    return {name: getattr(value, value.WhichOneof("kind")) for name, value in group.hparams.items()}


def figures_of(session):
    return {value.name.tag: value.value for value in session.metric_values}


def images(values):
    """Width, height and pixels of TensorBoard's images, (height, width), by step."""
    found = {}
    for step, (width, height, png) in values:
        pixels = np.asarray(Image.open(io.BytesIO(png)))
        assert pixels.shape == (int(height), int(width))
        found[step] = pixels
    return found


@pytest.fixture(scope="module")
def shown(tmp_path_factory, tiny_data):
    """A finished run with everything switched on: its folder, and its result."""
    folder = tmp_path_factory.mktemp("shown")
    with pytest.MonkeyPatch.context() as patched:
        patched.chdir(folder)
        patched.setenv("PRUNEFLOW_DATA_DIR", str(tiny_data))
        patched.setattr(isolation, "_after_first", None)
        assert exit_code([*QUICK, *BOTH, "seed=3", "hydra.run.dir=run"]) == 0
    return folder / "run", json.loads((folder / "run" / "result.json").read_text())


@pytest.mark.run
def test_a_run_shows_as_three_runs_with_the_tags_that_are_documented(shown):
    board = Board(shown[0])
    assert board.runs == {"dense", "pruned", "float"}
    assert board.tags("dense", "scalars") == OF_A_PHASE
    assert board.tags("pruned", "scalars") == OF_PRUNING
    assert board.tags("pruned", "histograms") == {f"weights/{name}" for name in WEIGHTS}
    assert board.tags("pruned", "images") == {f"masks/{name}" for name in WEIGHTS}
    figures = {"final/accuracy", "final/validation_accuracy", "final/validation_drop", *hparams.METRICS}
    assert board.tags("float", "scalars") == figures - {"final/latency_ms", "final/speedup"}
    pruned = dict(board.values("pruned", "accuracy/pruned"))
    assert pruned == dict(board.values("pruned", "accuracy/validation")) and list(pruned) == [9, 18]


def test_every_tag_says_in_one_line_what_it_shows(shown):
    board = Board(shown[0])
    for run in ("dense", "pruned", "float"):
        for tag, said in board.described(run).items():
            if not tag.startswith(("_hparams_/", "custom_scalars")):
                assert re.fullmatch(r"\S.{10,160}\.", said), (run, tag, said)
    said = board.described("pruned")
    assert said["threshold/dense/kernel"].startswith("Lowest score that was kept in dense/kernel")
    assert said["sparsity/planned"] == description("sparsity/planned") != said["sparsity/total"]


def test_histograms_hold_the_weights_that_are_kept_and_no_others(shown):
    folder, _ = shown
    board = Board(folder)
    layers = backend.keras().models.load_model(folder / "pruned.h5", compile=False)
    for name, kept in (("conv2d/kernel", 22), ("dense/kernel", 4056)):  # 108 and 20,280 weights, at 0.8
        (first, _), (last, buckets) = board.values("pruned", f"weights/{name}")
        assert (first, last) == (9, 18)
        weights = layers.get_layer(name.split("/")[0]).kernel.numpy()
        alive = weights[weights != 0]
        assert int(buckets[:, 2].sum()) == kept == alive.size
        assert (buckets[0, 0], buckets[-1, 1]) == (alive.min(), alive.max())
        below = sum(count for left, right, count in buckets if right <= 0)
        assert abs(below - (alive < 0).sum()) <= max(
            count for left, right, count in buckets if left < 0 < right
        )


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    return {engine: tmp_path_factory.mktemp(engine) for engine in ("pruneflow", "tfmot")}


@pytest.fixture
def trained(composed, folders):
    """The folder in which an engine has trained, with everything switched on; no test changes it."""

    def of(engine):
        if not (folders[engine] / "run").exists():
            train(composed, folders[engine], *BOTH, f"pruning.engine={engine}")
        return folders[engine]

    return of


@pytest.mark.run
@pytest.mark.parametrize("engine", ["pruneflow", "tfmot"])
def test_pictures_are_the_masks_before_training_and_at_each_update(trained, engine):
    board = Board(trained(engine) / "run")
    shapes = {"conv2d/kernel": (9, 12, 28, 21), "dense/kernel": (2028, 10, 1, 25)}
    with np.load(trained(engine) / "run" / "masks.npz") as masks:
        for name, (rows, columns, down, across) in shapes.items():
            drawn = images(board.values("pruned", f"masks/{name}"))
            assert list(drawn) == [0, *range(1, 15)]  # the updates of the plan are steps 1 to 14
            assert (drawn[0] == 255).all()
            matrix = masks[name].reshape(rows, columns)[:256]
            assert (drawn[14] == 255 * np.kron(matrix, np.ones((down, across), int))).all()
            measured = dict(board.values("pruned", f"sparsity/{name}"))
            if rows <= 256:  # the whole mask is shown
                black = {step: float((pixels == 0).mean()) for step, pixels in drawn.items() if step}
                assert black == pytest.approx({step: float(measured[step]) for step in black}, abs=1e-6)


def test_a_picture_is_cut_to_the_upper_left_corner_or_enlarged_by_whole_factors():
    assert (picture(np.array([[1, 0]], bool))[:, :, 0] == [[255] * 128 + [0] * 128] * 256).all()
    drawn = picture(np.arange(3)[:, None] * np.ones(100))
    assert drawn.shape == (255, 200, 1) and drawn.dtype == np.uint8
    assert (np.unique(drawn[:85]), np.unique(drawn[85:])) == (0, 255)
    large = np.zeros((300, 257))
    large[255, 255] = large[256, 0] = large[0, 256] = 1
    drawn = picture(large)[:, :, 0]
    assert drawn.shape == (256, 256)
    assert np.argwhere(drawn).tolist() == [[255, 255]]


@pytest.mark.run
def test_a_mask_is_drawn_as_the_matrix_that_is_multiplied(composed, tmp_path):
    lstm = ["model=lstm", "dataset=imdb", *QUICK_LSTM, "trainer.dense_epochs=1", "tensorboard.masks=true"]
    train(composed, tmp_path, *lstm)
    board = Board(tmp_path / "run")
    assert not board.tags("pruned", "histograms")
    with np.load(tmp_path / "run" / "masks.npz") as masks:
        assert {f"masks/{name}" for name in masks.files} == board.tags("pruned", "images")
        kernel = masks["lstm/recurrent_kernel"]
    assert kernel.shape == (8, 32)
    last = list(images(board.values("pruned", "masks/lstm/recurrent_kernel")).values())[-1]
    assert (last == 255 * np.kron(kernel, np.ones((32, 8), int))).all()


@pytest.mark.long
@pytest.mark.parametrize(
    ("engine", "step"), [("pruneflow", 1), ("pruneflow", 6), ("pruneflow", 9), ("tfmot", 6)]
)
def test_a_phase_that_is_taken_up_leaves_the_same_histograms_pictures_and_layout(
    composed, tmp_path, trained, engine, step
):
    overrides = [*BOTH, f"pruning.engine={engine}"]
    with_stages_of(trained(engine), tmp_path, "dense")
    cut_off(composed, tmp_path, *overrides, step=step)
    train(composed, tmp_path, *overrides)
    whole, killed = (Board(folder / "run") for folder in (trained(engine), tmp_path))
    assert whole.runs == killed.runs
    for run in whole.runs:
        assert whole.all_values(run) == killed.all_values(run)
    assert len(killed.values("pruned", "custom_scalars__config__")) == 1
    assert len(killed.values("pruned", "masks/dense/kernel")) == 15


@pytest.mark.run
def test_both_engines_show_the_same_tags_and_tfmot_its_own_summaries_beside_them(trained):
    own, tfmot = (Board(trained(engine) / "run") for engine in ("pruneflow", "tfmot"))
    assert own.tags("pruned", "scalars") == tfmot.tags("pruned", "scalars")
    assert tfmot.runs - own.runs == {"pruned/tfmot/metrics"}
    stock = tfmot.tags("pruned/tfmot/metrics", "scalars")
    assert {tag.split("/")[-1] for tag in stock} == {"sparsity", "threshold"}


@pytest.mark.run
def test_a_stage_that_is_reused_brings_pictures_histograms_and_layout(
    composed, tmp_path, trained, monkeypatch
):
    first = Board(trained("pruneflow") / "run")
    values = {run: first.all_values(run) for run in first.runs}
    shutil.copytree(trained("pruneflow") / "store", tmp_path / "store")
    monkeypatch.setattr(Fit, "run", None)
    train(composed, tmp_path, *BOTH)
    again = Board(tmp_path / "run")
    assert {run: again.all_values(run) for run in again.runs} == values
    assert "custom_scalars__config__" in values["dense"]


@pytest.mark.run
def test_pictures_and_histograms_change_nothing_but_the_digest_of_the_pruned_stage(
    composed, tmp_path, trained
):
    from test_resume import everything

    before = digests(composed(*QUICK))
    assert digests(composed(*QUICK, "tensorboard.histograms=false", "tensorboard.masks=false")) == before
    with_one = [digests(composed(*QUICK, override)) for override in BOTH]
    both = digests(composed(*QUICK, *BOTH))
    assert {found[0] for found in (*with_one, both)} == {before[0]}
    assert len({found[1] for found in (before, *with_one, both)}) == 4
    config = composed(*QUICK)
    inputs = pruned_inputs(config, pipeline.prepare(config), dense="")
    assert set(inputs) == {"version", "libraries", "dense", "engine", "masks", "steps", "fit"}
    train(composed, tmp_path)
    plain, shown = everything(tmp_path), everything(trained("pruneflow"))
    assert plain == shown


@pytest.mark.parametrize("key", ["tensorboard.histograms", "tensorboard.masks"])
def test_values_that_are_no_switch_get_one_message(capsys, tmp_path, key):
    assert exit_code([f"{key}=often"]) == 2
    remedy = "python -m pruneflow --cfg job shows all keys with their values; conf/ explains them."
    assert capsys.readouterr().err == f"{key}=often: it must be true or false. {remedy}\n"
    assert list(tmp_path.iterdir()) == []


def test_the_layout_is_read_back_and_its_curves_are_there(shown):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a library that these import
        from tensorboard.plugins.custom_scalar.custom_scalars_plugin import CustomScalarsPlugin
        from tensorboard.plugins.scalar.scalars_plugin import ScalarsPlugin

    board = Board(shown[0])
    board.context.plugin_name_to_instance["scalars"] = ScalarsPlugin(board.context)
    plugin = CustomScalarsPlugin(board.context)
    layout = json.loads(plugin.layout_impl(board.request, ""))
    merged = {
        category["title"]: {chart["title"]: tuple(chart["multiline"]["tag"]) for chart in category["chart"]}
        for category in layout["category"]
    }
    assert merged == charts("accuracy")
    curves = {}
    for title, patterns in {**merged["Pruning"], **merged["Training"]}.items():
        for run in ("dense", "pruned"):
            found = [
                plugin.scalars_impl(board.request, run, pattern, "")["tag_to_events"] for pattern in patterns
            ]
            curves[title, run] = sorted(tag for payload in found for tag in payload)
    training = {"loss": ["loss/train", "loss/validation"]}
    training["accuracy"] = ["accuracy/train", "accuracy/validation"]
    of_weights = {"sparsity of each weight": "sparsity", "thresholds": "threshold"}
    for title, tags in training.items():
        assert curves[title, "dense"] == curves[title, "pruned"] == tags
    for title, kind in of_weights.items():
        assert curves[title, "pruned"] == [f"{kind}/{name}" for name in WEIGHTS]
        assert curves[title, "dense"] == []
    together = ["accuracy/pruned", "sparsity/planned", "sparsity/total"]
    assert curves["sparsity and accuracy", "pruned"] == together
    assert curves["sparsity and accuracy", "dense"] == []


def test_the_charts_of_a_regression_are_named_by_r2():
    assert next(iter(charts("r2")["Pruning"])) == "sparsity and R2"
    assert charts("r2")["Training"]["R2"] == ("^r2/train$", "^r2/validation$")
    assert "accuracy" not in str(charts("r2")) and "r2" not in str(charts("accuracy")).lower()


@pytest.mark.long
@pytest.mark.usefixtures("timed_here")
def test_a_sweep_fills_the_page_of_hparams(tmp_path):
    sweep = ["-m", "schedule.final_sparsity=0.5,0.8", "export=all", "hydra.sweep.dir=sweep", "seed=1"]
    timed = [word for word in QUICK if not word.startswith("latency")]
    assert exit_code([*timed, "latency.seconds=0.1", *sweep]) == 0
    sessions = Board(tmp_path / "sweep").sessions()
    kinds = ("float", "dynamic-range", "int8")
    assert set(sessions) == {f"final_sparsity-{s}/{kind}" for s in (0.5, 0.8) for kind in kinds}
    for name, (group, session) in sessions.items():
        cell, kind = name.split("/")
        sparsity = float(cell.split("-")[1])
        own = {"model": "cnn", "dataset": "mnist", "export": kind, "final_sparsity": sparsity}
        assert settings_of(group) == own
        assert (session.status, len(group.sessions)) == (1, 1)  # STATUS_SUCCESS
        assert group.name == f"{name} in sweep"
        result = json.loads((tmp_path / "sweep" / cell / "result.json").read_text())
        (file,) = [file for file in result["tflite"] if file["kind"] == kind]
        assert figures_of(session) == pytest.approx(
            {
                "final/accuracy": file["accuracy"],
                "final/validation_accuracy": file["validation_accuracy"],
                "final/validation_drop": result["judgement"]["drop"],
                "final/sparsity": result["pruned"]["measured_sparsity"],
                "final/gzip_bytes": file["size"]["gzip_bytes"],
                "final/compression": result["dense"]["tflite"]["gzip_bytes"] / file["size"]["gzip_bytes"],
                "final/latency_ms": file["latency"]["pruned"]["median_ms"],
                "final/speedup": file["latency"]["speedup"]["ratio"],
            }
        )
        took = session.end_time_secs - session.start_time_secs
        assert took == pytest.approx(result["seconds"], abs=0.01)
        assert abs(session.end_time_secs - time.time()) < 600


def test_what_differs_is_named_as_shortly_as_it_can_be_and_numbers_are_numbers():
    typed = ["export=int8", "trainer.epochs=3", "dataset.name=a", "model.name=b", "+seed=1e3", "~x.y"]
    assert differing(typed, ["export"]) == {
        "epochs": 3,
        "dataset.name": "a",
        "model.name": "b",
        "seed": 1000.0,
        "y": "",
    }
    found = differing(["a.b=true", "a.c=[1,2]", "a.d='x,y'", "a.e=null", "a.f=${seed}"], [])
    assert found == {"b": True, "c": "[1,2]", "d": "'x,y'", "e": "null", "f": "${seed}"}
    assert type(differing(["seed=3"], [])["seed"]) is int


def settings_written(shown, tmp_path, differing):
    (tmp_path / "run").mkdir(exist_ok=True)
    (tmp_path / "run" / "result.json").write_text(json.dumps(shown[1]))
    (tmp_path / "run" / "float" / hparams.FILE).unlink(missing_ok=True)
    hparams.write(tmp_path / "run", differing)
    ((group, _),) = Board(tmp_path).sessions().values()
    own = {"model": "cnn", "dataset": "mnist", "export": "float"}
    return {key: value for key, value in settings_of(group).items() if key not in own}


def test_a_run_with_the_usual_sparsity_has_it_in_hparams(shown, tmp_path):
    assert settings_written(shown, tmp_path, {}) == {"final_sparsity": 0.8}
    assert settings_written(shown, tmp_path, {"final_sparsity": 0.5}) == {"final_sparsity": 0.5}
    both = {"schedule.final_sparsity": 0.6, "then.final_sparsity": 0.5}
    assert settings_written(shown, tmp_path, both) == both


def test_the_card_has_the_figures_of_the_result_the_verdict_and_the_command(tmp_path, shown):
    folder, result = shown
    ((step, text),) = Board(folder).values("float", "result")
    lines = text.item().decode().splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[:5]]
    assert rows[0] == ["dataset", "model", "sparsity", "size", "compression", "accuracy"]
    dense, pruned, (file,) = result["dense"], result["pruned"], result["tflite"]
    for row, what, sparsity, size, accuracy in [
        (rows[2], "cnn, dense", 0.0, dense["tflite"]["gzip_bytes"], dense["accuracy"]),
        (rows[3], "cnn, pruned", 0.8, pruned["tflite"]["gzip_bytes"], pruned["accuracy"]),
        (rows[4], "cnn, TFLite float", 0.8, file["size"]["gzip_bytes"], file["accuracy"]),
    ]:
        ratio = dense["tflite"]["gzip_bytes"] / size
        figures = [f"{sparsity:.3f}", f"{size / 1000:,.1f} kB", f"{ratio:.2f}x", f"{accuracy:.4f}"]
        assert row == ["mnist", what, *figures]
    assert lines[6:] == ["**Latency** not measured.", "", f"    {result['command']}"]
    assert step == result["plan"]["total_steps"]


def test_a_wreck_is_a_failure_in_hparams_and_in_words_on_the_card(shown, tmp_path):
    _, result = shown
    result = {**result, "judgement": {**result["judgement"], "verdict": "chance", "message": "It guesses."}}
    run = tmp_path / "run"
    run.mkdir()
    (run / "result.json").write_text(json.dumps(result))
    hparams.write(run, {})
    board = Board(tmp_path)
    ((_, session),) = board.sessions().values()
    assert session.status == 2  # STATUS_FAILURE
    ((_, text),) = board.values("run/float", "result")
    assert text.item().decode().startswith("**Marked: chance. It guesses.**")


def test_the_card_tells_the_latency_and_survives_odd_names(shown, tmp_path):
    _, result = shown
    result = json.loads(json.dumps(result))
    result["data"]["name"] = "a|b\\"
    timed = {**timing("a", 0.5), "p10_ms": 0.4, "n": 7}
    verdict = {"dense": timing("a", 1.0), "pruned": timed, "verdict": "Faster."}
    result["tflite"][0]["latency"] = {**latency(2.0), **verdict}
    (tmp_path / "result.json").write_text(json.dumps(result))
    hparams.write(tmp_path, {})
    board = Board(tmp_path)
    text = board.values("float", "result")[0][1].item().decode()
    assert "| a\\|b\\\\ | cnn, dense |" in text
    assert "**Latency** 0.5 ms (p10 to p90 0.4 to 0.6, n 7), dense 1 ms, threads 1. Faster. In theory" in text
    assert [float(value) for _, value in board.values("float", "final/speedup")] == [2.0]


@pytest.mark.run
def test_the_folder_of_a_single_run_says_what_was_typed(tmp_path, capsys):
    assert exit_code(["--help"]) == 0
    experiment = ["experiment=smoke", "latency.seconds=0", "schedule.final_sparsity=0.6", "report=false"]
    assert exit_code(experiment) == 0
    (folder,) = (tmp_path / "outputs").glob("2*/*")
    end = r"_experiment-smoke_seconds-0_final_sparsity-0\.6_report-false"
    assert re.fullmatch(r"\d\d-\d\d-\d\d-\d{6}" + end, folder.name)
    ((group, _),) = Board(tmp_path / "outputs").sessions().values()
    settings = {"experiment": "smoke", "seconds": 0, "final_sparsity": 0.6, "report": False}
    assert settings_of(group) == {"model": "cnn", "dataset": "mnist", "export": "float", **settings}


def folder_of(arguments):
    from pruneflow.command.arguments import parse
    from pruneflow.command.job import Job

    return Job.of(parse(arguments)[0]).folder


@pytest.mark.run
def test_the_folder_name_is_safe_short_and_only_the_time_where_nothing_was_typed():
    assert re.fullmatch(r"outputs/[\d-]{10}/\d\d-\d\d-\d\d-\d{6}", str(folder_of([])))
    name = folder_of([f"dataset.cache_dir=/{'x y/' * 60}", "model.filters=[8,4]"]).name
    assert re.fullmatch(r"\d\d-\d\d-\d\d-\d{6}_[A-Za-z0-9._+-]+", name)
    assert len(name) <= 15 + 1 + LONGEST_NAME
    assert folder_of(["seed=1", "hydra.run.dir=here/${seed}"]) == Path("here/1")
    assert re.fullmatch(r"outputs/sweeps/[\d-]{10}/[\d-]{15}", str(folder_of(["-m", "seed=1,2"])))


def fails_once(monkeypatch):
    whole, ran = pipeline.run, []

    def run(config, ready, run_dir, *, command):
        ran.append(config.seed)
        if len(ran) == 1:
            raise OSError(28, "No space left on device", "somewhere")
        return whole(config, ready, run_dir, command=command)

    monkeypatch.setattr(pipeline, "run", run)


@pytest.mark.run
def test_a_run_that_failed_shows_as_failed_until_it_has_been_run_again(monkeypatch, tmp_path, shared_stages):
    fails_once(monkeypatch)
    line = [*QUICK, "seed=1", "hydra.run.dir=run", shared_stages]
    assert exit_code(line) == 1
    ((group, session),) = Board(tmp_path).sessions().values()
    assert (session.name, session.status) == ("run/float", 2)  # STATUS_FAILURE
    assert settings_of(group)["seed"] == 1 and not session.metric_values
    assert exit_code(line) == 0
    ((_, session),) = Board(tmp_path).sessions().values()
    assert (session.name, session.status) == ("run/float", 1)
    assert len(figures_of(session)) == 6
    assert len(list((tmp_path / "run" / "float").iterdir())) == 1


@pytest.mark.run
def test_a_run_that_was_cut_off_after_its_result_gets_its_page_by_the_same_command(
    monkeypatch, tmp_path, shared_stages
):
    write = hparams.write

    def cut_off(run_dir, differing):
        assert (run_dir / "result.json").exists()
        raise KeyboardInterrupt

    line = [*QUICK, shared_stages, "-m", "seed=0,1", "hydra.sweep.dir=sweep"]
    monkeypatch.setattr(hparams, "write", cut_off)
    assert exit_code(line) == 130
    assert not list(tmp_path.rglob("events.out.tfevents.final"))
    monkeypatch.setattr(hparams, "write", write)
    assert exit_code(line) == 0
    sessions = Board(tmp_path / "sweep").sessions()
    found = {
        name: (settings_of(group)["seed"], session.status) for name, (group, session) in sessions.items()
    }
    assert found == {"seed-0/float": (0, 1), "seed-1/float": (1, 1)}
    files = {file: file.stat().st_mtime_ns for file in tmp_path.rglob("events.out.tfevents.final")}
    assert len(files) == 2


def test_the_folder_of_a_kind_is_no_other_that_a_run_leaves(composed, shown):
    kinds = {each.kind for each in composed("export=all").export.exports()}
    others = {path.name for path in shown[0].iterdir()} - {"float"}
    assert kinds == {"float", "dynamic-range", "int8"} and not kinds & others


def test_masks_lie_in_the_folder_of_the_run_as_plain_arrays(shown):
    folder, result = shown
    layers = backend.keras().models.load_model(folder / "pruned.h5", compile=False)
    with np.load(folder / "masks.npz") as masks:
        assert set(masks.files) == set(WEIGHTS)
        for layer in result["pruned"]["layers"]:
            mask = masks[f"{layer['name']}/{layer['weight']}"]
            assert (mask.dtype, mask.shape) == (np.bool_, tuple(layer["shape"]))
            assert (~mask).sum() == layer["masked"]
            assert not layers.get_layer(layer["name"]).kernel.numpy()[~mask].any()
