"""Nothing that surrounds a process changes a result or ends a run: streams, settings of others, folders."""

import io
import json
import os
import runpy
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import hydra
import pytest
from own_fixtures import class_folders, images

from pruneflow.command import isolation, labelled_output, names
from pruneflow.command.folders import require_writable
from pruneflow.datasets.reading import folders
from pruneflow.errors import ConfigError, PruneflowError
from pruneflow.exports import latency_child
from pruneflow.flow import networks
from pruneflow.flow.config import config_folder
from pruneflow.report import hparams, outcomes
from pruneflow.runtime import backend, child, device, process
from pruneflow.runtime import surroundings as around
from pruneflow.runtime.records import read_json
from pruneflow.runtime.terminal import console

CLOSED = """
import os, sys
from pruneflow.runtime.surroundings import own_process
own_process()
print("printed", flush=True)
print("complained", file=sys.stderr, flush=True)
with open(sys.argv[1], "w", encoding="utf-8") as file:
    file.write(str(file.fileno()))
    os.write(2, b"from C++ code")
"""


@pytest.mark.parametrize("closed", ["0<&-", "1>&-", "2>&-", "0<&- 1>&- 2>&-"])
def test_no_file_gets_the_number_of_a_standard_stream_that_is_closed(tmp_path, closed):
    line = f'"$0" -c "$1" {tmp_path}/file {closed}'
    done = subprocess.run(["sh", "-c", line, sys.executable, CLOSED], capture_output=True, text=True)
    assert done.returncode == 0
    assert int((tmp_path / "file").read_text()) > 2
    assert done.stdout == ("" if "1>" in closed else "printed\n")
    assert done.stderr == ("" if "2>" in closed else "complained\nfrom C++ code")


class Reached(BaseException):
    pass


def reached():
    raise Reached


@pytest.mark.parametrize("file", ["__main__", "evaluate", "latency", "clean", "report/__main__"])
def test_every_command_begins_with_its_surroundings(file, monkeypatch):
    monkeypatch.setattr(process, "own_process", reached)
    with pytest.raises(Reached):
        runpy.run_path(str(Path(process.__file__).parents[1] / f"{file}.py"), run_name="__main__")


@pytest.mark.parametrize(
    ("module", "start"),
    [(each, lambda each: each._serve()) for each in (isolation, child)]
    + [(labelled_output, lambda each: each.beside_others().__enter__())],
)
def test_every_child_and_every_cell_begins_with_its_surroundings(module, start, monkeypatch):
    monkeypatch.setattr(module, "own_process", reached)
    with pytest.raises(Reached):
        start(module)


def stream(encoding, errors="strict"):
    return io.TextIOWrapper(io.BytesIO(), encoding=encoding, errors=errors)


@pytest.mark.parametrize(
    ("encoding", "shown"),
    [
        ("ascii", r"\xe9 \u732b \U0001f600 \udce9"),
        ("cp1252", r"é \u732b \U0001f600 \udce9"),
        ("utf-8", r"é 猫 😀 \udce9"),
    ],
)
@pytest.mark.parametrize("errors", ["strict", "surrogateescape"])
def test_text_that_a_stream_cannot_encode_is_escaped(monkeypatch, encoding, shown, errors):
    monkeypatch.setattr(sys, "stdout", stream(encoding, errors))
    around.own_process()
    console.print("é 猫 😀 \udce9", soft_wrap=True)
    assert sys.stdout.buffer.getvalue().decode(encoding) == f"{shown}\n"


def test_a_stream_of_somebody_elses_process_is_as_before_after_a_run(monkeypatch):
    monkeypatch.setattr(sys, "stdout", stream("ascii"))
    with around.printable():
        print("é")
    assert sys.stdout.errors == "strict"
    with pytest.raises(UnicodeEncodeError):
        print("é")


def keras_in_a_process(folder, code, settings):
    (folder / "keras.json").write_text(settings, encoding="utf-8")
    show = "print(keras.backend.floatx(), keras.backend.epsilon(), keras.backend.image_data_format())"
    code = f"from pruneflow.runtime import backend, device, surroundings\n{code.replace('SHOW', show)}"
    environment = {**os.environ, "KERAS_HOME": str(folder), "KERAS_BACKEND": "jax"}
    line = [sys.executable, "-c", code]
    done = subprocess.run(line, capture_output=True, text=True, check=True, env=environment)
    return done.stdout.splitlines()


@pytest.mark.run
def test_a_command_does_not_read_the_users_settings_of_keras(tmp_path):
    code = "surroundings.own_process(); keras = backend.keras(); SHOW"
    code += "\nimport os; print(os.getenv('KERAS_BACKEND'))"
    shown = keras_in_a_process(tmp_path, code, '{"floatx": "float99", "image_data_format": "channels_first"}')
    assert shown == ["float32 1e-07 channels_last", "jax"]


@pytest.mark.run
def test_the_library_builds_with_keras_defaults_and_puts_the_users_settings_back(tmp_path):
    code = "keras = backend.keras(); SHOW\nwith device.left_as_found(): SHOW\nSHOW"
    text = json.dumps({"floatx": "float16", "epsilon": 1e-4, "image_data_format": "channels_first"})
    users = "float16 0.0001 channels_first"
    assert keras_in_a_process(tmp_path, code, text) == [users, "float32 1e-07 channels_last", users]


def test_settings_that_a_module_of_the_users_has_imported_before_do_not_hold_in_a_command():
    keras = backend.keras()
    with backend.default_settings():
        keras.backend.set_epsilon(0.5)
        backend.keras.cache_clear()
        assert backend.keras().backend.epsilon() == 1e-7


def test_variables_that_change_bits_identify_a_stage_and_others_do_not(monkeypatch):
    facts = dict.fromkeys(["kind", "precision", "threads", "inter_op_threads", "name"], 1)
    for name in [name for name in around.arithmetic() if name in os.environ]:
        monkeypatch.delenv(name)
    for name in ("TF_CPP_MIN_LOG_LEVEL", "TF_CLI_CONFIG_FILE", "TF_NUM_INTRAOP_THREADS", "OMP_NUM_THREADS"):
        monkeypatch.setenv(name, "1")
    usual = networks._arithmetic(facts)
    assert "environment" not in usual
    for name in ("TF_ENABLE_ONEDNN_OPTS", "TF_XLA_FLAGS", "ONEDNN_MAX_CPU_ISA", "TF_DETERMINISTIC_OPS"):
        monkeypatch.setenv(name, "1")
        assert networks._arithmetic(facts) == {**usual, "environment": {name: "1"}}
        monkeypatch.delenv(name)


@pytest.mark.parametrize(("said", "told"), [("1", [4, 4]), ("4", []), ("", []), ("many", [])])
def test_threads_are_those_of_the_settings_whatever_the_environment_says(monkeypatch, said, told):
    got = []
    threading = SimpleNamespace(
        get_intra_op_parallelism_threads=lambda: 0,
        get_inter_op_parallelism_threads=lambda: 0,
        set_intra_op_parallelism_threads=got.append,
        set_inter_op_parallelism_threads=got.append,
    )
    config = SimpleNamespace(threading=threading, get_visible_devices=lambda kind: [])
    monkeypatch.setattr(device, "processors", lambda: 4)
    for kind in ("INTRAOP", "INTEROP"):
        monkeypatch.setenv(f"TF_NUM_{kind}_THREADS", said)
    device._apply(SimpleNamespace(config=config), [], False, 4, 4)
    assert got == told


@pytest.fixture
def temporary(tmp_path, monkeypatch):
    """Where things go without a home folder."""
    monkeypatch.setattr(around, "_temporary", str(tmp_path / "tmp"))
    monkeypatch.setattr(around.tempfile, "tempdir", str(tmp_path / "tmp"))
    (tmp_path / "tmp").mkdir()
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    return tmp_path / "tmp" / f"pruneflow-{os.getuid()}"


def test_the_users_cache_is_a_temporary_folder_where_there_is_no_home(tmp_path, temporary, monkeypatch):
    for home in (str(tmp_path / "nowhere" / "home"), "/dev/null"):
        monkeypatch.setenv("HOME", home)
        assert around.user_cache() == temporary
    monkeypatch.setattr(around.platformdirs, "user_cache_path", no_home)
    monkeypatch.setattr(Path, "home", no_home)
    assert around.user_cache() == temporary


def no_home(*_, **__):
    raise RuntimeError("Could not determine home directory.")


def test_a_cache_folder_of_no_use_gives_way_to_that_in_the_home_folder(tmp_path, temporary, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    for bad in ("relative", str(tmp_path / "nowhere" / "deep" / "cache")):
        monkeypatch.setenv("XDG_CACHE_HOME", bad)
        assert around.user_cache() == tmp_path / ".cache" / "pruneflow"
    monkeypatch.setattr(around.os, "access", lambda *_: False)
    assert around.user_cache() == temporary
    (tmp_path / ".cache" / "pruneflow").mkdir(parents=True)  # may hold data sets, which are read only
    assert around.user_cache() == tmp_path / ".cache" / "pruneflow"


def test_a_temporary_folder_of_another_user_is_not_trusted(tmp_path, temporary, monkeypatch):
    monkeypatch.setenv("HOME", "/dev/null")
    other = os.getuid() + 1
    monkeypatch.setattr(around.os, "getuid", lambda: other)
    foreign = temporary.with_name(f"pruneflow-{other}")
    foreign.mkdir()  # by us
    found = around.user_cache()
    assert found != foreign
    assert found.parent == foreign.parent


def test_a_run_works_where_the_command_was_typed_whatever_hydra_does(tmp_path, monkeypatch):
    seen = []

    def task(config):
        with labelled_output.beside_others():
            seen.append(Path.cwd())

    monkeypatch.setattr(sys, "argv", ["pruneflow", "hydra.job.chdir=true", "hydra.run.dir=run"])
    hydra.main(version_base="1.3", config_path=str(config_folder()), config_name="config")(task)()
    assert seen == [tmp_path]


def test_images_are_not_cached_in_the_shared_folder_of_data_sets(tmp_path, monkeypatch):
    root = class_folders(tmp_path / "pets")
    monkeypatch.setenv("PRUNEFLOW_DATA_DIR", str(tmp_path / "shared"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    images(root, cache_dir=None).load()
    assert not (tmp_path / "shared").exists()
    assert [path.name for path in (tmp_path / "cache" / "pruneflow").iterdir()] == ["images"]


def test_python_without_docstrings_is_refused(monkeypatch):
    monkeypatch.setattr(sys, "flags", SimpleNamespace(optimize=2))
    with pytest.raises(ConfigError, match=r"^PYTHONOPTIMIZE=2: TensorFlow cannot be imported without docstr"):
        backend.tensorflow.__wrapped__()


@pytest.mark.parametrize(
    ("words", "check"),
    [
        (["stages.dir='~nobody-of-this-name/x'"], lambda config: config.stages.folder),
        (["model=keras_file", "model.path='~nobody-of-this-name/x'"], lambda config: config.model._path),
        (["model=mobilenet", "model.weights='~nobody-of-this-name/x'"], lambda config: config.model._file),
    ],
)
def test_the_home_folder_of_nobody_is_one_message(composed, words, check):
    key = words[-1].partition("=")[0]
    with pytest.raises(ConfigError, match=rf"^{key}=~nobody-of-this-name/x: Could .* out\.$"):
        check(composed(*words))


LATIN, CAT = "caf\udce9", "\udce7\udc8c\udcab"  # no UTF-8, and UTF-8 as a locale without it reads it


def test_a_class_is_called_as_its_folder_reads_in_utf_8_whatever_the_locale():
    assert [folders._as_utf8(name) for name in (CAT, "猫", LATIN)] == ["猫", "猫", LATIN]


def test_names_that_are_no_utf_8_are_escaped_where_a_file_must_be_utf_8(tmp_path):
    start = hparams._start(Path("sweep", LATIN), "float", {"path": LATIN}, 0.0)
    assert b"caf\\udce9/float in sweep" in start.SerializeToString()
    outcomes.write_csv(tmp_path / "sweep.csv", [outcomes.CellOutcome(LATIN, None, "failed")])
    assert "caf\\udce9" in (tmp_path / "sweep.csv").read_text(encoding="utf-8")
    (tmp_path / "result.json").write_text(json.dumps({"path": LATIN}), encoding="utf-8")
    assert read_json(tmp_path / "result.json") == {"path": LATIN}
    assert len(names.cell_name([f"dataset.path={LATIN * 99}"], [])) < 255


def test_a_run_folder_whose_name_is_no_utf_8_is_refused(tmp_path):
    with pytest.raises(PruneflowError, match=r"cannot be written by TensorFlow: its name is no UTF-8 here"):
        require_writable(tmp_path / LATIN)


@pytest.mark.parametrize(("name", "given"), [("猫", "model_path"), (LATIN, "model_content")])
def test_a_file_whose_name_litert_does_not_take_is_given_by_its_bytes(tmp_path, monkeypatch, name, given):
    (tmp_path / name).write_bytes(b"TFL3")
    taken = []
    loaded = SimpleNamespace(allocate_tensors=lambda: None, get_input_details=list)
    litert = SimpleNamespace(Interpreter=lambda **words: taken.extend(words) or loaded)
    monkeypatch.setattr(backend, "litert", lambda: litert)
    latency_child.runner(str(tmp_path / name), SimpleNamespace(threads=1, token_bound=2))
    assert taken == [given, "num_threads"]


@pytest.mark.parametrize(("backend_name", "style"), [("agg", b"\xff"), ("garbage", b"")])
def test_settings_that_matplotlib_cannot_read_are_one_message(tmp_path, backend_name, style):
    (tmp_path / "matplotlibrc").write_bytes(style)
    code = "from pruneflow.report.charts import styled\nwith styled(): pass"
    environment = {**os.environ, "MPLBACKEND": backend_name}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert "PruneflowError: Pictures cannot be drawn: matplotlib cannot read its settings" in done.stderr
