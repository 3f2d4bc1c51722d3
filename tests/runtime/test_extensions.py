"""Options of another package, installed beside pruneflow, which knows nothing of them."""

import importlib.metadata
import json
import os
import re
import subprocess
import sys

import forked
import pytest
from conftest import QUICK
from support import ROOT

from pruneflow.errors import PruneflowError
from pruneflow.models import options as models
from pruneflow.options import choices, option
from pruneflow.runtime import extensions

EXAMPLE = ROOT / "examples" / "package"


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """The folder that the example is installed into."""
    folder = tmp_path_factory.mktemp("installed")
    line = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-deps",
        "--target",
        str(folder),
        str(EXAMPLE),
    ]
    done = subprocess.run(line, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder


def command(folder, *words, module="pruneflow"):
    environment = {**os.environ, "PYTHONPATH": str(folder)}
    line = [sys.executable, "-m", module, *words]
    return forked.run(line, env=environment)


@pytest.mark.run
def test_a_run_with_a_model_a_data_set_a_schedule_and_a_criterion_of_another_package(installed, tmp_path):
    words = ["model=two_layers", "dataset=stripes", "schedule=sine", "criterion=smallest", "export=int8"]
    done = command(installed, *words, *QUICK, "hydra.run.dir=run", "model.units=12")
    assert (done.returncode, done.stderr) == (0, "")
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    config = result["config"]
    assert [config[group]["name"] for group in ("model", "schedule", "criterion")] == [
        *("two_layers", "sine", "smallest")
    ]
    assert result["data"]["name"] == "stripes"
    shapes = {layer["name"]: (layer["shape"], layer["zeros"]) for layer in result["pruned"]["layers"]}
    assert shapes == {"hidden": ([64, 12], 576), "scores": ([12, 2], 18)}  # three quarters of each


@pytest.mark.long
def test_a_sweep_over_own_and_other_options_leaves_files_that_are_evaluated_on_data_of_their_own(
    installed, tmp_path
):
    words = ["model=two_layers", "dataset=stripes", "criterion=magnitude,smallest", "hydra.sweep.dir=sweep"]
    done = command(installed, "-m", *words, *QUICK)
    assert (done.returncode, done.stderr) == (0, "")
    assert {path.parent.name for path in (tmp_path / "sweep").glob("*/result.json")} == {
        *("criterion-magnitude", "criterion-smallest")
    }
    run = tmp_path / "sweep" / "criterion-magnitude"
    words = [str(run / "pruned-float.tflite"), "dataset=stripes", "latency.seconds=0", "--json"]
    done = command(installed, *words, module="pruneflow.evaluate")
    assert done.returncode == 0, done.stderr
    (row,) = json.loads(done.stdout)["files"]
    result = json.loads((run / "result.json").read_text())
    assert row["accuracy"] == result["tflite"][0]["accuracy"]


@pytest.mark.run
@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ["model=two_layers", "model.units=0"],
            "model.units=0: allowed are whole numbers from 1. 16 will do.",
        ),
        (["model=two_layers", "dataset=imdb"], "model=two_layers: it reads images"),
        (["model=two_layers", "model.untis=3"], "model.untis: there is no such key"),
        (["schedule=sine", "schedule.frequency=100000"], "schedule.frequency=100000: it never fires"),
        (["model=three_layers"], "model=three_layers: there is no such option; allowed are cnn"),
    ],
)
def test_their_settings_are_answered_as_ours_are(installed, tmp_path, words, said):
    done = command(installed, *words)
    assert done.returncode == 2
    assert done.stderr.startswith(said) and len(done.stderr.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.run
def test_without_the_package_its_options_are_not_there():
    done = forked.run([sys.executable, "-m", "pruneflow", "model=two_layers"])
    assert done.returncode == 2 and "model=two_layers: there is no such option" in done.stderr


def test_a_package_that_cannot_be_loaded_is_named(monkeypatch):
    entry = importlib.metadata.EntryPoint("mine", "no_such_module", extensions.GROUP)
    monkeypatch.setattr(extensions, "entry_points", lambda group: [entry])
    extensions.load.cache_clear()
    try:
        with pytest.raises(
            PruneflowError, match=r"no_such_module: ModuleNotFoundError: .* Mend it, or uninstall"
        ):
            extensions.load()
    finally:
        extensions.load.cache_clear()


@pytest.mark.run
def test_help_lists_them(installed):
    shown = command(installed, "--help-all").stdout
    assert re.search(r"^  model +.*\btwo_layers\b", shown, flags=re.M)
    assert re.search(r"^  criterion +.*\bsmallest\b", shown, flags=re.M)


def test_a_name_that_is_taken_is_refused():
    class Cnn:
        pass

    with pytest.raises(
        PruneflowError, match=r"model=cnn is registered twice: by pruneflow\.models\.cnn and by"
    ):
        option("model", "cnn")(Cnn)
    assert choices("model")["cnn"] is models.Cnn
