"""TFRecord files: what is read of them, in which order, and which part a record is in."""

import json
import runpy
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from own_fixtures import class_folders, images, three_parts
from record_fixtures import (
    image_files,
    number_files,
    numbers_of,
    png,
    record,
    shard,
    sharded,
    specification,
    tfrecords,
)
from support import ROOT

from pruneflow.datasets.as_trained import as_trained
from pruneflow.datasets.batches import Order, evaluation_batches, training_batches
from pruneflow.datasets.looks import constant_features
from pruneflow.datasets.spec import Data
from pruneflow.errors import DataError, PruneflowError
from pruneflow.runtime import backend

PARTS = ("train", "validation", "test")


def numbered(folder: Path, n: int = 60, files: int = 4, **changes: Any) -> Data:
    """Records that hold their own number, of two classes in turn, as they are."""
    specification(folder, "numbers", [1])
    sharded(folder, [record(x=[float(i)], y=i % 2) for i in range(n)], files)
    return loaded(folder, **changes)


def loaded(folder: Path, **changes: Any) -> Data:
    return tfrecords(folder, **{"standardise": False, **changes}).load()  # type: ignore[no-any-return]


def held(part: Any) -> list[int]:
    """The numbers of the records of a part."""
    return [int(each) for each in part.x[:][:, 0]]


def trained_on(data: Data, order: Order) -> list[tuple[list[int], list[int]]]:
    """Examples and labels of each batch."""
    batches = training_batches(data.train, data.spec, order)
    return [(x.numpy()[:, 0].astype(int).tolist(), y.numpy().tolist()) for x, y in batches]


def test_numbers_are_standardised_by_the_training_part(tmp_path: Path) -> None:
    data, (x, y) = tfrecords(number_files(tmp_path)).load(), numbers_of()
    train = data.train.x[:]
    assert data.spec.shape == (3,) and data.spec.classes == 2
    np.testing.assert_allclose(train.mean(axis=0), 0, atol=1e-6)
    np.testing.assert_allclose(train.std(axis=0), 1, atol=1e-6)
    for part in (data.train, data.validation, data.test):
        assert data.standardisation
        found = part.x[:] * data.standardisation["scale"] + data.standardisation["mean"]
        np.testing.assert_allclose(found, x[part.x.at], rtol=1e-6, atol=1e-6)
        np.testing.assert_array_equal(part.y, y[part.x.at])


def test_a_feature_that_never_changes_is_only_moved_and_is_named(tmp_path: Path) -> None:
    specification(tmp_path, "signal", [2, 2])
    made = [record(x=[0.1, float(i), 0.1, -float(i)], y=i % 2) for i in range(50)]
    data = tfrecords(sharded(tmp_path, made)).load()
    assert data.spec.kind == "signal" and data.standardisation
    assert data.standardisation["scale"][0] == 1.0
    assert data.standardisation["mean"][0] == float(np.float32(0.1))
    assert "Channel 0 has one value" in constant_features(data)


def test_images_have_the_pixels_that_a_folder_of_them_has(tmp_path: Path) -> None:
    root = three_parts(class_folders(tmp_path / "more", suffix="jpg").parent / "parts")
    write = runpy.run_path(str(ROOT / "examples" / "write_tfrecords.py"))["main"]
    write([str(root), str(tmp_path / "records"), "--height=4", "--width=7", "--shards=2"])
    data = loaded(tmp_path / "records")
    folder = images(root, height=4, width=7).load()
    assert data.class_names == folder.class_names == ("cat", "dog")
    for part in PARTS:
        ours, theirs = getattr(data, part), getattr(folder, part)
        assert len(ours) == len(theirs)
        assert sorted(zip(ours.y, map(bytes, ours.x[:]), strict=True)) == sorted(
            zip(theirs.y, map(bytes, theirs.x[:]), strict=True)
        )
    assert not list(tmp_path.glob(".*making"))


def test_token_ids_are_counted_or_as_many_as_the_specification_says(tmp_path: Path) -> None:
    specification(tmp_path, "tokens", [3])
    sharded(tmp_path, [record(x=[i % 7, 1, 2], y=[b"bad", b"good"][i % 2]) for i in range(60)])
    data = loaded(tmp_path)
    assert (data.spec.vocabulary_size, data.class_names) == (7, ("bad", "good"))
    assert data.train.x[:2].dtype == np.int32
    assert data.train.x[:1].tolist() == [[int(data.train.x.at[0]) % 7, 1, 2]]


@pytest.mark.parametrize("names", [["dark", "light"], ["light", "dark"]])
def test_the_setting_names_numbers_and_orders_texts(tmp_path: Path, names: list[str]) -> None:
    numbers = numbered(tmp_path / "numbers", class_names=names)
    assert numbers.class_names == tuple(names)
    assert numbers.train.y.tolist() == [i % 2 for i in held(numbers.train)]
    data = loaded(image_files(tmp_path / "texts", classes=("dark", "light")), class_names=names)
    light = data.train.x[:][:, 0, 0, 0] > 100
    assert (data.train.y == np.where(light, names.index("light"), names.index("dark"))).all()


def test_parts_go_by_the_names_of_files(tmp_path: Path) -> None:
    for part, first in (("train", 0), ("val", 30), ("latest", 40), ("my-test", 50)):
        shard(
            tmp_path / f"{part}.tfrecord", [record(x=[float(i)], y=i % 2) for i in range(first, first + 10)]
        )
    specification(tmp_path, "numbers", [1])
    data = loaded(tmp_path)
    assert held(data.train) == [*range(40, 50), *range(10)]  # latest is no test
    assert (held(data.validation), held(data.test)) == ([*range(30, 40)], [*range(50, 60)])
    assert data.note == ""
    data = loaded(tmp_path, train="t*", validation="lat*", test="my*")
    assert (held(data.train), held(data.validation)) == ([*range(10)], [*range(40, 50)])


def test_parts_by_share_have_each_record_once_and_say_so(tmp_path: Path) -> None:
    data = numbered(tmp_path, n=2000, validation_fraction=0.5)
    parts = {part: held(getattr(data, part)) for part in PARTS}
    assert sorted(chain(*parts.values())) == list(range(2000))
    assert abs(len(parts["test"]) - 400) < 70  # 4 standard deviations
    assert abs(len(parts["validation"]) - 800) < 90
    assert f"The test part is {len(parts['test']):,} of 2,000 records" in data.note
    assert held(loaded(tmp_path, split_seed=1).test) != parts["test"]


def test_a_record_stays_in_its_part_when_files_and_records_come_after_it(tmp_path: Path) -> None:
    before = numbered(tmp_path, files=3)
    more = [record(x=[float(i)], y=i % 2) for i in range(40, 80)]
    shard(tmp_path / "part-00002-of-00003.tfrecord", more)
    shard(tmp_path / "another.tfrecord", [record(x=[float(i)], y=i % 2) for i in range(80, 99)])
    after = loaded(tmp_path)
    for part in PARTS:
        kept = [i for i in held(getattr(after, part)) if i < 60]
        assert sorted(kept) == held(getattr(before, part))


def test_each_epoch_has_each_record_once_in_an_order_of_its_own(tmp_path: Path) -> None:
    data, order = numbered(tmp_path, shuffle_buffer=10, parallel_files=2), Order(range(3), 8, (0, 1))
    batches, size = trained_on(data, order), -(-len(data.train) // 8)
    epochs = [list(chain(*(x for x, _ in batches[i * size : (i + 1) * size]))) for i in range(3)]
    assert all(sorted(each) == held(data.train) for each in epochs)
    assert epochs[0] != epochs[1] != epochs[2] != held(data.train)
    assert all(y == [i % 2 for i in x] for x, y in batches)


def test_the_order_depends_on_seed_and_epoch_only(tmp_path: Path) -> None:
    data, tf = numbered(tmp_path), backend.tensorflow()
    first = trained_on(data, Order(range(2), 8, (0, 1)))
    tf.random.set_seed(5)
    assert trained_on(data, Order(range(2), 8, (0, 1))) == first
    size = len(first) // 2
    assert trained_on(data, Order(range(1, 2), 8, (0, 1))) == first[size:]
    assert trained_on(data, Order(range(2), 8, (0, 1), skip=size + 2)) == first[size + 2 :]
    assert trained_on(data, Order(range(2), 8, (0, 2))) != first


def test_a_limit_leaves_records_out_of_the_stream_too(tmp_path: Path) -> None:
    data = numbered(tmp_path, limit=20)
    assert len(data.train) == 20 and np.bincount(data.train.y).tolist() == [10, 10]
    (batch,) = trained_on(data, Order(range(1), 32, (0, 1)))
    assert sorted(batch[0]) == held(data.train)


def test_evaluation_has_the_records_in_order(tmp_path: Path) -> None:
    data = numbered(tmp_path)
    batches = list(evaluation_batches(data.test, data.spec, batch_size=5))
    assert list(chain(*(x.numpy()[:, 0].astype(int) for x, _ in batches))) == held(data.test)
    assert list(chain(*(y.numpy() for _, y in batches))) == data.test.y.tolist()
    assert data.test.x[:0].shape == (0, 1)


def test_the_digest_knows_records_files_order_and_scales(tmp_path: Path) -> None:
    digests = [numbered(tmp_path / "a").digest, numbered(tmp_path / "b").digest]
    assert digests[0] == digests[1]
    digests += [loaded(tmp_path / "a", **{key: 3}).digest for key in ("shuffle_buffer", "parallel_files")]
    digests.append(loaded(tmp_path / "a", standardise=True).digest)
    digests.append(numbered(tmp_path / "c", files=5).digest)
    assert len(set(digests)) == 5


def test_an_image_that_is_none_is_named_when_it_is_read(tmp_path: Path) -> None:
    image_files(tmp_path, n=90)
    shard(tmp_path / "x.tfrecord", [record(x=png(1), y=b"dog"), record(x=b"none", y=b"cat")])
    data = loaded(tmp_path, train="part*", validation="x*")
    with pytest.raises(DataError, match=r"x\.tfrecord: record 1 \(from 0\): its image cannot be decoded"):
        data.validation.x[:]


@pytest.mark.parametrize(
    "change",
    [
        lambda file: file.unlink(),
        lambda file: file.write_bytes(file.read_bytes()[:200]),
        lambda file: shard(file, [record(x=[999.0], y=1)] * 60),
    ],
)
def test_a_file_that_changes_while_it_is_in_use_is_noticed(tmp_path: Path, change: Any) -> None:
    data = numbered(tmp_path, files=1)
    change(tmp_path / "part-00000-of-00001.tfrecord")
    with pytest.raises(DataError, match=r"changed or vanished while it was in use\. Run again"):
        data.train.x[:]


def test_a_file_that_ends_earlier_than_it_did_ends_a_stream_with_an_error(tmp_path: Path) -> None:
    """Its records are whole, so TensorFlow alone would train on what is left of them."""
    data = numbered(tmp_path, files=1)
    shard(tmp_path / "part-00000-of-00001.tfrecord", [record(x=[float(i)], y=i % 2) for i in range(48)])
    with pytest.raises(backend.tensorflow().errors.OpError, match="changed or vanished while it was in use"):
        trained_on(data, Order(range(1), 8, (0, 1)))


def test_scales_of_another_run_are_put_on_records(tmp_path: Path) -> None:
    data = tfrecords(number_files(tmp_path)).load()
    file = tmp_path / "network.tflite"
    scales = {"mean": [1.0, 2.0, 3.0], "scale": [2.0, 4.0, 8.0]}
    file.with_name("standardisation.json").write_text(json.dumps(scales))
    found = as_trained(file, tfrecords(tmp_path), data).test
    raw = numbers_of()[0][found.x.at].astype(np.float64)
    np.testing.assert_array_equal(found.x[:], ((raw - [1, 2, 3]) / [2, 4, 8]).astype(np.float32))
    file.with_name("standardisation.json").write_text(json.dumps({"mean": [1.0], "scale": [2.0]}))
    with pytest.raises(PruneflowError, match="does not fit the data"):
        as_trained(file, tfrecords(tmp_path), data)


def test_replicas_share_the_batches_of_a_stream(tmp_path: Path) -> None:
    data, order = numbered(tmp_path), Order(range(2), 8, (1, 2))
    whole = trained_on(data, order)
    shares = trained_on(data, replace(order, replicas=2, own=range(2)))
    pairs = zip(shares[::2], shares[1::2], strict=True)
    assert [(x + other_x, y + other_y) for (x, y), (other_x, other_y) in pairs] == whole
