"""The contract of the files of a run: what they read and give, and a script that uses them."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pruneflow.datasets.preparation import Preparation
from pruneflow.datasets.spec import Data
from pruneflow.exports import decode
from pruneflow.exports.inspection import Inspection
from pruneflow.exports.use_script import SCRIPT, script
from pruneflow.models.tasks import Classification, Regression, Task
from pruneflow.runtime.files import write_file


@dataclass(frozen=True)
class Contract:
    """Facts that an app needs about all files of a run; names, shapes and types are kept for each file.

    Attributes:
        gives: What the outputs are: ``"probabilities"``, ``"logits"`` or ``"numbers"``. A single output of a
            classifier is that of class 1.
        target_scale: What numbers are multiplied by; empty for classes, and where they are as they are.
        target_mean: What is added to them then.
        script: The script that does all this; empty where LiteRT runs none of the files.
    """

    reads: Preparation
    gives: str
    target_scale: tuple[float, ...]
    target_mean: tuple[float, ...]
    script: str


def written_contract(
    dataset: Any, data: Data, task: Task, files: Mapping[str, Inspection], run_dir: Path
) -> Contract:
    """Describe the files of a run, and write the script that uses them.

    Args:
        dataset: The option that ``data`` came from.
        files: What is in each file, by its name; the script runs the first, unless another is named.
    """
    reads = dataset.preparation(data)
    runnable = {name: each for name, each in files.items() if decode.OPERATION not in each.ops}
    (run_dir / SCRIPT).unlink(missing_ok=True)  # of a run that failed, of other files
    if runnable:
        lines = script(reads, task, runnable, named=bool(data.class_names))
        write_file(run_dir / SCRIPT, lines.encode())
    targets = task.targets if isinstance(task, Regression) else None
    moved = None if targets is None or targets.are_plain else targets
    logits = isinstance(task, Classification) and task.from_logits
    return Contract(
        reads=reads,
        gives="numbers" if targets else "logits" if logits else "probabilities",
        target_scale=tuple(map(float, moved.scale)) if moved else (),
        target_mean=tuple(map(float, moved.mean)) if moved else (),
        script=SCRIPT if runnable else "",
    )
