"""Rules of the code base that a reader relies on."""

import ast
import functools
import graphlib
import inspect
import re
from pathlib import Path

import pytest
import yaml

import pruneflow
from pruneflow.flow.config import config_folder
from pruneflow.runtime import backend
from pruneflow.training.optimizers import OPTIMIZERS

PACKAGE = Path(pruneflow.__file__).parent

# A module imports from its own room and from rooms to the right of it only.
ROOMS = ("command", "report", "flow", "exports", "training", "models", "sparsity", "datasets", "runtime")

FOUNDATIONS = {"errors", "options"}


def modules():
    for file in sorted(PACKAGE.rglob("*.py")):
        parts = file.relative_to(PACKAGE).with_suffix("").parts
        name = ".".join(part for part in parts if part != "__init__")
        if name:
            yield name, file


def room_of(module):
    room = module.split(".")[0]
    return room if room in ROOMS else ""


@functools.cache
def nodes(file):
    return list(ast.walk(ast.parse(file.read_text())))


def imported(file, names):
    """Modules of pruneflow that a file imports, at the top or inside a function."""
    for node in nodes(file):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("pruneflow"):
            base = node.module.removeprefix("pruneflow").lstrip(".")
            for alias in node.names:
                deeper = f"{base}.{alias.name}".lstrip(".")
                yield deeper if deeper in names else base


@functools.cache
def arrows():
    """Each pair of modules of which the first imports the second."""
    files = dict(modules())
    return {(name, other) for name, file in files.items() for other in imported(file, files) if other}


def test_no_import_runs_back_up():
    pairs = [(one, other) for one, other in arrows() if room_of(one) and room_of(other)]
    assert [pair for pair in pairs if ROOMS.index(room_of(pair[0])) > ROOMS.index(room_of(pair[1]))] == []


def test_rooms_stand_on_the_foundations_and_know_no_door():
    """Modules at the root: doors, which rooms never import, and two foundations, which import no room."""
    root = {name for name, _ in modules() if not room_of(name)}
    doors = {
        "__main__",
        "accepted",
        "api",
        "clean",
        "data",
        "deploy",
        "evaluate",
        "latency",
        "sensitivity",
        "tflite",
    }
    assert root <= doors | FOUNDATIONS
    assert {other for one, other in arrows() if room_of(one) and not room_of(other)} <= FOUNDATIONS
    assert {other for one, other in arrows() if one in FOUNDATIONS} <= FOUNDATIONS


def test_no_modules_import_each_other_in_a_circle():
    graph = {name: {other for one, other in arrows() if one == name} for name, _ in modules()}
    list(graphlib.TopologicalSorter(graph).static_order())  # or it raises a CycleError that names them


def test_only_the_backend_imports_tensorflow():
    heavy = ("tensorflow", "tf_keras", "keras", "tensorflow_model_optimization")
    for name, file in modules():
        for node in nodes(file):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            assert name == "runtime.backend" or not any(n.split(".")[0] in heavy for n in names), file


def test_text_is_read_and_written_as_utf_8_whatever_the_locale():
    """A call without an encoding takes the locale's; ``open`` of bytes has none."""
    found = []
    for _, file in modules():
        for call in (node for node in nodes(file) if isinstance(node, ast.Call)):
            name = getattr(call.func, "attr", getattr(call.func, "id", ""))
            words = {word.arg for word in call.keywords}
            fixed = {"read_text": 0, "write_text": 1}.get(name)  # arguments before the encoding
            without = fixed is not None and len(call.args) == fixed and "encoding" not in words
            as_locale = "text" in words or "universal_newlines" in words
            if without or (as_locale and "encoding" not in words):
                found.append(f"{file.name}:{call.lineno}")
    assert found == []


@pytest.mark.parametrize("file", sorted(config_folder().rglob("*.yaml")), ids=lambda file: file.stem)
def test_every_value_in_yaml_is_commented(file):
    """A key has a comment above it, above the block of keys it stands in, or the file says what it is for."""
    if "experiment" in file.parts or "recipe" in file.parts:
        head = file.read_text()
        assert head.startswith("#")
        return
    uncommented, above = [], ""
    for line in file.read_text().splitlines():
        stripped = line.strip()
        is_key = ": " in f"{stripped} " and not stripped.startswith(("#", "-"))
        if is_key and stripped.split(":")[0] not in STRUCTURAL and not above.startswith("#"):
            uncommented.append(stripped)
        above = stripped if not stripped.startswith("begin_step:") else above  # shares end_step's comment
    assert uncommented == []


STRUCTURAL = {"defaults", "goal", "optimizer_parameters", "early_stopping", "hydra", "run", "sweep", "job"}


@pytest.mark.parametrize(
    "file", sorted((config_folder() / "experiment").glob("*.yaml")), ids=lambda f: f.stem
)
def test_an_experiment_opens_with_purpose_time_figures_and_command(file):
    head = [line for line in file.read_text().splitlines() if line.startswith("#")]
    text = "\n".join(head)
    for label in (
        "# Purpose:",
        "# Time:",
        "# Measured:",
        f"# Command:  python -m pruneflow experiment={file.stem}",
    ):
        assert label in text
    assert "TODO" not in text
    yaml.safe_load(file.read_text())


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_parameters_of_an_optimizer_are_those_of_tf_keras(name):
    class_name, parameters = OPTIMIZERS[name]
    signature = inspect.signature(getattr(backend.keras().optimizers, class_name))
    assert parameters <= set(signature.parameters)


@pytest.mark.parametrize(
    ("overrides", "parameters"),
    [
        ([], 20_410),  # the guide's simple CNN
        (["experiment=mnist_cnn"], 3_274_762),
        (["experiment=lenet5"], 431_080),
        (["experiment=imdb_lstm"], 20_000 * 128 + 4 * 128 * (128 + 128 + 1) + 129),
    ],
)
def test_networks_have_the_parameters_of_their_originals(composed, overrides, parameters):
    from pruneflow.datasets.spec import Spec

    config = composed(*overrides)
    if config.dataset.kind == "image":
        spec = Spec(kind="image", shape=(28, 28, 1), classes=10)
    else:
        spec = Spec(kind="tokens", shape=(100,), classes=2, vocabulary_size=20_000)
    assert config.model.build(spec).count_params() == parameters


@pytest.mark.run
def test_every_experiment_composes_with_every_schedule_and_export(composed):
    pairs = [("constant", "dynamic-range"), ("polynomial", "int8")]
    own = {"cifar10_resnet8": ["dataset.path=images"]}  # data that are named on the command line
    for file in (config_folder() / "experiment").glob("*.yaml"):
        for schedule, export in pairs:
            words = [f"experiment={file.stem}", f"schedule={schedule}", f"export={export}"]
            config = composed(*words, *own.get(file.stem, []))
            assert (config.schedule.name, config.export.name) == (schedule, export)


def test_every_version_of_a_stage_is_in_the_list_of_all_and_in_contributing():
    files = {name: file.read_text() for name, file in modules() if name.startswith("flow.")}
    found = {
        word for text in files.values() for word in re.findall(r"^([A-Z]+_VERSION) = ", text, flags=re.M)
    }
    (listed,) = re.findall(r"^STAGE_VERSIONS = \((.+?)^\)", files["flow.pipeline"], flags=re.M | re.S)
    table = (PACKAGE.parent / "CONTRIBUTING.md").read_text()
    assert {*re.findall(r"[A-Z]+_VERSION", listed)} == found
    assert {*re.findall(r"^\| `([A-Z]+_VERSION)` \|", table, flags=re.M)} == found


def test_the_tfmot_examples_keep_their_schedules(composed):
    for experiment, examples, plan in [
        ("mnist_cnn", 54_000, (0.1, 0.75, 1000, 5000, 100)),
        ("imdb_lstm", 22_500, (0.3, 0.7, 1000, 3000, 100)),
    ]:
        config = composed(f"experiment={experiment}")
        schedule, trainer = config.schedule, config.trainer
        steps = -(-examples // trainer.batch_size) * trainer.epochs
        compiled = schedule.plan(steps)
        figures = (schedule.initial_sparsity, schedule.final_sparsity)
        assert (*figures, compiled.begin_step, compiled.end_step, compiled.frequency) == plan
        assert trainer.dense_epochs == 0
