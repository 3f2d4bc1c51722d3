"""The words of a command line: flags, and settings as key=value; what cannot be meant is refused."""

import argparse
import difflib
import re
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, NoReturn

from hydra._internal.utils import get_args_parser

from pruneflow.command import yaml_answers
from pruneflow.command.keys import is_group
from pruneflow.errors import ConfigError
from pruneflow.options import require
from pruneflow.runtime.files import config_folder

_HELP = "python -m pruneflow --help shows what there is."
_SUBCOMMANDS = ("install", "uninstall", "query")
_SHELLS = ("bash", "fish", "zsh")
LONGEST = 20_000  # characters of one word
TOO_MANY_DIGITS = re.compile(r"\d{1001}")  # Python refuses to read such numbers


class _Parser(argparse.ArgumentParser):
    """Hydra's flags; what is wrong with them is raised in place of printed."""

    def error(self, message: str) -> NoReturn:
        raise ConfigError(f"{message.removeprefix('argument ')}. {_HELP}")


def parse(arguments: Sequence[str]) -> tuple[Any, list[str]]:
    """Read the words of a command line.

    Returns:
        What Hydra's parser makes of them, and the same words in the order that Hydra itself wants: the
        settings together, where people write ``seed=1 -m export=float,int8``.
    """
    parser = _Parser(parents=[get_args_parser()], add_help=False)
    parser.add_argument("--dry-run", action="store_true")
    parser.add_argument("--help-all", action="store_true")
    parsed, unknown = parser.parse_known_intermixed_args(arguments)
    for word in unknown:
        _refuse_flag(word, sorted(parser._option_string_actions))
    rerun = parsed.experimental_rerun
    remedy = "Type the command that is in result.json."
    require(not rerun, "--experimental-rerun", rerun, "pruneflow does not run pickled jobs", remedy)
    if not (parsed.help or parsed.help_all or parsed.hydra_help):
        _check_flags(parsed)
        _check_settings(parsed)
    flags = [word for word in arguments if word not in (*parsed.overrides, "--dry-run")]
    return parsed, flags + parsed.overrides


def shows(parsed: Any) -> bool:
    """Return whether Hydra is only asked to print something."""
    return bool(parsed.hydra_help or parsed.info or parsed.cfg or parsed.shell_completion)


def folders(parsed: Any) -> list[Path]:
    """The config folders: pruneflow's, and the user's where there is one."""
    return [config_folder(), *([Path(parsed.config_dir)] if parsed.config_dir else [])]


def _refuse_flag(word: str, flags: list[str]) -> NoReturn:
    flag, _, value = word.partition("=")
    near = difflib.get_close_matches(flag, flags, n=2, cutoff=0.8)
    setting = f": {word.lstrip('-')}" if value else ", key=value"
    hint = f"Did you mean {' or '.join(near)}?" if near else f"A setting is written without dashes{setting}."
    raise ConfigError(f"{word}: there is no such flag. {hint} {_HELP}")


def _check_flags(parsed: Any) -> None:
    asked = {
        "--run": parsed.run,
        "--multirun": parsed.multirun,
        "--cfg": parsed.cfg,
        "--info": parsed.info,
        "--shell-completion": parsed.shell_completion,
    }
    if parsed.dry_run and shows(parsed):
        raise ConfigError("--dry-run: there is no run in such a command. Leave it out.")
    chosen = [flag for flag, value in asked.items() if value]
    if len(chosen) > 1:
        raise ConfigError(f"{' and '.join(chosen)} exclude each other. Leave one of them out.")
    if parsed.resolve and not parsed.cfg:
        raise ConfigError("--resolve: it goes with --cfg. Write --cfg job --resolve.")
    if parsed.config_dir:
        yaml_answers.check_files(Path(parsed.config_dir))
    remedy = "Add a folder of your own with --config-dir."
    problem = "the config folder is pruneflow's own"
    require(not parsed.config_path, "--config-path", parsed.config_path, problem, remedy)


def _check_settings(parsed: Any) -> None:
    for before, word in pairwise(["", *parsed.overrides]):
        if len(word) > LONGEST or TOO_MANY_DIGITS.search(word):
            problem = f"it has {len(word):,} characters; allowed are {LONGEST:,}, and numbers of 1,000 digits"
            raise ConfigError(f"{word[:40]}...: {problem}. Write less.")
        if "=" not in word and not word.startswith("~"):
            remedy = f"Write key=value; quote values that hold blanks or commas. {_HELP}"
            if before.endswith(","):
                remedy = f"No blank follows a comma: write {before}{word}."
            raise ConfigError(f"{word}: not a setting. {remedy}")
        _check_choice(word, folders(parsed))
    if parsed.shell_completion:
        _check_completion(parsed.overrides)


def _check_choice(word: str, folders: list[Path]) -> None:
    """Refuse what Hydra would take in silence: several options merged, and a recipe that is not there."""
    key, _, value = word.lstrip("+").partition("=")
    if is_group(key) and value.startswith("["):
        listed = value.strip("[]")
        each = f"{key}={listed.split(',')[0]}"
        remedy = f"Write {each}" + (f", or sweep over them: -m {key}={listed}." if "," in listed else ".")
        raise ConfigError(f"{word}: one option of a group is taken, not a list of them. {remedy}")
    group, at, _ = key.partition("@")
    if at and "/" in group and re.fullmatch(r"[\w.-]+", value) and value != "null":
        known = {file.stem for folder in folders for file in (folder / group).glob("*.yaml")}
        problem = f"there is no such option; allowed are {', '.join(sorted(known))}"
        require(value in known, key, value, problem, "Pick one of these.")


def _check_completion(words: list[str]) -> None:
    subcommand, _, shell = words[0].partition("=") if len(words) == 1 else ("", "", "")
    if subcommand not in _SUBCOMMANDS or shell not in _SHELLS:
        raise ConfigError(
            f"--shell-completion: it takes {', '.join(_SUBCOMMANDS)} with {', '.join(_SHELLS)}. "
            'Type eval "$(pruneflow --shell-completion install=bash)".'
        )
