"""Every option of the group ``export``."""

from pruneflow.exports.base import Export
from pruneflow.exports.exporters import DynamicRange, Float, Float16, Int8, Int16x8
from pruneflow.exports.int4 import Int4
from pruneflow.exports.micro import Micro
from pruneflow.exports.several import All, Every

__all__ = ["All", "DynamicRange", "Every", "Export", "Float", "Float16", "Int4", "Int8", "Int16x8", "Micro"]
