"""Every option of the group ``model``."""

from pruneflow.models.base import Model
from pruneflow.models.cnn import Cnn
from pruneflow.models.custom import Custom
from pruneflow.models.ds_cnn import DsCnn
from pruneflow.models.keras_file import KerasFile
from pruneflow.models.mlp import Mlp
from pruneflow.models.mobilenet import Mobilenet
from pruneflow.models.recurrent import Gru, Lstm
from pruneflow.models.resnet8 import Resnet8

__all__ = ["Cnn", "Custom", "DsCnn", "Gru", "KerasFile", "Lstm", "Mlp", "Mobilenet", "Model", "Resnet8"]
