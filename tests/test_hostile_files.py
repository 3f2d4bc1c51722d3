"""Files of other kinds that hold code, or name it: none of it runs. Each would leave a mark on the disk."""

import io
import json
import pickle
import zipfile
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
from omegaconf import OmegaConf

from pruneflow import api
from pruneflow.command import cli, targets
from pruneflow.errors import ConfigError, PruneflowError
from pruneflow.flow import run_folder
from pruneflow.report import outcomes
from pruneflow.report.__main__ import main as report_main
from pruneflow.runtime import backend
from pruneflow.training import events
from pruneflow.training.checkpoints import latest

# What leaves the mark, for whatever calls a function by name with arguments by keyword or in a list.
CALL = "{_target_: subprocess.call, args: [touch, MARK]}"
FACTORY = "{version: 1, root: {handlers: [x]}, handlers: {x: {'()': subprocess.call, args: [touch, MARK]}}}"
CLASS = "{version: 1, root: {handlers: [x]}, handlers: {x: {class: subprocess.Popen, args: [touch, MARK]}}}"
OBJECT = "{version: 1, root: {handlers: [x]}, handlers: {x: {class: logging.StreamHandler, stream: 'ext://evil.x'}}}"


class Marking:
    """Makes the mark where a pickle of it is loaded."""

    def __reduce__(self):
        return Path.touch, (Path("MARK"),)


@pytest.fixture(autouse=True)
def mark(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("evil.py").write_text("open('MARK', 'w')\nx = 0\n")
    yield Path("MARK")
    assert not Path("MARK").exists()


def pickled(arrays=None):
    content = io.BytesIO()
    np.savez(content, **(arrays or {}), evil=np.array([Marking()], dtype=object))
    return content.getvalue()


def test_such_a_pickle_does_leave_the_mark_when_it_is_loaded(mark):
    np.load(io.BytesIO(pickled()), allow_pickle=True)["evil"]
    assert mark.exists()
    mark.unlink()


NAMED, OF_YAML = "a config may name only Hydra's own code and that of its plugins", "a YAML file "
IN_YAML = [
    (f"hydra: {{callbacks: {{x: {CALL}}}}}", NAMED),
    ("seed: 1\nmodel: {name: subprocess.call}\nhydra: {callbacks: {x: {_target_: '${model.name}'}}}", NAMED),
    (f"hydra: {{callbacks: '${{oc.create:{{x: {CALL}}}}}'}}", NAMED),
    (f"hydra: {{callbacks: {{x: {{_target_: hydra.experimental.callbacks.Callback, y: {CALL}}}}}}}", NAMED),
    ("hydra: {callbacks: {x: {_target_: hydra.utils.get_class, path: evil.x}}}", NAMED),
    ("hydra: {callbacks: {x: {_target_: hydra.experimental.callbacks.logging.shutdown}}}", NAMED),
    (f"hydra: {{job_logging: {FACTORY}}}", NAMED),
    (f"hydra: {{hydra_logging: {FACTORY}}}", NAMED),
    (f"hydra: {{job_logging: {CLASS}}}", NAMED),
    (f"hydra: {{job_logging: {OBJECT}}}", NAMED),
    ("hydra: {job: {env_set: {PYTHONSTARTUP: evil.py}}}", OF_YAML),
    ("hydra: {job: {env_set: {LD_PRELOAD: evil.so}}}", OF_YAML),
    ("defaults: [override /model: custom]\nmodel: {factory: 'evil:x'}", OF_YAML),
    (
        "defaults: [override /dataset: custom]\n"
        "dataset: {factory: 'subprocess:call', arguments: {args: [touch, MARK]}}",
        OF_YAML,
    ),
    ("defaults: [override /hydra/launcher: evil]", NAMED),
    ("defaults: [override /hydra/sweeper: evil]", NAMED),
    ("x: !!python/object/apply:os.mkdir [MARK]", "could not determine a constructor"),
]


@pytest.mark.parametrize(("lines", "answer"), IN_YAML)
def test_a_yaml_file_runs_no_code(lines, answer, capsys):
    for kind in ("launcher", "sweeper"):
        Path("mine/hydra", kind).mkdir(parents=True)
        Path("mine/hydra", kind, "evil.yaml").write_text("_target_: subprocess.call\nargs: [touch, MARK]\n")
    Path("mine/experiment").mkdir()
    Path("mine/experiment/evil.yaml").write_text(f"# @package _global_\n{lines}\n")
    sweep = ["-m", "seed=1,2"] if "hydra/" in lines else []
    with pytest.raises(SystemExit) as stop:
        cli.main([*sweep, "--config-dir", "mine", "experiment=evil"])
    assert stop.value.code == 2
    shown = capsys.readouterr().err
    assert answer in shown
    assert len(shown.splitlines()) == 1


def test_what_is_typed_may_name_code_and_so_may_plugins_and_numbers_in_yaml():
    config = OmegaConf.create(
        {
            "model": {"factory": "mine:network"},
            "hydra": {
                "job": {"env_set": {"TF_NUM_INTRAOP_THREADS": "1", "HOME": "here"}},
                "launcher": {
                    "_target_": "hydra_plugins.hydra_joblib_launcher.joblib_launcher.JoblibLauncher"
                },
                "sweeper": {
                    "_target_": "pruneflow.command.optuna_sweeper.OptunaSweeper",
                    "sampler": {"_target_": "optuna.samplers.TPESampler", "seed": 1},
                    "direction": "${model.factory}",
                },
                "callbacks": {"x": {"_target_": "hydra.experimental.callbacks.LogJobReturnCallback"}},
                "job_logging": {
                    "formatters": {"simple": {"()": "colorlog.ColoredFormatter", "format": "%(message)s"}},
                    "handlers": {
                        "console": {"class": "logging.StreamHandler", "stream": "ext://sys.stdout"},
                        "file": {
                            "class": "logging.FileHandler",
                            "filename": "${hydra.runtime.output_dir}/log",
                        },
                    },
                },
            },
        }
    )
    targets.check(config, {"model.factory", "hydra.job.env_set.HOME"})
    with pytest.raises(ConfigError, match=r"^model\.factory=mine:network: a YAML file names code"):
        targets.check(config, {"hydra.job.env_set"})
    with pytest.raises(ConfigError, match=r"^hydra\.job\.env_set\.HOME=here: a YAML file sets a variable"):
        targets.check(config, {"model.factory"})


def test_the_library_takes_a_function_from_its_words_and_not_from_a_file():
    Path("mine/experiment").mkdir(parents=True)
    lines = "# @package _global_\ndefaults: [override /model: custom]\nmodel: {factory: 'evil:x'}\n"
    Path("mine/experiment/evil.yaml").write_text(lines)
    with pytest.raises(ConfigError, match="a YAML file names code"):
        api.compose(["experiment=evil"], config_dir="mine")
    assert (
        api.compose(["experiment=evil", "model.factory=evil:x"], config_dir="mine").model.factory == "evil:x"
    )


@pytest.mark.parametrize("flags", [[], ["--hydra-help"], ["--help"], ["--info"], ["--cfg", "job"]])
def test_a_pickled_job_is_never_run(flags, capsys):
    Path("config.pickle").write_bytes(pickle.dumps(Marking()))
    with pytest.raises(SystemExit) as stop:
        cli.main([*flags, "--experimental-rerun", "config.pickle"])
    assert stop.value.code == 2
    assert "pruneflow does not run pickled jobs" in capsys.readouterr().err


# Data, stores and folders of runs


@pytest.mark.parametrize("name", ["images.npz", "imdb.npz", "x_train.npy", "mnist.npz"])
def test_data_files_with_pickles_are_refused(name):
    evil = np.array([Marking()] * 4, dtype=object)
    if name.endswith(".npy"):
        np.save(name, evil, allow_pickle=True)
        np.save("y_train.npy", np.zeros(4))
    else:
        np.savez(name, x_train=evil, y_train=np.zeros(4), x_test=evil, y_test=np.zeros(4))
    option = {"imdb.npz": "imdb", "mnist.npz": "mnist"}.get(name, "arrays")
    pair = {"path": name, "labels_path": "y_train.npy"} if name.endswith(".npy") else {"path": name}
    words = [f"dataset={option}", *(f"dataset.{key}={value}" for key, value in pair.items())]
    model = ["model=lstm"] if option == "imdb" else []
    with pytest.raises(PruneflowError, match=name):
        api.compose([*words, *model]).dataset.load()


def test_a_checkpoint_with_a_pickle_is_not_taken_up(capsys):
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        facts = {"epoch": 0, "step": 1, "seconds": 0.0, "kept": {}}
        archive.writestr("facts.json", json.dumps(facts))
        archive.writestr("events.zip", events.pack(Path("nothing")))
        array = io.BytesIO()
        np.lib.format.write_array(array, np.array([Marking()], dtype=object), allow_pickle=True)
        archive.writestr("variables/w.npy", array.getvalue())
    Path("checkpoint.zip").write_bytes(sha256(content.getvalue()).digest() + content.getvalue())
    assert latest(Path("checkpoint.zip")) is None
    assert "checkpoint" in capsys.readouterr().out


def test_what_lies_in_the_folder_of_a_run_is_read_as_data(capsys):
    run = Path("sweep/run")
    (run / ".hydra").mkdir(parents=True)
    (run / "result.json").write_text('{"command": "touch MARK"}')
    (run / ".hydra" / "overrides.yaml").write_text("- !!python/object/apply:os.mkdir [MARK]\n")
    (run / ".hydra" / "config.yaml").write_text("!!python/object/apply:os.mkdir [MARK]\n")
    (run / "masks.npz").write_bytes(pickled())
    assert report_main(["sweep"]) == 1
    assert run_folder.overrides_of(run) is None
    assert not outcomes.outcomes(Path("sweep"), {"run": ["seed=1"]})[0].result


def test_curves_in_a_store_stay_in_the_folder_that_they_are_unpacked_into():
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name in ("../MARK", "../../MARK", "/tmp/MARK-of-pruneflow", "events"):
            archive.writestr(name, "ran")
    events.unpack(content.getvalue(), Path("run/pruned"))
    assert {path.name for path in Path().rglob("MARK*")} == {"MARK", "MARK-of-pruneflow"}


def test_weights_of_a_store_are_read_and_what_lies_beside_them_is_not_run():
    keras = backend.keras()

    def network(*more):
        return keras.Sequential([keras.Input((4,)), *more, keras.layers.Dense(2)])

    def evil(x):
        return (Path("MARK").touch(), x)[1]

    with pytest.warns(UserWarning, match="HDF5"):
        network(keras.layers.Lambda(evil)).save("network.h5")
    Path("MARK").unlink()
    network().load_weights("network.h5")


def test_a_tflite_file_writes_no_file():
    """LiteRT has no operations of TensorFlow, of which one would write."""
    tf = backend.tensorflow()

    @tf.function(input_signature=[tf.TensorSpec((1, 28, 28, 1))])
    def writes(x):
        with tf.control_dependencies([tf.io.write_file("MARK", "ran")]):
            return tf.reshape(x, (1, 784))[:, :10]

    converter = tf.lite.TFLiteConverter.from_concrete_functions([writes.get_concrete_function()])
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS, tf.lite.OpsSet.SELECT_TF_OPS]
    with backend.quiet():
        Path("evil.tflite").write_bytes(converter.convert())
    assert b"FlexWriteFile" in Path("evil.tflite").read_bytes()
    interpreter = backend.litert().Interpreter("evil.tflite")
    with pytest.raises(RuntimeError, match="FlexWriteFile"):
        interpreter.allocate_tensors()
