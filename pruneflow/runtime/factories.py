"""Functions of the user's own, named on the command line as ``package.module:function``."""

import importlib.util
import os
import re
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from operator import attrgetter
from pathlib import Path
from typing import Any

from pruneflow.errors import ConfigError, PruneflowError
from pruneflow.options import require

FORM = re.compile(r"[^\W\d]\w*(?:\.[^\W\d]\w*)*:[^\W\d]\w*(?:\.[^\W\d]\w*)*")


def check_name(key: str, name: str | None) -> None:
    """Refuse what is not spelled ``package.module:function``, before anything is imported."""
    problem = "it must be spelled package.module:function"
    remedy = f"Write for instance {key}=mine:load for the function load in mine.py of this folder."
    require(name is not None and FORM.fullmatch(name) is not None, key, name, problem, remedy)


def checked_arguments(key: str, arguments: Any) -> dict[str, Any]:
    """Refuse what cannot be keyword arguments; null is as good as none."""
    fits = isinstance(arguments or {}, Mapping) and all(str(name).isidentifier() for name in arguments or {})
    problem = "allowed is {name:value,...}, each the name of an argument"
    require(fits, key, arguments, problem, "Write for instance {units:32}.")
    return dict(arguments or {})


def found(key: str, name: str) -> Callable[..., Any]:
    """Import the function; modules of the current folder are found too.

    Raises:
        ConfigError: if there is no such module or function, or if the module cannot be imported.
    """
    module_name, _, path = name.partition(":")
    _refuse_hidden(key, name, module_name.partition(".")[0])
    with _current_folder():
        module = _imported(key, name, module_name)
    try:
        value = attrgetter(path)(module)
    except AttributeError as error:
        functions = [each for each, held in vars(module).items() if callable(held) and each[0] != "_"]
        held = f"it has {', '.join(sorted(functions)[:8])}" if functions else "it has no functions"
        problem = f"the module {module_name} has no {path}; {held}"
        raise ConfigError.of(key, name, problem, "Name one.") from error
    require(
        callable(value), key, name, f"it is no function, but {type(value).__name__}", "Name a function of it."
    )
    return value  # type: ignore[no-any-return]


def _refuse_hidden(key: str, name: str, top: str) -> None:
    """Refuse a module of the current folder that is called as one of Python's, which is found before it."""
    hidden = top in sys.stdlib_module_names and Path(f"{top}.py").is_file()
    problem = f"{top} is a module of Python too, which is found before {top}.py"
    require(not hidden, key, name, problem, "Give the file another name.")


def called(key: str, name: str, arguments: Mapping[str, Any], *first: Any) -> Any:
    """Import the function and call it with keyword arguments.

    Raises:
        ConfigError: if it cannot be had, see `found`.
        PruneflowError: if it raises; with the file and the line at which it did.
    """
    function = found(key, name)
    try:
        with _current_folder():
            return function(*first, **arguments)
    except PruneflowError:
        raise
    except (Exception, SystemExit) as error:
        given = [*map(repr, first), *(f"{each}={value!r}" for each, value in arguments.items())]
        call = f"{name.partition(':')[2]}({', '.join(given)})"
        raise PruneflowError(f"{key}={name}: {call} raised {_told(error)}. Mend the function.") from error


def _imported(key: str, name: str, module: str) -> Any:
    os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")  # the module may import TensorFlow
    before = set(sys.modules)
    try:
        imported = importlib.import_module(module)
        _remember(before)
        return imported
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module}.".startswith(f"{error.name}."):
            raise _not_importable(key, name, error) from error
        remedy = f"Start in the folder that holds {module.split('.')[0]}.py or its package, or install it."
        raise ConfigError.of(key, name, f"there is no module {error.name}", remedy) from error
    except (Exception, SystemExit) as error:  # a module of the user's own can raise anything
        raise _not_importable(key, name, error) from error


def _not_importable(key: str, name: str, error: BaseException) -> ConfigError:
    problem = f"importing {name.partition(':')[0]} raised {_told(error)}"
    return ConfigError.of(key, name, problem, "Mend the module.")


def _told(error: BaseException) -> str:
    """Name an exception and where it was raised: in code of the current folder, if any was at work there.

    A file that is missing is looked for by NumPy, and named by somebody else.
    """
    frames = [
        frame for frame in traceback.extract_tb(error.__traceback__) if "importlib" not in frame.filename
    ]
    others = [frame for frame in frames if Path(frame.filename) != Path(__file__)]
    own = [frame for frame in others if _is_own(Path(frame.filename))] or others
    where = f" ({own[-1].filename}, line {own[-1].lineno})" if own else ""
    if isinstance(error, SyntaxError):
        where = f" ({error.filename}, line {error.lineno})"
        return f"{type(error).__name__}: {error.msg}{where}"
    said = " ".join(str(error).split())
    return type(error).__name__ + (f": {said}" if said else "") + where


def _is_own(file: Path) -> bool:
    """Return whether a file lies in or below the current folder, and in no installed package."""
    return file.is_relative_to(Path.cwd()) and "site-packages" not in file.parts


_imported_files: dict[str, tuple[Path, bytes]] = {}


def _remember(before: set[str]) -> None:
    """Note the files of the user's own that an import has read, so that `forget` sees when they change."""
    for name in set(sys.modules) - before:
        file = getattr(sys.modules[name], "__file__", None)
        if file and _is_own(Path(file)):
            _imported_files[name] = Path(file), Path(file).read_bytes()


def forget() -> None:
    """Import modules anew that have changed since they were imported here, or are of another folder.

    If one has changed, all of them are: they may have taken things from each other.
    """
    stale = [
        name
        for name, (file, content) in _imported_files.items()
        if not (_is_own(file) and file.is_file() and file.read_bytes() == content)
    ]
    if stale:
        for name, (file, _) in _imported_files.items():
            sys.modules.pop(name, None)
            # Python takes the compiled file where size and whole second of the source are the same.
            Path(importlib.util.cache_from_source(file)).unlink(missing_ok=True)
        _imported_files.clear()


@contextmanager
def _current_folder() -> Iterator[None]:
    """Find modules of the current folder first, as ``python -m`` does; the console script would not."""
    folder = str(Path.cwd())
    sys.path.insert(0, folder)
    importlib.invalidate_caches()  # a file that was written a moment ago
    try:
        yield
    finally:
        sys.path.remove(folder)
