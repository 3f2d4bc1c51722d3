"""Write a folder of images as sharded TFRecord files, which ``dataset=tfrecord`` reads as a stream.

python examples/write_tfrecords.py pets/ records/ --height 96 --width 96 [--channels 3] [--shards 8]

The first folder is one that ``dataset=image_folder`` reads: a folder for each class, or ``train`` with such
folders and, beside it, ``validation`` or ``test``. The second must not be there. It gets so many files for
each part, and ``features.yaml``. Image files are copied as they are, in a drawn order, so that each file has
images of all classes. They are resized when they are read.
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

import numpy as np
import tensorflow as tf
import yaml

from pruneflow.datasets.reading.folders import HALVES, Listing, listed_images


def main(arguments: list[str] | None = None) -> None:
    """Write the files of all parts beside the target, and rename the folder when it is whole."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("source", type=Path)
    parser.add_argument("target", type=Path)
    parser.add_argument("--height", type=int, required=True)
    parser.add_argument("--width", type=int, required=True)
    parser.add_argument("--channels", type=int, default=3)
    parser.add_argument("--shards", type=int, default=8)
    chosen = parser.parse_args(arguments)
    listing, target = listed_images(chosen.source), chosen.target
    if target.exists():
        parser.error(f"{target} is there already. Name another folder.")
    making = target.with_name(f".{target.name}.making")
    shutil.rmtree(making, ignore_errors=True)
    making.mkdir(parents=True)
    specification = {
        "example": {
            "name": "image",
            "kind": "image",
            "shape": [chosen.height, chosen.width, chosen.channels],
        },
        "label": {"name": "label", "classes": list(listing.classes)},
    }
    text = yaml.safe_dump(specification, sort_keys=False, allow_unicode=True)
    (making / "features.yaml").write_text(text, encoding="utf-8")
    for part in HALVES:
        _write(making, listing, part, chosen.shards)
    making.rename(target)
    print(f"{target}: {len(listing):,} images of {len(listing.classes)} classes")


def _write(folder: Path, listing: Listing, part: str, shards: int) -> None:
    """Write the files of one part; none where there are no images of it."""
    places = np.random.default_rng(0).permutation(listing.of(part))
    for number in range(shards if len(places) else 0):
        file = folder / f"{part}-{number:05}-of-{shards:05}.tfrecord"
        with tf.io.TFRecordWriter(str(file)) as writer:
            for place in places[number::shards]:
                content = (listing.root / listing.names[place]).read_bytes()
                writer.write(record(content, int(listing.y[place])))


def record(content: bytes, label: int) -> bytes:
    """One image file and its label, as a serialized ``tf.train.Example``."""
    features = {
        "image": tf.train.Feature(bytes_list=tf.train.BytesList(value=[content])),
        "label": tf.train.Feature(int64_list=tf.train.Int64List(value=[label])),
    }
    example = tf.train.Example(features=tf.train.Features(feature=features))
    return bytes(example.SerializeToString())


if __name__ == "__main__":
    main()
