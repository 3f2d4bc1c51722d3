"""``logger=mlflow``: a run of MLflow for each run, below one for the sweep."""

from __future__ import annotations

import importlib
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pruneflow.errors import ConfigError
from pruneflow.flow.loggers.base import Record, Tool, flat
from pruneflow.options import option, require

STORE = "sqlite:///outputs/mlflow/mlflow.db"
SQLITE = "sqlite:///"
SCHEMES = ("http", "https", "sqlite", "postgresql", "mysql", "mssql", "databricks")
USER = re.compile(r"://[^/@]*@")  # a name or a password in an address

MOST_METRICS, MOST_PARAMS, MOST_CHARACTERS = 1000, 100, 6000  # of one request; of a parameter

ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    # Of the requests of one record; without them a server that is away is waited for for minutes.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
}


@option("logger", "mlflow")
@dataclass(kw_only=True)
class Mlflow(Tool):
    """A tracking server of MLflow, or a store of its own in a file.

    Attributes:
        uri: Where MLflow keeps runs; null takes ``MLFLOW_TRACKING_URI``, and without that a file below
            ``outputs/``.
    """

    title = "MLflow"
    needs = ("mlflow", "sqlalchemy", "alembic")
    extra = "mlflow"

    uri: str | None

    def __post_init__(self) -> None:
        """Refuse what MLflow would take for a folder, and secrets, which would be written down."""
        super().__post_init__()
        if self.uri is None:
            return
        if USER.search(self.uri):  # the value is not shown
            raise ConfigError(
                "logger.uri: a name or a password is in it, which would be written into every result. Set "
                "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or the whole in MLFLOW_TRACKING_URI."
            )
        scheme = re.match(r"(\w+)(\+\w+)?://|databricks$", self.uri)
        known = scheme is not None and (scheme[1] or "databricks") in SCHEMES
        problem = f"allowed are addresses that begin with {', '.join(f'{each}://' for each in SCHEMES)}"
        require(
            known, "logger.uri", self.uri, problem, "Write for instance logger.uri=http://localhost:5000."
        )

    def load(self) -> None:
        """Import MLflow. A store in a file is imported but not made: half made, it would stay so."""
        _set_environment()
        super().load()
        if self._file:
            importlib.import_module("mlflow.store.tracking.sqlalchemy_store")

    def open(self, record: Record, parent: str) -> str:
        """Create a run of MLflow, below that of the sweep."""
        tags = {"mlflow.runName": record.name, "mlflow.source.name": "pruneflow"}
        if parent:
            tags["mlflow.parentRunId"] = parent
        client = self._client()
        run = client.create_run(self._experiment(client), int(record.begun * 1000), tags)
        return str(run.info.run_id)

    def send(self, record: Record, identity: str) -> str:
        """Send settings, figures, curves and files, and end the run."""
        from mlflow.entities import Param

        client = self._client()
        params = [Param(_key(key), str(value)[:MOST_CHARACTERS]) for key, value in flat(record.settings)]
        for some in _in_parts(params, MOST_PARAMS):
            client.log_batch(identity, params=some)
        for some in _in_parts(_metrics(record), MOST_METRICS):
            client.log_batch(identity, metrics=some)
        for file in record.files:
            client.log_artifact(identity, str(file))
        if record.failure or "failure" in client.get_run(identity).data.tags:  # of before it was run again
            client.set_tag(identity, "failure", record.failure)
        status = "FAILED" if record.failure else "FINISHED"
        client.set_terminated(identity, status, int(record.ended * 1000))
        return f"{record.name} in {USER.sub('://', self._uri)}"

    @property
    def _uri(self) -> str:
        return self.uri or os.environ.get("MLFLOW_TRACKING_URI") or STORE

    def _client(self) -> Any:
        _set_environment()
        from mlflow import MlflowClient

        if file := self._file:
            file.parent.mkdir(parents=True, exist_ok=True)
        return MlflowClient(tracking_uri=self._uri)

    @property
    def _file(self) -> Path | None:
        """A store in a file; files of runs go beside it, and not into the working folder."""
        return Path(self._uri.removeprefix(SQLITE)).absolute() if self._uri.startswith(SQLITE) else None

    def _experiment(self, client: Any) -> str:
        """Return the id of the experiment, which may have to be made, here or in another process."""
        from mlflow.exceptions import MlflowException

        if not (found := client.get_experiment_by_name(self.project)):
            place = (self._file.parent / "artifacts").as_uri() if self._file else None
            try:
                return str(client.create_experiment(self.project, place))
            except MlflowException:
                found = client.get_experiment_by_name(self.project)
                if not found:
                    raise
        return str(found.experiment_id)


def _set_environment() -> None:
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)


def _metrics(record: Record) -> list[Any]:
    """Return final figures and curves; their time is the end, so that what is sent twice is there once."""
    from mlflow.entities import Metric

    ended = int(record.ended * 1000)
    figures = [Metric(_key(name), value, ended, 0) for name, value in record.figures.items()]
    return figures + [
        Metric(_key(f"{phase}/{tag}"), value, ended, step)
        for phase, curves in record.curves.items()
        for tag, points in curves.items()
        for step, value in points
    ]


def _key(name: str) -> str:
    """Return a name with what MLflow refuses replaced."""
    return re.sub(r"[^\w\-. :/]", "_", name)


def _in_parts(items: Sequence[Any], most: int) -> Iterator[Sequence[Any]]:
    return (items[start : start + most] for start in range(0, len(items), most))
