"""Caches of decoded images are deleted by age and by size, and nothing else that lies beside them."""

import os
import re
import shlex
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from own_fixtures import class_folders, images

from pruneflow import clean
from pruneflow.datasets.reading import decoded, image_cache
from pruneflow.datasets.reading.decoding import Decoding
from pruneflow.runtime.locks import locked

DAY_S = 86_400


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    """Three caches: last used 40, 10 and 5 days ago; 9.6, 3.6 and 4.8 kB of pixels, resized to float32."""
    root = class_folders(tmp_path / "pets")
    for height, days in ((8, 40), (3, 10), (4, 5)):
        images(root, height=height, width=5).load()
        then = time.time() - days * DAY_S
        (index,) = newest(tmp_path / "cache").glob("*/index.npz")
        os.utime(index, (then, then))
    return tmp_path / "cache"


def newest(folder: Path) -> Path:
    return max(homes(folder), key=lambda home: max(file.stat().st_mtime for file in home.rglob("*.npz")))


def homes(folder: Path) -> list[Path]:
    return [path for path in (folder / "images").iterdir() if path.is_dir()]


def heights(folder: Path) -> list[int]:
    """Which caches are there."""
    return sorted(int(np.load(file)["shape"][0]) for file in folder.rglob("index.npz"))


def test_caches_go_by_age_and_by_size_only_where_that_is_asked_for(
    cache: Path, tmp_path: Path, capsys: Any
) -> None:
    (tmp_path / "outputs" / ".stages" / "v1" / "locks").mkdir(parents=True)
    assert clean.main(["--unused-days=1"]) == 0
    assert heights(cache) == [3, 4, 8]
    assert "images" not in capsys.readouterr().out
    assert clean.main([f"--images={cache}", "--unused-days=30"]) == 0
    assert heights(cache) == [3, 4]
    said = capsys.readouterr().out.splitlines()
    assert said[:2] == ["Deleted 0 stages, 0.0 MB.", "Left    0 stages, 0.0 MB, in outputs/.stages."]
    assert said[2].startswith("Deleted 1 caches of decoded images, 0.0 MB.")
    assert said[3].startswith("Left    2 caches of decoded images, 0.0 MB, in ")
    images(tmp_path / "pets", height=3, width=5).load()  # used now
    assert clean.main([f"--images={cache}", "--max-size=6k"]) == 0
    assert heights(cache) == [3]
    assert sorted(path.suffix for path in (cache / "images").iterdir()) == ["", ".lock"]


def test_the_cache_folder_is_that_of_the_user(
    cache: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache.parent))
    (cache.parent / "pruneflow").symlink_to(cache)
    assert clean.main(["--images", "--unused-days=7"]) == 0
    assert heights(cache) == [4]
    assert "stages" not in capsys.readouterr().out  # there are none here


def test_the_command_of_the_page_on_data_runs(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache.parent))
    (cache.parent / "pruneflow").symlink_to(cache)
    page = (Path(__file__).parent.parent / "docs" / "data.md").read_text(encoding="utf-8")
    (words,) = re.findall(r"`python -m pruneflow\.clean (.+?)`", page)
    assert clean.main(shlex.split(words)) == 0
    assert heights(cache) == [3, 4]


def test_what_a_run_works_on_stays_and_what_killed_runs_left_goes(cache: Path) -> None:
    working, killed = homes(cache)[:2]
    (working / image_cache.MAKING).mkdir()
    (killed / image_cache.MAKING).mkdir()
    (killed / image_cache.MAKING / image_cache.PIXELS).write_bytes(b"x")
    trash = cache / "images" / f"{killed.name[:12]}.00c0ffee.trash"
    (trash / killed.name).mkdir(parents=True)
    (cache / "images" / f"{'0' * 16}.lock").write_bytes(b"")  # of images that could not be decoded
    with locked(image_cache.lock_of(working), waiting=""):
        assert clean.main([f"--images={cache}", "--unused-days=0"]) == 0
    assert sorted(path.name for path in (cache / "images").iterdir()) == [
        working.name,
        f"{working.name}.lock",
    ]
    assert clean.main([f"--images={cache}", "--unused-days=0"]) == 0
    assert list((cache / "images").iterdir()) == []


def test_a_cache_that_is_used_in_the_meantime_stays(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = clean.entries(cache, clean.IMAGES)
    images(cache.parent / "pets", height=8, width=5).load()
    monkeypatch.setattr(clean, "entries", lambda *_: found)
    clean.clean(cache, clean.IMAGES, unused_s=30 * DAY_S)
    assert heights(cache) == [3, 4, 8]


def test_a_run_that_reads_a_cache_reads_on_after_it_is_deleted(tmp_path: Path) -> None:
    root = class_folders(tmp_path / "pets")
    x = images(root).load().train.x
    whole = x[:]
    assert len(clean.clean(tmp_path / "cache", clean.IMAGES, size_bytes=0)) == 1
    assert heights(tmp_path / "cache") == []
    assert np.array_equal(x[:], whole)
    assert np.array_equal(images(root).load().train.x[:], whole)  # made anew


def test_nothing_else_is_deleted(tmp_path: Path) -> None:
    folder, key = tmp_path / "cache" / "images", "0123456789abcdef"
    others = [
        *("cat/1.png", f"{key}/photo.png", f"{key[::-1]}/{key}/photo.png", "0" * 16, "mine.lock"),
        *(f"{'1' * 16}/cat/index.npz", f"{'a' * 12}.trash/{key}/index.npz", f"{'4' * 16}/.making/photo.png"),
        f"{'5' * 16}.lock",  # not empty
    ]
    for name in others:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"precious")
    (tmp_path / "elsewhere" / key).mkdir(parents=True)
    (folder / ("2" * 16)).symlink_to(tmp_path / "elsewhere")
    (folder / ("3" * 16)).mkdir()
    (folder / ("3" * 16) / key).symlink_to(tmp_path / "elsewhere")
    (tmp_path / "cache" / "mnist.npz").write_bytes(b"precious")
    before = sorted(tmp_path.rglob("*"))
    assert clean.main([f"--images={tmp_path / 'cache'}", "--unused-days=0"]) == 0
    assert sorted(tmp_path.rglob("*")) == before


def test_a_cache_that_cannot_be_touched_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = class_folders(tmp_path / "pets")
    digest = images(root).load().digest

    def denied(*_: Any) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(image_cache.os, "utime", denied)
    monkeypatch.setattr(Decoding, "decode", denied)  # which is not done again
    assert images(root).load().digest == digest


def test_a_folder_that_is_not_there_is_one_message(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    for line, answer in (
        (
            ["--images=nowhere"],
            "--images=nowhere: there is no such folder; name the one in dataset.cache_dir",
        ),
        (["--images=."], ""),
        (
            ["--images=.", "--dir=nowhere"],
            "--dir=nowhere: there is no such folder; name the one in stages.dir",
        ),
    ):
        if not answer:
            assert clean.main([*line, "--max-size=5G"]) == 0
            continue
        with pytest.raises(SystemExit) as ended:
            clean.main([*line, "--max-size=5G"])
        assert ended.value.code == 2
        assert capsys.readouterr().err.splitlines()[-1] == f"python -m pruneflow.clean: error: {answer}"
    assert list(tmp_path.iterdir()) == []


def test_a_cache_folder_that_nobody_has_needed_yet_is_empty(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "none"))
    assert clean.main(["--images", "--unused-days=30"]) == 0
    assert capsys.readouterr().out.startswith("Deleted 0 caches of decoded images, 0.0 MB.")
    assert list(tmp_path.iterdir()) == []


def test_decoding_and_cleaning_agree_on_the_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root, seen = class_folders(tmp_path / "pets"), []
    make = decoded._make

    def watched(home: Path, *rest: Any) -> None:
        with image_cache.unused(home) as free:
            seen.append(free)
        make(home, *rest)

    monkeypatch.setattr(decoded, "_make", watched)
    images(root).load()
    assert seen == [False]
