"""``python -m pruneflow.deploy``: what an app must know of the files of a run; a file as an array in C."""

import argparse
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path

from pruneflow.errors import ConfigError
from pruneflow.exports import tflite
from pruneflow.exports.c_array import lacking_in_micro, resolver_lines, write_c_array
from pruneflow.flow import results
from pruneflow.flow.figures import Result, TfliteResult
from pruneflow.flow.run_folder import failure_in
from pruneflow.report.contract import contract_lines, port_line
from pruneflow.runtime.process import run_command
from pruneflow.runtime.terminal import answered, say, warn

COMMAND = "python -m pruneflow.deploy"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line: 0 done, 1 a file cannot be read or written, 2 something else is to be named."""
    parser = argparse.ArgumentParser(
        COMMAND, description=__doc__, allow_abbrev=False, epilog="docs/deploy.md has apps in four languages."
    )
    parser.add_argument("run", type=Path, metavar="RUN", help="folder of a finished run")
    parser.add_argument(
        "file", nargs="?", metavar="FILE", help="one of its files; --c-array needs it where there are several"
    )
    parser.add_argument(
        "--c-array", action="store_true", help="write the file as a .c and a .h, with its operations"
    )
    chosen = parser.parse_args(arguments)
    return answered(lambda: _carry_out(chosen.run, chosen.file, c_array=chosen.c_array))


def _carry_out(run: Path, name: str | None, *, c_array: bool) -> None:
    result = _result(run)
    files = _chosen(run, result, name)
    if c_array and len(files) > 1:
        raise ConfigError(
            f"{run} has several files: {_names(files)}. Name one: "
            f"{COMMAND} {shlex.quote(str(run))} {files[-1].file} --c-array"
        )
    for line in contract_lines(result):
        _say(line)
    for file in files:
        path = run / file.file
        content = tflite.read(path)
        graph = tflite.parse(content, str(path))
        about = [*_about(file, graph), *(_micro(graph) if name or c_array else ())]
        _say("", file.file, *(f"  {line}" for line in about))
        if c_array:
            written = write_c_array(path, content, [*contract_lines(result), *about])
            _say(*(f"Written    {each}" for each in written))
            for reason in lacking_in_micro(graph):
                warn(reason)


def _result(run: Path) -> Result:
    if not run.is_dir():
        raise ConfigError(f"{run}: there is no such folder. Name the folder of a run, below outputs/.")
    try:
        return results.read(run)
    except FileNotFoundError as error:
        failed = failure_in(run)
        why = f"the run failed: {failed}" if failed else "there is no result.json in it."
        raise ConfigError(f"{run}: {why} Name the folder of a finished run, below outputs/.") from error


def _chosen(run: Path, result: Result, name: str | None) -> list[TfliteResult]:
    """All files of the run, or the one that is named."""
    chosen = [file for file in result.tflite if name in (None, file.file)]
    if not chosen:
        raise ConfigError(f"{run} has no file {name}; it has {_names(result.tflite)}. Name one of these.")
    return chosen


def _names(files: Sequence[TfliteResult]) -> str:
    return ", ".join(file.file for file in files)


def _about(file: TfliteResult, graph: tflite.Graph) -> Iterator[str]:
    """Yield what an app must know of one file."""
    if file.inside and (tensors := port_line(file.inside)):
        yield tensors
    if graph.stateful:
        yield "State    kept between invocations: it must be reset before each example."


def _micro(graph: tflite.Graph) -> list[str]:
    """The lines of C++ that TFLite Micro needs."""
    return ["Micro    operations:", *(f"         {line}" for line in resolver_lines(list(graph.op_counts)))]


def _say(*lines: str) -> None:
    for line in lines:
        say(line)


if __name__ == "__main__":
    run_command(main)
