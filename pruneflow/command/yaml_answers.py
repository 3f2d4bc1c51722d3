"""Answers about YAML files, a user's own above all: which file, what is wrong with it, what to write."""

import re
from collections.abc import Callable
from contextlib import suppress
from itertools import chain
from pathlib import Path

import yaml  # type: ignore[import-untyped]
from yaml import YAMLError

from pruneflow.command.keys import LOOK, unknown_key
from pruneflow.options import choices, require

DEEPEST = 20  # levels; OmegaConf walks them by recursion
LARGEST_BYTES = 1_000_000

Answers = tuple[tuple[str, Callable[[re.Match[str]], str]], ...]
"""Messages of Hydra, as regular expressions, and the answers in their place."""

# What OmegaConf says: what is allowed.
_ALLOWED = {
    "converted to Float": "it must be a number",
    "converted to Integer": "it must be a whole number",
    "not a valid bool": "it must be true or false",
    "is not Optional": "null is not allowed here",
    "is not a ListConfig": "it must be a list, such as [a,b]",
    "Union[int, str]": "it must be a whole number or auto",
    "Cannot convert": "it must be a single value, not a list or a group of keys",
}


def check_files(folder: Path) -> None:
    """Refuse a config folder that is none, and what Hydra would read in it and never come to an end."""
    require(folder.is_dir(), "--config-dir", folder, "there is no such folder", "Name one.")
    for file in chain.from_iterable(folder.glob(f"{depth}*.yaml") for depth in ("", "*/", "*/*/")):
        with suppress(OSError):  # a link to nothing, or not to be read: Hydra says so
            fits = file.is_dir() or (file.is_file() and file.stat().st_size <= LARGEST_BYTES)
            problem = f"{file} is no file of at most {LARGEST_BYTES:,} bytes"
            require(fits or not file.exists(), "--config-dir", folder, problem, "Remove it.")
            problem = f"in {file}, lists and mappings are more than {DEEPEST} levels deep"
            require(
                not file.is_file() or _depth(file) <= DEEPEST, "--config-dir", folder, problem, "Mend it."
            )


def _depth(file: Path) -> int:
    """Levels of lists and mappings in each other; reading stops where it is too deep, or no YAML."""
    inside: list[str | None] = []  # anchors of what is open
    deepest = 0
    with suppress(YAMLError, UnicodeDecodeError):  # Hydra says so
        for event in yaml.parse(file.read_text(encoding="utf-8"), yaml.SafeLoader):
            if isinstance(event, yaml.CollectionStartEvent):
                inside.append(event.anchor)
            elif isinstance(event, yaml.CollectionEndEvent):
                inside.pop()
            within_itself = isinstance(event, yaml.AliasEvent) and event.anchor in inside
            deepest = max(deepest, DEEPEST + 1 if within_itself else len(inside))
            if deepest > DEEPEST:
                break
    return deepest


def of_syntax(error: YAMLError) -> str:
    """One message for a file that is not YAML."""
    mark, context = getattr(error, "problem_mark", None), getattr(error, "context_mark", None)
    advice = "Mend the file there; indent with blanks, not with tabs."
    if mark is None:
        return f"{' '.join(str(error).split())}. {advice}"
    begun = f" ({error.context} from line {context.line + 1})" if context else ""
    return f"{mark.name}: line {mark.line + 1}: {error.problem}{begun}. {advice}"


def allowed_by(text: str) -> str:
    """Return the values that a key allows, from OmegaConf's message about one that it does not."""
    for sign, allowed in _ALLOWED.items():
        if sign in text:
            return allowed
    return text.strip().splitlines()[0].rstrip(".") if text.strip() else "it cannot be used"


def _file(match: re.Match[str]) -> str:
    return f"{match['path']}.yaml"


def _group(match: re.Match[str]) -> str:
    return match["path"].split("/")[0]


def _of_another_ending(match: re.Match[str]) -> str:
    """A file whose name ends with .yml is not seen; the folders stand in Hydra's message."""
    for folder in re.findall(r"path=file://(.+)", match.string):
        file = Path(folder, f"{match['name']}.yml")
        if file.is_file():
            return f"{file}: only names that end with .yaml are read. Rename it to {file.stem}.yaml."
    return ""


def _without_package(match: re.Match[str]) -> str:
    line = "Write # @package _global_ as its first line."
    return f"{_file(match)}: its keys would lie below {_group(match)}. {line}"


def _with_package(match: re.Match[str]) -> str:
    problem = (
        f"A file of the group {match['group']} has the line # @package _global_, which is for experiments"
    )
    return f"{problem}. Remove it."


def _nested(match: re.Match[str]) -> str:
    group = _group(match)
    return f"{_file(match)}: its keys lie below {group} already. Write them without {group}: above them."


def _unknown(match: re.Match[str]) -> str:
    return f"{_file(match)}: {unknown_key(match['key'])}"


def _value_as_option(match: re.Match[str]) -> str:
    problem = f"{match['value']} stands where the keys of an option belong"
    return f"{_file(match)}: {problem}. Choose it in the defaults list, as in - override /schedule: constant."


def _refused(match: re.Match[str]) -> str:
    value = re.match(r"Value '(.+)' of type", match["problem"])
    shown = f"{match['key']}={value[1]}" if value else match["key"]
    return f"{_file(match)}: {shown}: {allowed_by(match['problem'])}. {LOOK}"


def _not_keys(match: re.Match[str]) -> str:
    return f"{_file(match)}: it holds a list. Write keys and values, as the files in conf/ do."


def _below_itself(match: re.Match[str]) -> str:
    choice = f": {match['choice']}" if match.groupdict().get("choice") else ""
    problem = f"its defaults list asks for {match['group']} below {_group(match)}"
    return f"{_file(match)}: {problem}. Write - override /{match['group']}{choice}, with a slash."


def _no_such_group(match: re.Match[str]) -> str:
    problem = f"override /{match['group']}: there is no such group"
    return f"{_file(match)}: {problem}. python -m pruneflow --help lists them."


def _twice(match: re.Match[str]) -> str:
    group, choice = match["group"], match["choice"]
    remedy = (
        f"In a defaults list write - override /{group}: {choice}, on the command line {group}=, without +"
    )
    return f"{group}: two options of it are chosen. {remedy}."


def _no_such_base(match: re.Match[str]) -> str:
    group, _, _ = match["name"].rpartition("/")
    known = ", ".join(sorted(choices(group)))
    allowed = f"; pruneflow has {known}" if known else ""
    return f"{_file(match)}: its defaults list names {match['name']}, and there is no such file{allowed}."


def _no_list(match: re.Match[str]) -> str:
    return f"{_file(match)}: its defaults are no list. Write for instance defaults: [polynomial, _self_]."


def _no_lines(match: re.Match[str]) -> str:
    return (
        f"{_file(match)}: two entries of its defaults list are one. Begin each with - on a line of its own."
    )


def _no_choice(match: re.Match[str]) -> str:
    return "A group takes the name of one of its options, and no other value. Write group=choice."


def _not_utf8(match: re.Match[str]) -> str:
    remedy = "Convert it, for instance with iconv -f latin1 -t utf-8"
    return f"A YAML file holds {match[1]}, which is not UTF-8. {remedy}."


def _null_key(match: re.Match[str]) -> str:
    return "A YAML file of yours has null as a key. Write a name there, in quotes if it is to be 'null'."


_IN = r"^In '(?P<path>.+?)': "
_COMPOSING = rf"{_IN}\w+ raised while composing config:\n"

ANSWERS: Answers = (
    (r"Could not (?:find|load) '(?P<name>.+?)'", _of_another_ending),
    (r"^In '(?P<path>(\w+)/.+?)': .*\nKey '\2' not in 'Config'", _without_package),
    (r"^In '(?P<path>(\w+)/.+?)': .*\nKey '\2' not in '", _nested),
    (rf"{_COMPOSING}Key .*\n +full_key: (?P<key>\S+)", _unknown),
    (r"^In 'schema/(?P<group>\w+)/.*\nMerge error: \w+ is not a subclass of Config", _with_package),
    (rf"{_COMPOSING}Merge error: .* value: (?P<value>.+)", _value_as_option),
    (rf"{_COMPOSING}(?P<problem>.+)\n +full_key: (?P<key>\S+)", _refused),
    (rf"{_COMPOSING}Cannot merge DictConfig with ListConfig", _not_keys),
    (
        r"^In '(?P<path>(?!hydra/)(\w+)/.+?)': Could not find '\2/(?P<group>.+)/(?P<choice>.+?)'",
        _below_itself,
    ),
    (r"^In '(?P<path>(?!hydra/)(\w+)/.+?)': Could not override '\2/(?P<group>[\w/]+)", _below_itself),
    (rf"{_IN}Could not override '(?P<group>.+?)'", _no_such_group),
    (r"^Multiple values for (?P<group>.+?)\. To override a value use 'override .+: (?P<choice>.+)'", _twice),
    (rf"{_IN}Could not (?:load|find) '(?P<name>.+?)'\.?\s+Config search path", _no_such_base),
    (r"^Invalid defaults list in '(?P<path>.+?)'", _no_list),
    (r"^In (?P<path>.+?): Too many keys in default item", _no_lines),
    (r"^Config group override must be a string or a list", _no_choice),
    (r"^Incompatible key type 'NoneType'", _null_key),
    (r"^'utf-8' codec can't decode (byte \w+)", _not_utf8),
)
"""Checks of a file, each with its answer; an empty one leaves the word to the next."""
