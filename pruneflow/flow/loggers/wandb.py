"""``logger=wandb``: a run of Weights & Biases for each run; those of a sweep are one group."""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pruneflow.errors import PruneflowError
from pruneflow.flow.loggers.base import Points, Record, Tool
from pruneflow.options import option, require_one_of

FOLDER = "outputs"  # W&B makes the folder wandb in it


@option("logger", "wandb")
@dataclass(kw_only=True)
class Wandb(Tool):
    """Weights & Biases: each run is written to a folder, which is then sent to the server.

    Attributes:
        mode: ``online``, or ``offline``, which sends nothing; null takes ``WANDB_MODE``, and without that
            ``online``.
    """

    title = "W&B"
    needs = ("wandb",)
    extra = "wandb"

    mode: str | None

    def __post_init__(self) -> None:
        """Refuse an unknown mode."""
        super().__post_init__()
        if self.mode is not None:
            require_one_of("logger.mode", self.mode, ("online", "offline"))

    def load(self) -> None:
        """Import W&B, and start the process with which it writes, which ends with this one."""
        super().load()
        import wandb.apis.public  # which `init` imports otherwise

        wandb.setup(wandb.Settings(mode="offline", silent=True))

    def open(self, record: Record, parent: str) -> str:
        """Make up an id, as W&B does."""
        return secrets.token_hex(4)

    def send(self, record: Record, identity: str) -> str:
        """Write the run to a folder, and send that.

        Raises:
            PruneflowError: where the folder cannot be sent; it stays.
        """
        folder = self._written(record, identity)
        if (self.mode or os.environ.get("WANDB_MODE", "online")) == "online":
            self._synced(folder)
            return f"{record.name} in {self.project}"
        return f"{folder}; wandb sync sends it"

    def _written(self, record: Record, identity: str) -> Path:
        """Write a run as W&B does offline."""
        import wandb

        Path(FOLDER).mkdir(parents=True, exist_ok=True)
        quiet = {"console": "off", "silent": True, "disable_git": True, "x_disable_stats": True}
        run: Any = wandb.init(
            project=self.project,
            name=record.name,
            id=identity,
            group=record.sweep or None,
            job_type="sweep" if record.is_sweep else "run",
            config=dict(record.settings),
            dir=FOLDER,
            mode="offline",
            settings=wandb.Settings(**quiet, x_disable_meta=True, save_code=False),
        )
        for phase, curves in record.curves.items():
            run.define_metric(f"{phase}/*", step_metric=f"{phase}/step")
            for row in _rows(phase, curves):
                run.log(row)
        run.summary.update({**record.figures, "failure": record.failure})
        for file in record.files:
            run.save(str(file), base_path=str(file.parent), policy="now")
        run.finish(exit_code=1 if record.failure else 0)
        return Path(run.dir).parent  # of its files

    def _synced(self, folder: Path) -> None:
        line = [sys.executable, "-m", "wandb", "sync", str(folder)]
        later = f"what was written stays; wandb sync {folder} sends it"
        try:
            done = subprocess.run(
                line, stdin=subprocess.DEVNULL, capture_output=True, timeout=self.seconds / 2, check=False
            )
        except subprocess.TimeoutExpired:
            raise PruneflowError(
                f"the server gave no answer in {self.seconds / 2:g} seconds; {later}"
            ) from None
        if done.returncode:
            raise PruneflowError(f"the server did not take it, or nobody is logged in; {later}")


def _rows(phase: str, curves: Mapping[str, Points]) -> Iterator[dict[str, float]]:
    """Yield what the curves of a phase have at each step."""
    rows: dict[int, dict[str, float]] = {}
    for tag, points in curves.items():
        for step, value in points:
            rows.setdefault(step, {f"{phase}/step": step})[f"{phase}/{tag}"] = value
    return (rows[step] for step in sorted(rows))
