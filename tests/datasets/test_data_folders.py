"""A folder of images of one's own: what is read, what is kept, and how it reaches training."""

import json
import multiprocessing
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from own_fixtures import class_folders, images, picture, three_parts
from PIL import Image

from pruneflow.datasets.reading import decoded, decoding
from pruneflow.datasets.reading.decoding import Decoding
from pruneflow.datasets.rows import Rows
from pruneflow.datasets.spec import Data, Part
from pruneflow.datasets.split import digest_of
from pruneflow.errors import ConfigError, DataError
from pruneflow.runtime import backend


def cached(root: Path) -> list[Path]:
    return sorted(
        path for path in (root.parent / "cache").rglob("*") if path.is_file() and path.suffix != ".lock"
    )


def pixels(data: Data) -> np.ndarray:
    """Red of the first pixel of every image, sorted."""
    parts = (data.train, data.validation, data.test)
    return np.sort(np.concatenate([part.x[:][:, 0, 0, 0] for part in parts]))


def test_class_folders_are_cut_by_the_seed_and_decoded_exactly(tmp_path: Path) -> None:
    data = images(class_folders(tmp_path / "pets", count=10)).load()
    assert data.spec.shape == data.train.x.shape[1:] == (6, 5, 3)
    assert (data.spec.classes, data.class_names) == (2, ("cat", "dog"))
    assert (len(data.train), len(data.validation), len(data.test)) == (14, 2, 4)
    assert (
        data.note == "The test part is 4 of 20 images, drawn by dataset.split_seed: there is no folder test."
    )
    assert pixels(data).tolist() == [*range(10), *range(100, 110)]
    first = data.train.x[:1][0]
    assert first[2, 3].tolist() == [first[0, 0, 0], 30, 40]
    for part in (data.train, data.validation, data.test):
        assert ((part.x[:][:, 0, 0, 0] >= 100) == part.y).all()


def test_three_folders_are_three_parts(tmp_path: Path) -> None:
    data = images(three_parts(tmp_path / "pets")).load()
    assert (len(data.train), len(data.validation), len(data.test), data.note) == (16, 6, 8, "")
    (tmp_path / "pets" / "validation").rename(tmp_path / "pets" / "Val")
    assert images(tmp_path / "pets").load().digest == data.digest
    shutil.rmtree(tmp_path / "pets" / "Val")
    assert (len(images(tmp_path / "pets").load().validation)) == 2
    shutil.rmtree(tmp_path / "pets" / "test")
    assert (len(images(tmp_path / "pets").load().test)) == 3


def test_a_class_may_be_called_train(tmp_path: Path) -> None:
    data = images(class_folders(tmp_path / "vehicles", classes=("train", "car"))).load()
    assert data.class_names == ("car", "train")


def test_classes_are_in_the_order_of_keras_or_in_the_one_that_is_set(tmp_path: Path) -> None:
    names = ("2", "1", "ant", "Bee", "10", "Zebra", "é", "z")
    for name in names:
        (tmp_path / "d" / name).mkdir(parents=True)
        for each in range(3):
            picture(names.index(name) * 10 + each).save(tmp_path / "d" / name / f"{each}.png")
    settings = {"validation_fraction": 0.3, "test_fraction": 0.3}
    data = images(tmp_path / "d", **settings).load()
    assert data.class_names == ("1", "10", "2", "Bee", "Zebra", "ant", "z", "é")
    keras = backend.keras().utils.image_dataset_from_directory(str(tmp_path / "d"), image_size=(6, 5))
    assert tuple(keras.class_names) == data.class_names
    before = cached(tmp_path / "d")
    data = images(tmp_path / "d", class_names=list(names), **settings).load()
    assert data.class_names == names and cached(tmp_path / "d") == before  # decoded once
    for part in (data.train, data.validation, data.test):
        assert np.array_equal(part.x[:][:, 0, 0, 0] // 10, part.y)


def test_rows_are_sliced_picked_and_taken_like_arrays(tmp_path: Path) -> None:
    for most in (10**9, 0):
        x = images(class_folders(tmp_path / str(most) / "pets"), cache_max_bytes=most).load().train.x
        assert isinstance(x, Rows)
        whole = x[:]
        assert (x.shape, x.dtype, len(x)) == (whole.shape, np.uint8, 14)
        assert np.array_equal(x[3:7], whole[3:7]) and x[:0].shape == (0, 6, 5, 3)
        at = np.array([5, 0, 5])
        assert np.array_equal(x[at], whole[at]) and np.array_equal(x.taken(at)[1:], whole[at][1:])


def test_images_in_the_cache_and_images_decoded_at_each_use_have_one_digest(tmp_path: Path) -> None:
    root = class_folders(tmp_path / "pets")
    kept = images(root).load()
    assert [file.name for file in cached(root)] == ["index.npz", "pixels.bin"]
    assert cached(root)[1].stat().st_size == 20 * 6 * 5 * 3
    shutil.rmtree(tmp_path / "cache")
    streamed = images(root, cache_max_bytes=1799).load()
    assert [file.name for file in cached(root)] == ["index.npz"]
    assert kept.digest == streamed.digest
    assert np.array_equal(kept.train.x[:], streamed.train.x[:])


def test_a_digest_names_pixels_labels_and_parts(tmp_path: Path) -> None:
    root = class_folders(tmp_path / "pets")
    first = images(root)
    digest = first.load().digest
    assert images(root, split_seed=1).load().digest != digest
    assert images(root, channels=1).load().digest != digest
    picture(1).save(root / "dog" / "003.png")
    assert images(root).load().digest != digest
    picture(103).save(root / "dog" / "003.png")
    assert images(root).load().digest == digest
    (root / "dog").rename(root / "bird")  # other numbers
    assert images(root).load().digest != digest


def test_what_was_decoded_is_not_decoded_again_until_something_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, calls = class_folders(tmp_path / "pets"), []
    decode = Decoding.decode
    monkeypatch.setattr(Decoding, "decode", lambda self, path: calls.append(path) or decode(self, path))
    for _ in range(3):
        data = images(root).load()
        data.train.x[:]
    assert len(calls) == 20
    os.utime(root / "cat" / "000.png", ns=(1, 1))
    images(root).load()
    assert len(calls) == 40
    images(root, height=3, width=3).load()
    assert len(calls) == 60
    assert len(cached(root)) == 4  # of both settings; what the change made stale is gone


@pytest.mark.parametrize("how", ["pixel", "shorter", "index", "no pixels"])
def test_a_cache_that_is_broken_is_noticed_said_and_made_anew(tmp_path: Path, how: str, capsys: Any) -> None:
    root = class_folders(tmp_path / "pets")
    digest = images(root).load().digest
    index, file = cached(root)
    content = bytearray(file.read_bytes())
    if how == "pixel":
        content[700] ^= 1
        file.write_bytes(content)
    elif how == "shorter":
        file.write_bytes(content[:-1])
    elif how == "index":
        index.write_bytes(index.read_bytes()[:-20])
    else:
        file.unlink()
    data = images(root).load()
    assert (data.digest, pixels(data)[-1]) == (digest, 109)
    assert ("is broken and is made anew" in capsys.readouterr().out) == (how != "no pixels")
    assert images(root).load().digest == digest


def test_what_is_cut_off_while_it_is_made_leaves_nothing_and_is_no_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = class_folders(tmp_path / "pets")

    def cut_off(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(decoded, "write_arrays", cut_off)
        images(root).load()
    assert cached(root) == []
    (home,) = (tmp_path / "cache" / "images").glob("*.lock")
    (home.with_suffix("") / ".making").mkdir(parents=True)  # of a run that was killed
    (home.with_suffix("") / ".making" / "pixels.bin").write_bytes(b"half")
    images(root).load()
    assert [file.name for file in cached(root)] == ["index.npz", "pixels.bin"]


def test_a_full_disk_says_what_to_do_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = class_folders(tmp_path / "pets")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(decoded.os, "fsync", full)
    with pytest.raises(DataError, match=r"No space left on device.* or dataset\.cache_max_bytes=0"):
        images(root).load()
    assert cached(root) == []


@pytest.mark.parametrize("most", [10**9, 0], ids=["cached", "streamed"])
def test_a_file_that_is_swapped_for_one_of_its_size_and_time_is_noticed(tmp_path: Path, most: int) -> None:
    root = class_folders(tmp_path / "pets")
    file, other = root / "dog" / "003.png", tmp_path / "other.png"
    for value in (103, 93):  # no compression: as many bytes
        picture(value).save(other, compress_level=0)
        os.utime(other, ns=(7, 7))
        other.replace(file)
        data = images(root, cache_max_bytes=most).load()
        assert value in pixels(data)


def test_a_stale_digest_ends_the_run_and_the_next_one_decodes_anew(tmp_path: Path) -> None:
    root = class_folders(tmp_path / "pets")
    whole = images(root, cache_max_bytes=0).load()
    (index,) = cached(root)
    held = {**np.load(index)}
    np.savez(index, **{**held, "digests": held["digests"][::-1]})
    with pytest.raises(DataError, match=r"changed or vanished while it was in use\. Run again"):
        images(root, cache_max_bytes=0).load().train.x[:]
    again = images(root, cache_max_bytes=0).load()
    assert again.digest == whole.digest and len(again.train.x[:]) == 14


def test_images_that_are_never_kept_need_no_cache(tmp_path: Path, capsys: Any) -> None:
    root = class_folders(tmp_path / "pets")
    (root / "cat" / "009.png").write_bytes(b"")
    settings: dict[str, Any] = {"cache_max_bytes": 0, "corrupt": "skip"}
    digest = images(root, **settings).load().digest
    (tmp_path / "file").write_text("in the way")
    data = images(root, **settings, cache_dir=str(tmp_path / "file" / "cache")).load()
    assert (data.digest, data.left_out) == (digest, ("cat/009.png",))
    assert len(data.train.x[:]) == len(data.train)
    assert "file/cache cannot be written" in capsys.readouterr().out


@pytest.mark.parametrize("half", ["validation", "test", "train"])
def test_a_part_of_which_nothing_can_be_decoded_is_refused_and_not_drawn_anew(
    tmp_path: Path, half: str
) -> None:
    root = three_parts(tmp_path / "pets")
    for file in (root / half).rglob("*.png"):
        file.write_bytes(b"")
    problem = (
        rf"pets: none of the \d+ images of the {half} part can be decoded: {half}/cat/000\.png \(empty\)"
    )
    with pytest.raises(DataError, match=problem):
        images(root, corrupt="skip").load()


def test_names_that_are_no_utf8_are_read_and_shown_escaped(tmp_path: Path) -> None:
    root = class_folders(tmp_path / "pets")
    digest = images(root).load().digest
    file = root / "cat" / os.fsdecode(b"000\xe9.png")
    try:
        (root / "cat" / "000.png").rename(file)
    except OSError:
        pytest.skip("this file system takes no such names")
    assert images(root).load().digest == digest
    file.write_bytes(b"")
    data = images(root, corrupt="skip").load()
    assert data.left_out == ("cat/000\\udce9.png",)
    for _ in range(2):  # decoded, and found in the cache
        with pytest.raises(DataError, match=r"cat/000\\udce9\.png \(empty\)") as caught:
            images(root).load()
        str(caught.value).encode()
    (root / "dog").rename(root / os.fsdecode(b"d\xf6g"))
    with pytest.raises(
        DataError, match=r"pets: the name of the class folder d\\udcf6g is no UTF-8\. Rename it"
    ):
        images(root).load()


def load_digest(root: str) -> str:
    return str(images(Path(root)).load().digest)


@pytest.mark.run
def test_two_processes_decode_once(tmp_path: Path) -> None:
    root = class_folders(tmp_path / "pets", count=60)
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        first, second = pool.map(load_digest, [str(root)] * 2)
    assert first == second
    assert len(cached(root)) == 2


def test_corrupt_files_are_named_all_at_once_or_left_out_and_counted(tmp_path: Path) -> None:
    root = class_folders(tmp_path / "pets")
    expected = images(class_folders(tmp_path / "clean" / "pets", count=9)).load()
    (root / "dog" / "009.png").write_text("not an image")
    file = root / "cat" / "009.png"
    file.write_bytes(file.read_bytes()[:60])
    with pytest.raises(
        DataError, match=r"2 of 20 files cannot be decoded: cat/009\.png .*dog/009\.png \(not"
    ):
        images(root).load()
    data = images(root, corrupt="skip").load()
    assert data.note.endswith("2 of 20 images cannot be decoded and were left out: cat/009.png, dog/009.png.")
    assert pixels(data).tolist() == pixels(expected).tolist()
    assert data.left_out == ("cat/009.png", "dog/009.png")
    with pytest.raises(
        DataError, match=r"2 of 20 files cannot be decoded: cat/009\.png \(.*dog/009\.png \(not"
    ):
        images(root).load()  # known from before
    assert images(root, corrupt="skip", cache_max_bytes=0).load().digest == data.digest


def test_every_changed_byte_of_a_png_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    picture(7, height=30, width=30).save(path)
    content, how = path.read_bytes(), Decoding(None, 3, "bilinear")
    good, unnoticed = how.decode(path), 0
    for at in range(8, len(content) - 12, 7):
        path.write_bytes(content[:at] + bytes([content[at] ^ 4]) + content[at + 1 :])
        try:
            unnoticed += not np.array_equal(how.decode(path), good)
        except DataError:
            continue
    assert unnoticed == 0


def test_no_class_may_be_left_without_an_image(tmp_path: Path) -> None:
    root = class_folders(tmp_path / "pets", count=9, classes=("cat", "dog", "eel"))
    for file in (root / "eel").iterdir():
        file.write_bytes(b"")
    with pytest.raises(DataError, match="no example of eel is in the training part"):
        images(root, corrupt="skip").load()


@pytest.mark.parametrize("suffix", ["png", "jpg", "bmp", "gif", "webp", "PNG"])
def test_every_format_is_read(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    flat = Image.new("RGB", (5, 6), (10, 200, 90))
    flat.save(path, **({"quality": 100, "lossless": True} if suffix == "webp" else {}))
    found = Decoding(None, 3, "bilinear").decode(path)
    assert found.shape == (6, 5, 3)
    assert np.abs(found.astype(int) - (10, 200, 90)).max() <= 2


def test_other_formats_are_not_read_even_where_pillow_could(tmp_path: Path) -> None:
    for suffix in ("tiff", "eps", "ppm"):
        Image.new("RGB", (5, 6)).save(tmp_path / f"a.{suffix}")
        with pytest.raises(DataError, match="not an image"):
            Decoding(None, 3, "bilinear").decode(tmp_path / f"a.{suffix}")


@pytest.mark.parametrize(
    ("image", "grey", "colours"),
    [
        (Image.new("L", (2, 2), 77), 77, (77, 77, 77)),
        (Image.new("RGB", (2, 2), (10, 20, 30)), 18, (10, 20, 30)),  # 0.299 r + 0.587 g + 0.114 b
        (Image.new("RGBA", (2, 2), (10, 20, 30, 0)), 18, (10, 20, 30)),
        (Image.new("1", (2, 2), 1), 255, (255, 255, 255)),
        (Image.new("P", (2, 2), 0), 0, (0, 0, 0)),
        (Image.fromarray(np.full((2, 2), 0x4D12, np.uint16)), 0x4D, (0x4D, 0x4D, 0x4D)),
    ],
    ids=["grey", "colours", "transparent", "bits", "palette", "16 bits"],
)
def test_every_kind_of_pixel_becomes_bytes(
    tmp_path: Path, image: Image.Image, grey: int, colours: tuple[int, ...]
) -> None:
    image.save(tmp_path / "a.png")
    assert Decoding(None, 1, "nearest").decode(tmp_path / "a.png")[1, 1].tolist() == [grey]
    assert Decoding(None, 3, "nearest").decode(tmp_path / "a.png")[1, 1].tolist() == list(colours)


def test_a_photograph_is_turned_as_the_camera_was_held(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # held upright: to be turned by 90 degrees
    picture(9).save(tmp_path / "a.png", exif=exif)
    found = Decoding(None, 3, "nearest").decode(tmp_path / "a.png")
    assert np.array_equal(found, np.rot90(np.asarray(picture(9)), 3))


def test_images_of_other_sizes_are_stretched_to_the_one_that_is_set(tmp_path: Path) -> None:
    root = class_folders(tmp_path / "pets")
    picture(109, height=12, width=30).save(root / "dog" / "009.png")
    data = images(root, height=3, width=5, resize="box").load()
    assert data.spec.shape == (3, 5, 3)
    assert pixels(data).tolist() == [*range(10), *range(100, 110)]
    assert data.train.x[:1][0, :, 0, 2].tolist() == [10, 50, 90]  # means of two rows each, 20 apart


def test_a_file_that_declares_too_many_pixels_is_not_unpacked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = class_folders(tmp_path / "pets")
    monkeypatch.setattr(decoding, "MOST_PIXELS", 29)
    with pytest.raises(DataError, match=r"it declares 5 x 6 pixels, too many to read"):
        images(root).load()
    monkeypatch.undo()
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 29)
    with pytest.raises(DataError, match=r"20 of 20 files cannot be decoded: .*exceeds limit of 29 pixels"):
        images(root).load()


def test_hidden_files_and_what_file_managers_leave_do_not_count(tmp_path: Path) -> None:
    root = class_folders(tmp_path / "pets")
    digest = images(root).load().digest
    for name in (".DS_Store", "Thumbs.db", "desktop.ini", "._000.png"):
        (root / "cat" / name).write_bytes(b"x")
    (root / ".git").mkdir()
    (root / "README.md").write_text("two kinds")
    assert images(root).load().digest == digest


def test_a_limit_is_drawn_before_anything_is_decoded(tmp_path: Path) -> None:
    root = class_folders(tmp_path / "pets", count=40)
    data = images(root, limit=10).load()
    assert data.note.startswith("The test part is 10 of 20 images, drawn by dataset.split_seed")
    assert (len(data.train), len(data.validation), len(data.test)) == (9, 1, 10)
    assert cached(root)[1].stat().st_size == 20 * 6 * 5 * 3
    assert images(root, limit=10, split_seed=1).load().digest != data.digest


def test_a_file_that_changes_while_it_is_in_use_is_named(tmp_path: Path) -> None:
    root = class_folders(tmp_path / "pets")
    data = images(root, cache_max_bytes=0).load()
    picture(200).save(root / "cat" / "004.png")
    with pytest.raises(DataError, match=r"cat/004\.png: changed or vanished while it was in use"):
        for part in (data.train, data.validation, data.test):
            part.x[:]


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"height": 0, "width": 5}, r"dataset\.height=0: allowed are whole numbers from 1"),
        ({"width": 5}, r"dataset\.width=5: dataset\.height is null"),
        ({"channels": 2}, r"dataset\.channels=2: allowed are 1, 3 and 4"),
        ({"resize": "cubic"}, r"dataset\.resize=cubic: allowed are keras, nearest, box"),
        ({"corrupt": "ignore"}, r"dataset\.corrupt=ignore: allowed are refuse, skip"),
        ({"cache_max_bytes": -1}, r"dataset\.cache_max_bytes=-1: allowed are whole numbers from 0"),
        ({"cache_dir": ""}, r"dataset\.cache_dir=: must not be empty"),
        ({"test_fraction": 1.0}, r"dataset\.test_fraction=1\.0: must lie between 0 and 1"),
    ],
)
def test_settings_that_cannot_be_used_are_refused(tmp_path: Path, changes: Any, problem: str) -> None:
    with pytest.raises(ConfigError, match=f"^{problem}"):
        images(tmp_path / "pets", **changes)


def in_memory(data: Data) -> Data:
    parts = [Part(part.x[:], part.y) for part in (data.train, data.validation, data.test)]
    return Data(data.name, data.spec, *parts, digest=digest_of(*parts))


@pytest.mark.parametrize("most", [10**9, 0], ids=["cached", "streamed"])
def test_batches_from_files_are_those_from_memory(tmp_path: Path, most: int) -> None:
    from pruneflow.datasets.batches import Order, evaluation_batches, training_batches

    data = images(class_folders(tmp_path / "pets"), cache_max_bytes=most).load()
    order = Order(range(1, 3), 4, (7,), skip=2)
    for make in (
        lambda d: training_batches(d.train, d.spec, order),
        lambda d: evaluation_batches(d.test, d.spec),
    ):
        found, expected = list(make(data)), list(make(in_memory(data)))
        assert len(found) == len(expected)
        assert found[0][0].shape[1:] == (6, 5, 3)
        for (x, y), (other_x, other_y) in zip(found, expected, strict=True):
            assert np.array_equal(x, other_x) and np.array_equal(y, other_y)


def test_evaluation_takes_smaller_batches_of_large_images_in_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pruneflow.datasets import batches

    data = images(class_folders(tmp_path / "pets", count=30)).load()
    monkeypatch.setattr(batches, "MOST_BYTES", 4 * 6 * 5 * 3 * 5)
    sizes = [len(y) for _, y in batches.evaluation_batches(data.test, data.spec)]
    assert sizes == [5, 5, 2]
    assert [len(y) for _, y in batches.evaluation_batches(in_memory(data).test, data.spec)] == [12]


def runs(folder: Path, *overrides: str) -> Any:
    from conftest import QUICK
    from test_cli import exit_code

    line = ["dataset=image_folder", "dataset.path=pets", "dataset.cache_dir=kept", "model.filters=[4]"]
    size = ["dataset.height=14", "dataset.width=14", f"hydra.run.dir={folder.name}", "trainer.batch_size=20"]
    assert exit_code([*QUICK, *line, *size, "trainer.dense_batch_size=20", *overrides]) == 0
    return json.loads((folder / "result.json").read_text())


@pytest.mark.run
def test_a_run_on_images_in_files_ends_with_the_same_bits_cached_or_streamed(tmp_path: Path) -> None:
    class_folders(tmp_path / "pets", count=60)
    first = runs(tmp_path / "cached", "export=all")
    again = runs(tmp_path / "streamed", "export=all", "dataset.cache_max_bytes=0", "stages.reuse=false")
    assert first["data"]["digest"] == again["data"]["digest"]
    assert first["data"]["class_names"] == ["cat", "dog"]
    for file in ("pruned-float.tflite", "pruned-int8.tflite"):
        assert (tmp_path / "cached" / file).read_bytes() == (tmp_path / "streamed" / file).read_bytes()


@pytest.mark.run
def test_a_file_that_vanishes_in_training_ends_the_run_with_one_message(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    from conftest import QUICK
    from test_cli import exit_code

    from pruneflow.flow import pipeline

    class_folders(tmp_path / "pets", count=60)
    run = pipeline.run

    def vanish(*arguments: Any, **named: Any) -> Any:
        for file in (tmp_path / "pets").rglob("*.png"):
            file.unlink()
        return run(*arguments, **named)

    monkeypatch.setattr(pipeline, "run", vanish)
    line = ["dataset=image_folder", "dataset.path=pets", "dataset.cache_max_bytes=0", "model.filters=[4]"]
    size = ["dataset.height=14", "dataset.width=14", "dataset.cache_dir=kept", "hydra.run.dir=run"]
    assert exit_code([*QUICK, *line, *size, "trainer.batch_size=20", "trainer.dense_batch_size=20"]) == 1
    said = capsys.readouterr().err
    assert "changed or vanished while it was in use. Run again." in said
    assert "Traceback" not in said
