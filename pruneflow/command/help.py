"""The text of ``--help``: written for people, without composing anything, so that it comes at once."""

import re
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

import yaml  # type: ignore[import-untyped]

from pruneflow import options
from pruneflow.errors import PruneflowError
from pruneflow.runtime import extensions
from pruneflow.runtime.files import config_folder

_INTRODUCTION = """\
pruneflow: train a network, prune it, export it to TFLite, and say with numbers what was gained.

Usage: python -m pruneflow [option] [group=choice ...] [key=value ...]

Groups and their choices (each file in {conf}/ explains its keys)"""
# The first ones are in the short help too.
_KEYS = """\
  schedule.final_sparsity=0.9     fraction of zeros, [0, 1)
  trainer.epochs=4                epochs of the pruning phase; trainer.dense_epochs: of the baseline
  dataset.path=FILE               your copy of the data; otherwise they are fetched once
  trainer.batch_size=256          examples per step of the pruning phase
  pruning.skip=[embedding]        layers to leave dense
  pruning.max_accuracy_drop=0.02  most that pruning may cost; more fails the run
  distribution.layers={dense:.9}  sparsity of single layers
  sharing.values=16               most values of each pruned weight: smaller after compression
  export.encoding=auto            leave zeros out of the file where that runs and is smaller
  seed=1                          fixes weights, batch order and dropout
"""
_EXAMPLES = """\
  python -m pruneflow model=lstm dataset=imdb export=dynamic-range
  python -m pruneflow model=keras_file model.path=mine.keras dataset=image_folder dataset.path=photos/
  python -m pruneflow -m schedule.final_sparsity=0.5,0.8,0.9 export=float,int8
  python -m pruneflow goal=smallest goal.max_accuracy_drop=0.005
  python -m pruneflow experiment=mnist_cnn schedule=constant
  python -m pruneflow export=int8 trainer.batch_size=32 pruning.skip=[conv2d]
"""
_MORE = "--help-all shows every group, the other commands and the options. --cfg job shows all keys.\n"
_REST = """\
Other commands
  python -m pruneflow.evaluate FILE dataset=mnist    score and inspect any TFLite file
  python -m pruneflow.latency FILE FILE              time files in turn: faster or not, and why
  python -m pruneflow.sensitivity                    what each weight costs that is masked alone
  python -m pruneflow.deploy RUN                     how an app uses the files of a run; --c-array
  python -m pruneflow.report FOLDER ...              page of a run, of a sweep, or of several side by side
  python -m pruneflow.clean                          delete stages by age or size

Options
  -m, --multirun      run every combination of values separated by commas
  --dry-run           list the cells, what the store has, and how long the rest may take
  --cfg job           show the composed config and stop
  --config-dir DIR    add a folder with your own YAML
  --shell-completion  install tab completion for the pruneflow script: docs/options.md
  --version           show the version and stop
  --help, --help-all  show the short help or this, and stop
"""
_MAIN = ("model", "dataset", "schedule", "structure", "export", "goal", "experiment")


def help_text(folders: Iterable[Path], whole: bool) -> str:
    """The help, with the groups that the config folders hold, and the choices that ``config.yaml`` makes.

    Args:
        folders: pruneflow's config folder, and the user's where there is one.
        whole: Whether every group and command is shown, or what a newcomer needs.
    """
    with suppress(PruneflowError):  # whoever asks for help gets it
        extensions.load()
    defaults = usual_choices()
    choices: dict[str, set[str]] = {group: set(options.choices(group)) for group in defaults}
    for folder in folders:
        for file in folder.glob("*/*.yaml"):
            choices.setdefault(file.parent.name, set()).add(file.stem)
    lines = [
        _line(group, names, defaults.get(group))
        for group, names in choices.items()
        if names and (whole or group in _MAIN)
    ]
    keys, examples = (
        "".join(text.splitlines(keepends=True)[: None if whole else 4]) for text in (_KEYS, _EXAMPLES)
    )
    parts = [
        "\n".join([_INTRODUCTION.format(conf=_shown(config_folder())), *lines, ""]),
        f"Keys that are changed most\n{keys}",
        f"Examples\n{examples}",
    ]
    return "\n".join([*parts, _REST if whole else _MORE])


def usual_choices() -> dict[str, str | None]:
    """Return the option that ``config.yaml`` chooses in each group; None for no option."""
    listed = yaml.safe_load((config_folder() / "config.yaml").read_text(encoding="utf-8"))["defaults"]
    chosen = [item for item in listed if isinstance(item, dict)]
    return {group: choice for item in chosen for group, choice in item.items() if re.fullmatch(r"\w+", group)}


def _shown(folder: Path) -> str:
    """Return a folder as typed from here, such as ``conf``; from elsewhere its whole path."""
    here = Path.cwd()
    return str(folder.relative_to(here) if folder.is_relative_to(here) else folder)


def _line(group: str, names: set[str], default: str | None) -> str:
    shown = [f"{name} (default)" if name == default else name for name in sorted(names)]
    return f"  {group:<13} {', '.join(shown)}"
