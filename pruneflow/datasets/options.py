"""Every option of the group ``dataset``."""

from pruneflow.datasets.arrays import Arrays
from pruneflow.datasets.base import Dataset
from pruneflow.datasets.csv_text import CsvText
from pruneflow.datasets.custom import Custom
from pruneflow.datasets.image_folder import ImageFolder
from pruneflow.datasets.imdb import Imdb
from pruneflow.datasets.mnist import Mnist
from pruneflow.datasets.tfrecord import TfRecord

__all__ = ["Arrays", "CsvText", "Custom", "Dataset", "ImageFolder", "Imdb", "Mnist", "TfRecord"]
