"""The pages: their links lead somewhere, their commands compose, and the site is built from them alone."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from contextlib import suppress
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import hydra
import pytest
from conftest import with_keys
from support import ROOT

import pruneflow
from pruneflow.command import cli
from pruneflow.flow.config import from_hydra
from pruneflow.options import choices

PAGES = [*sorted((ROOT / "docs").glob("*.md")), *sorted(ROOT.glob("*.md"))]
# Tests of their own run the commands of these pages, or load their data.
ELSEWHERE = {"README.md", "options.md", "sweeps.md", "data.md", "models.md", "parallel.md", "walkthrough.md"}
LINK = re.compile(r"\]\((?!\w+:)([^)#\s]*)#?([^)\s]*)\)")


def prose(page: Path) -> str:
    """The text of a page without its blocks of code."""
    return re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.S)


def anchors(page: Path) -> set[str]:
    """What links to the headings of a page end with."""
    titles = re.findall(r"^#+ (.+)$", prose(page), re.M)
    return {re.sub(r"[^\w\- ]", "", title).strip().lower().replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_of_a_page_leads_to_a_file_and_a_heading(page: Path) -> None:
    for target, anchor in LINK.findall(prose(page)):
        file = (page.parent / target).resolve() if target else page
        assert file.exists(), target
        assert not anchor or anchor in anchors(file), f"{target}#{anchor}"


def commands(page: Path) -> list[str]:
    """What follows ``python -m pruneflow`` in the blocks of a page."""
    blocks = re.findall(r"```sh\n(.*?)```", page.read_text(encoding="utf-8"), flags=re.S)
    lines = [line.split("  #")[0] for block in blocks for line in block.splitlines()]
    return [line.partition("pruneflow ")[2] for line in lines if line.startswith("python -m pruneflow ")]


WITH_COMMANDS = [page for page in PAGES if page.name not in ELSEWHERE and commands(page)]


def test_the_pages_of_tasks_have_commands() -> None:
    tasks = {"prune_my_model.md", "make_it_fast.md", "make_it_small.md", "compare_methods.md"}
    assert tasks <= {page.name for page in WITH_COMMANDS}


@pytest.mark.parametrize("page", WITH_COMMANDS, ids=lambda page: page.name)
def test_every_command_of_a_page_is_typed_as_a_shell_takes_it_and_composes(
    page: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of several values of a setting the first, whatever extras are installed."""
    for option in [*choices("export").values(), *choices("logger").values()]:
        monkeypatch.setattr(option, "check_installed", lambda _: None)
    with hydra.initialize_config_dir(str(cli.config_folder()), version_base="1.3"):
        for command in commands(page):
            typed = subprocess.run(["bash", "-c", f"printf '%s\\n' {command}"], stdout=-1, check=True).stdout
            words = shlex.split(command)
            assert typed.decode().splitlines() == words  # no brace was expanded
            items = [word.partition("=") for word in words if word != "-m"]
            first = [f"{key}={text if text[:1] in '{[' else text.split(',')[0]}" for key, _, text in items]
            from_hydra(with_keys(*first))


def of_tools() -> list[tuple[str, str]]:
    """Module and words of every command of another tool, such as ``python -m pruneflow.report``."""
    text = "\n".join(page.read_text(encoding="utf-8") for page in PAGES)
    blocks = "\n".join(re.findall(r"```sh\n(.*?)```", text, flags=re.S))
    return sorted(set(re.findall(r"^python -m (pruneflow\.\w+) *(.*?)(?:  #.*)?$", blocks, flags=re.M)))


def test_every_command_of_another_tool_has_options_that_it_takes(capsys: pytest.CaptureFixture[str]) -> None:
    assert {module for module, _ in of_tools()} == {
        f"pruneflow.{name}" for name in ("clean", "deploy", "evaluate", "latency", "report", "sensitivity")
    }
    for module, words in of_tools():
        tool = import_module(f"{module}.__main__" if module == "pruneflow.report" else module)
        with suppress(SystemExit):
            tool.main(["--help"])
        taken = capsys.readouterr().out
        for option in re.findall(r"--[\w-]+", words):
            assert option in taken, f"{module} {words}"


@pytest.mark.run
def test_the_training_script_on_the_page_of_tasks_runs(tmp_path: Path) -> None:
    """As written, on a small model, and with as many steps as it makes."""
    from test_api import examples, keras

    page = (ROOT / "docs" / "prune_my_model.md").read_text(encoding="utf-8")
    function, training, at_once = re.findall(r"```python\n(.*?)```", page, flags=re.S)
    x, y = examples()
    names: dict[str, object] = {"x": x, "y": y, "pruneflow": pruneflow}
    exec(function, names)
    spec = pruneflow.Spec(kind="numbers", shape=(8,), classes=2)
    for block in (training.replace("steps=2000", "steps=50"), at_once):
        layers = [keras().Input((8,)), keras().layers.Dense(16), keras().layers.Dense(2, "softmax")]
        exec(block, {**names, "model": keras().Sequential(layers)})
    assert names["network"](spec).output_shape == (None, 2)  # type: ignore[operator]
    assert (tmp_path / "small.tflite").stat().st_size > 0


# The site


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The pages of the site, built with warnings as errors: --quiet would hide them from --strict."""
    if find_spec("mkdocs") is None or find_spec("mkdocstrings") is None:
        pytest.skip('the site needs pip install -e ".[docs]"')
    folder = tmp_path_factory.mktemp("site")
    line = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(line, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


@pytest.mark.long
def test_the_site_has_every_page_and_finds_it(site: Path) -> None:
    pages = {page.name for page in site.glob("*.html")}
    assert {page.with_suffix(".html").name for page in (ROOT / "docs").glob("*.md")} | {"index.html"} <= pages
    found = json.loads((site / "search" / "search_index.json").read_text(encoding="utf-8"))
    assert {entry["location"].partition("#")[0] for entry in found["docs"]} >= pages - {"404.html"}
    assert not list(site.rglob("*.py"))


@pytest.mark.long
def test_the_site_loads_nothing_from_elsewhere_and_its_links_lead_to_its_files(site: Path) -> None:
    for page in site.glob("*.html"):
        text = page.read_text(encoding="utf-8")
        assert not re.findall(r'(?:<script[^>]*src|<link[^>]*href|<img[^>]*src)="https?:[^"]*"', text)
        for link in re.findall(r'(?:href|src)="(?!https?:|#|/|data:)([^"#?]+)', text):
            assert (site / link).exists(), f"{page.name}: {link}"


@pytest.mark.long
def test_the_site_describes_every_public_name(site: Path) -> None:
    text = (site / "api.html").read_text(encoding="utf-8")
    for name in set(pruneflow.__all__) - {"__version__"}:
        assert f'id="pruneflow.{name}"' in text, name
