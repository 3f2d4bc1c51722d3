"""The group ``logger``: one file a tool that keeps runs of many people and machines."""

from pruneflow.flow.loggers.base import Logger, Record, Tool
from pruneflow.flow.loggers.mlflow import Mlflow
from pruneflow.flow.loggers.several import All, NoLogger
from pruneflow.flow.loggers.wandb import Wandb

__all__ = ["All", "Logger", "Mlflow", "NoLogger", "Record", "Tool", "Wandb"]
