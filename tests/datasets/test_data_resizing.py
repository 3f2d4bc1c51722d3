"""`dataset.resize=keras` gives the pixels that Keras gives; `dataset.white` and four channels."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from own_fixtures import class_folders, images, picture
from PIL import Image

from pruneflow.datasets.reading.decoding import Decoding
from pruneflow.datasets.reading.resizing import resized_as_keras
from pruneflow.datasets.spec import Data
from pruneflow.errors import ConfigError, DataError
from pruneflow.runtime import backend

RNG = np.random.default_rng(0)


def of_each_size(root: Path, mode: str = "RGB", suffix: str = "png", **saved: Any) -> Path:
    """Six noisy pictures of six sizes in each of two classes."""
    rng = np.random.default_rng(3)
    for name in ("cat", "dog"):
        (root / name).mkdir(parents=True)
        for each in range(6):
            height, width = 5 + 3 * each, 17 - 2 * each
            pixels = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
            Image.fromarray(pixels).convert(mode).save(root / name / f"{each}.{suffix}", **saved)
    return root


def all_rows(data: Data) -> np.ndarray:
    return np.concatenate([part.x[:] for part in (data.train, data.validation, data.test)])


def of_keras(root: Path, size: tuple[int, int], colours: str) -> np.ndarray:
    """What Keras reads of the same folder."""
    read = backend.keras().utils.image_dataset_from_directory
    found = read(root, image_size=size, batch_size=1, shuffle=False, color_mode=colours)
    return np.concatenate([batch.numpy() for batch, _ in found])


FILES = [(mode, "png", channels) for mode in ("RGB", "L", "P", "RGBA") for channels in (1, 3, 4)]


@pytest.mark.parametrize(("mode", "suffix", "channels"), [*FILES, ("RGB", "bmp", 3), ("L", "gif", 3)])
def test_a_folder_has_the_pixels_that_keras_reads_bit_for_bit(
    tmp_path: Path, mode: str, suffix: str, channels: int
) -> None:
    root = of_each_size(tmp_path / "pets", mode, suffix)
    data = images(root, height=7, width=9, channels=channels).load()
    expected = of_keras(root, (7, 9), {1: "grayscale", 3: "rgb", 4: "rgba"}[channels])
    assert expected.dtype == data.train.x.dtype == np.float32
    assert sorted(row.tobytes() for row in all_rows(data)) == sorted(row.tobytes() for row in expected)


@pytest.mark.parametrize(("channels", "colours"), [(1, "grayscale"), (3, "rgb")])
def test_files_of_16_bits_have_the_pixels_that_keras_reads(
    tmp_path: Path, channels: int, colours: str
) -> None:
    deep = np.random.default_rng(4).integers(0, 65536, (12, 8, 6), dtype=np.uint16)
    for number, pixels in enumerate(deep):
        file = tmp_path / "scans" / ("cat", "dog")[number % 2] / f"{number:02}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(file)
    data = images(tmp_path / "scans", height=5, width=4, channels=channels).load()
    expected = of_keras(tmp_path / "scans", (5, 4), colours)
    assert sorted(row.tobytes() for row in all_rows(data)) == sorted(row.tobytes() for row in expected)


JPEGS: list[tuple[str, dict[str, Any]]] = [
    ("RGB", {"subsampling": "4:2:0"}),
    ("RGB", {"subsampling": "4:2:2"}),
    ("RGB", {"subsampling": "4:4:4", "quality": 100}),
    ("RGB", {"progressive": True, "quality": 20}),
    ("L", {}),
    ("L", {"progressive": True}),
    ("CMYK", {}),
]
COLOURS = {1: "grayscale", 3: "rgb"}
OF_JPEG = [(*each, channels) for each in JPEGS for channels in COLOURS if (each[0], channels) != ("CMYK", 1)]


@pytest.mark.parametrize(("mode", "saved", "channels"), OF_JPEG)
def test_jpeg_files_have_the_pixels_that_keras_reads_bit_for_bit(
    tmp_path: Path, mode: str, saved: dict[str, Any], channels: int
) -> None:
    root = of_each_size(tmp_path / "pets", mode, "jpg", **saved)
    data = images(root, height=7, width=9, channels=channels).load()
    expected = of_keras(root, (7, 9), COLOURS[channels])
    assert sorted(row.tobytes() for row in all_rows(data)) == sorted(row.tobytes() for row in expected)


def test_jpeg_of_its_own_size_stays_bytes_and_gets_opaque_where_transparency_is_asked_for(
    tmp_path: Path,
) -> None:
    file = next(of_each_size(tmp_path / "pets", suffix="jpg").rglob("*.jpg"))
    expected = backend.tensorflow().io.decode_image(file.read_bytes(), channels=3).numpy()
    np.testing.assert_array_equal(Decoding(None, 3, "keras").decode(file), expected)
    four = Decoding(None, 4, "keras").decode(file)
    np.testing.assert_array_equal(four[..., :3], expected)
    assert (four[..., 3] == 255).all()


def test_grey_of_cmyk_which_keras_refuses_comes_from_pillow(tmp_path: Path) -> None:
    file = tmp_path / "print.jpg"
    Image.new("CMYK", (4, 3), (0, 0, 0, 0)).save(file)
    assert Decoding(None, 1, "keras").decode(file).ravel().tolist() == [255] * 12


def test_broken_jpeg_files_are_told_as_pillow_tells_them_and_nothing_else_is_printed(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    root = of_each_size(tmp_path / "pets", suffix="jpg")
    for name in ("cat/1.jpg", "dog/2.jpg"):
        content = (root / name).read_bytes()
        (root / name).write_bytes(content[: len(content) - 40])
    with pytest.raises(
        DataError, match=r"2 of 12 files .*cat/1\.jpg \(image file is truncated .*dog/2\.jpg \("
    ):
        images(root, height=7, width=9).load()
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("sizes", [((1, 1), (4, 3)), ((5, 7), (5, 7)), ((90, 3), (2, 80)), ((8, 8), (3, 3))])
def test_resizing_is_that_of_tensorflow_bit_for_bit(sizes: tuple[tuple[int, int], tuple[int, int]]) -> None:
    before, after = sizes
    pixels = RNG.integers(0, 256, (*before, 3), dtype=np.uint8)
    expected = backend.tensorflow().image.resize(pixels, after).numpy()
    np.testing.assert_array_equal(resized_as_keras(pixels, after), expected)


def test_resizing_takes_no_mean_of_pixels_in_between() -> None:
    stripes = np.tile(np.array([0, 200], np.uint8), (8, 4))[..., None]
    assert resized_as_keras(stripes, (4, 2))[0, :, 0].tolist() == [100.0, 100.0]
    thirds = np.tile(np.array([0, 200, 0], np.uint8), (6, 2))[..., None]
    assert resized_as_keras(thirds, (2, 2))[0, :, 0].tolist() == [200.0, 200.0]


@pytest.mark.parametrize("most", [0, 10**9])
def test_pixels_that_are_not_rounded_are_kept_and_streamed_alike(tmp_path: Path, most: int) -> None:
    root = of_each_size(tmp_path / "pets")
    first, again = (images(root, height=4, width=4, cache_max_bytes=most).load() for _ in range(2))
    kept = images(root, height=4, width=4).load()
    assert first.digest == again.digest == kept.digest
    np.testing.assert_array_equal(all_rows(first), all_rows(kept))
    assert (all_rows(kept) % 1).any()


def test_images_of_one_size_stay_bytes_where_none_is_set(tmp_path: Path) -> None:
    assert images(class_folders(tmp_path / "pets")).load().train.x.dtype == np.uint8


def test_other_resizes_round_and_turn_photographs_as_before(tmp_path: Path) -> None:
    file = tmp_path / "turned.jpg"
    exif = Image.Exif()
    exif[0x0112] = 6
    picture(9, height=6, width=4).save(file, exif=exif)
    as_pillow, as_keras = (Decoding(None, 3, resize).decode(file) for resize in ("bilinear", "keras"))
    assert (as_pillow.shape, as_keras.shape) == ((4, 6, 3), (6, 4, 3))
    assert Decoding((3, 3), 3, "bilinear").decode(file).dtype == np.uint8


@pytest.mark.parametrize(
    ("white", "pixels"), [(None, [0, 8, 15]), (4095.0, [0, 128, 255]), (2048.0, [0, 255, 255])]
)
def test_white_of_deep_files_is_their_last_bit_or_what_is_set(
    tmp_path: Path, white: Any, pixels: list[int]
) -> None:
    Image.fromarray(np.array([[0, 2048, 4095]], np.uint16)).save(tmp_path / "deep.png")
    found = Decoding(None, 1, "keras", white).decode(tmp_path / "deep.png")
    assert found.ravel().tolist() == pixels


def test_white_reaches_the_cache_under_a_name_of_its_own(tmp_path: Path) -> None:
    root = class_folders(tmp_path / "pets")
    plain, brighter = images(root).load(), images(root, white=200.0).load()
    assert plain.digest != brighter.digest
    assert images(root).load().digest == plain.digest
    with pytest.raises(ConfigError, match=r"dataset\.white=0\.0: allowed are numbers above 0, or null"):
        images(root, white=0.0)


def test_four_channels_keep_what_is_drawn_on_a_transparent_ground(tmp_path: Path) -> None:
    drawn = np.zeros((2, 2, 4), np.uint8)
    drawn[0, 0, 3] = 255
    Image.fromarray(drawn).save(tmp_path / "icon.png")
    assert Decoding(None, 3, "keras").decode(tmp_path / "icon.png").max() == 0
    assert Decoding(None, 4, "keras").decode(tmp_path / "icon.png")[..., 3].tolist() == [[255, 0], [0, 0]]
