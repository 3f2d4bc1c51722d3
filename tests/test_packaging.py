"""A wheel, installed and run where no checkout is."""

import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from conftest import QUICK

import pruneflow

pytestmark = pytest.mark.long

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    line = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--quiet",
        "--no-deps",
        "--wheel-dir",
        str(folder),
        str(ROOT),
    ]
    done = subprocess.run(line, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (file,) = folder.glob("*.whl")
    return file


def test_the_wheel_carries_every_yaml_file_and_the_type_marker(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    expected = {
        f"pruneflow/conf/{file.relative_to(ROOT / 'conf')}" for file in (ROOT / "conf").rglob("*.yaml")
    }
    assert expected <= names
    assert "pruneflow/py.typed" in names
    assert not any(name.startswith(("tests/", "conf/", "outputs/")) for name in names)


def test_the_description_of_the_wheel_is_the_readme_with_links_that_work_there(wheel):
    """It is read where no checkout is: a link to a file of the checkout becomes the name of the file."""
    with zipfile.ZipFile(wheel) as archive:
        (name,) = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
        head, _, description = archive.read(name).decode().partition("\n\n")
    assert "Description-Content-Type: text/markdown" in head
    assert (
        description.startswith("# pruneflow\n") and "pip install -e . && python -m pruneflow" in description
    )
    assert {link[:8] for link in re.findall(r"\]\(([^)]*)\)", description)} == {"https://"}
    for link in re.findall(r"[^!]\[[^\]]*\]\((?!https:|#)([^)#]*)", (ROOT / "README.md").read_text()):
        assert f"(`{link}`)" in description
    assert "report-run.png" not in description and "(``)" not in description


def test_the_wheel_does_the_main_job_from_an_empty_folder(wheel, tmp_path):
    """Unpacked before everything else on the path, so that the checkout is not what runs."""
    site, empty = tmp_path / "site", tmp_path / "empty"
    empty.mkdir()
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    environment = {**os.environ, "PYTHONPATH": str(site)}
    where = "import pruneflow; print(pruneflow.__file__)"
    shown = subprocess.run(
        [sys.executable, "-c", where], cwd=empty, env=environment, capture_output=True, text=True, check=True
    )
    assert Path(shown.stdout.strip()).is_relative_to(site)
    mine = empty / "mine" / "schedule"
    mine.mkdir(parents=True)
    text = "defaults:\n  - polynomial\n  - _self_\n\n# A steeper target.\nfinal_sparsity: 0.7\n"
    (mine / "steep.yaml").write_text(text)
    line = [sys.executable, "-m", "pruneflow", *QUICK, "--config-dir", "mine", "schedule=steep"]
    done = subprocess.run(line, cwd=empty, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (file,) = (empty / "outputs").glob("*/*/result.json")
    assert json.loads(file.read_text())["pruned"]["requested_sparsity"] == 0.7


SCRIPT = shutil.which("pruneflow", path=str(Path(sys.executable).parent))


@pytest.mark.skipif(SCRIPT is None, reason="pruneflow is not installed in this environment")
def test_the_console_script_is_the_module():
    done = subprocess.run([SCRIPT, "--version"], capture_output=True, text=True, check=True)
    assert done.stdout == f"pruneflow {pruneflow.__version__}\n"


@pytest.mark.skipif(SCRIPT is None, reason="pruneflow is not installed in this environment")
@pytest.mark.parametrize(
    ("typed", "completions"),
    [
        ("pruneflow model=m", ["model=mlp", "model=mobilenet"]),
        ("pruneflow schedule.final", ["schedule.final_sparsity="]),
        ("pruneflow export=dyn", ["export=dynamic-range"]),
    ],
)
def test_tab_completes_groups_options_and_keys(typed, completions):
    """What the script that --shell-completion installs asks for at each tab."""
    environment = {**os.environ, "COMP_LINE": typed, "COMP_POINT": str(len(typed))}
    done = subprocess.run(
        [SCRIPT, "--shell-completion", "query=bash"],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == completions
    installed = subprocess.run(
        [SCRIPT, "--shell-completion", "install=bash"], capture_output=True, text=True, check=True
    )
    assert "complete" in installed.stdout
