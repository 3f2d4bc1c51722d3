"""Loggers that are no single tool."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pruneflow.flow.loggers.base import Logger, Tool
from pruneflow.flow.loggers.mlflow import Mlflow
from pruneflow.flow.loggers.wandb import Wandb
from pruneflow.options import option


@option("logger", "none")
@dataclass(kw_only=True)
class NoLogger(Logger):
    """Nobody is told: TensorBoard's files and the report are there anyway."""


@option("logger", "all")
@dataclass(kw_only=True)
class All(Logger):
    """MLflow and W&B, each with its own settings.

    Attributes:
        mlflow: Settings of ``logger=mlflow``.
        wandb: Settings of ``logger=wandb``.
    """

    mlflow: Mlflow
    wandb: Wandb

    def tools(self) -> Sequence[Tool]:
        """Return both."""
        return [self.mlflow, self.wandb]
