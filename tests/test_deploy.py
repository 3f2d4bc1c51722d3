"""``python -m pruneflow.deploy``: the contract of a run, and its files as arrays in C."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from results_fixtures import exported, result, write_run
from support import ROOT
from test_cli import DOCUMENTED
from test_tflite import file_of, quantized, tensor_of

from pruneflow import deploy
from pruneflow.exports.c_array import resolver_lines
from pruneflow.flow import results

PORTS = {
    "inputs": [{"name": "in", "shape": [1, 2], "dtype": "int8", "scale": 0.5, "zero_point": -128}],
    "outputs": [{"name": "out", "shape": [1, 3], "dtype": "int8", "scale": 0.25, "zero_point": 3}],
}
READS = {
    "file": "array",
    "kind": "numbers",
    "shape": [2],
    "pixels": None,
    "resize": "",
    "white": None,
    "words": "",
    "vocabulary_size": 0,
    "mean": [1.0, 2.0],
    "scale": [3.0, 4.0],
}
CONTRACT = {"reads": READS, "gives": "logits", "target_scale": [], "target_mean": [], "script": "use.py"}


def made(*, dtype: str = "INT8", operation: str = "FULLY_CONNECTED") -> bytes:
    """A file of 2 inputs and 3 outputs."""
    scale = quantized([0.5], [-128])
    ends = [tensor_of((1, size), dtype, quantization=scale) for size in (2, 3)]
    weight = tensor_of((3, 2), "INT8", buffer=1, quantization=scale)
    ops = [(operation, [0, 1, -1], [2])]
    return file_of([ends[0], weight, ends[1]], ops, buffers=[bytes(range(6))])


def run_of(folder: Path, *kinds: str, content: bytes | None = None, **facts: Any) -> Path:
    """A finished run with a contract, and a file for each kind."""
    files = [exported(kind) for kind in kinds]
    for file in files:
        file["inside"] |= PORTS
    write_run(folder, {**result(*files), "contract": CONTRACT, **facts})
    for file in files:
        (folder / file["file"]).write_bytes(content or made())
    return folder


def said(capsys: pytest.CaptureFixture[str], *typed: str) -> tuple[int, str, str]:
    """Exit code, what was printed, and the error in one line."""
    try:
        code = deploy.main(list(typed))
    except SystemExit as ended:
        code = int(str(ended.code))
    captured = capsys.readouterr()
    return code, captured.out, " ".join(captured.err.split())


def test_the_contract_of_a_run_is_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = said(capsys, str(run_of(tmp_path / "run", "float", "int8")))
    assert code == 0
    assert out.splitlines() == [
        "Input    2 numbers, minus mean 1, 2, by scale 3, 4.",
        "Output   logits of 3 classes, 0 to 2; softmax makes probabilities of them.",
        "Use      python use.py EXAMPLE.npy; docs/deploy.md has apps and microcontrollers.",
        *("", "pruned-float.tflite", f"  {TENSORS}", "", "pruned-int8.tflite", f"  {TENSORS}"),
    ]


TENSORS = (
    "Tensors  in (int8, 1 x 2, scale 0.5, zero point -128) to out (int8, 1 x 3, scale 0.25, zero point 3)."
)


def test_a_run_of_before_has_no_contract_but_an_array(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = run_of(tmp_path / "run", "int8", contract=None)
    code, out, _ = said(capsys, str(folder), "--c-array")
    assert code == 0 and "Input" not in out
    assert (folder / "pruned_int8.c").is_file()


def test_an_array_in_c_has_the_bytes_of_the_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = run_of(tmp_path / "run", "int8")
    for _ in range(2):  # what is pruneflow's is written over
        assert said(capsys, str(folder), "--c-array")[0] == 0
    content, source = made(), (folder / "pruned_int8.c").read_text()
    array = re.findall(r"\{\n(.*?)\n\};", source, flags=re.S)[0]
    assert bytes(int(each, 16) for each in re.findall(r"0x[0-9a-f]{2}", array)) == content
    assert f"const unsigned int pruned_int8_size = {len(content)};" in source
    header = (folder / "pruned_int8.h").read_text()
    assert f"// {TENSORS}" in header
    assert "resolver.AddFullyConnected();" in header


@pytest.mark.skipif(not shutil.which("gcc") or not shutil.which("g++"), reason="there is no gcc")
def test_an_array_in_c_is_linked_into_c_and_into_c_plus_plus(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = run_of(tmp_path / "run", "int8")
    assert said(capsys, str(folder), "--c-array")[0] == 0
    main = '#include <stdio.h>\n#include "pruned_int8.h"\nint main(void) {'
    main += " return (((unsigned long long)pruned_int8) % 16 != 0)"
    main += " || fwrite(pruned_int8, 1, pruned_int8_size, stdout) != pruned_int8_size; }\n"
    for compiler, name in (("gcc", "main.c"), ("g++", "main.cpp")):
        (folder / name).write_text(main)
        strict = ["-Wall", "-Wextra", "-Werror"]
        subprocess.run(["gcc", *strict, "-c", "pruned_int8.c", "-o", "array.o"], cwd=folder, check=True)
        subprocess.run([compiler, *strict, name, "array.o", "-o", "main"], cwd=folder, check=True)
        assert subprocess.run(["./main"], cwd=folder, capture_output=True, check=True).stdout == made()


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ({"dtype": "FLOAT32"}, "TFLite Micro has no kernels for integer weights beside float numbers"),
        ({"operation": "DENSIFY"}, "TFLite Micro reads no sparse-encoded"),
        ({"operation": "GELU"}, "TFLite Micro has no GELU (tflite-micro "),
    ],
)
def test_a_file_that_micro_cannot_run_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: dict[str, str], problem: str
) -> None:
    folder = run_of(tmp_path / "run", "int8", content=made(**content))
    code, out, _ = said(capsys, str(folder), "--c-array")
    assert code == 0 and problem in out
    assert problem not in said(capsys, str(run_of(tmp_path / "other", "int8")), "--c-array")[1]


def test_operations_are_spelled_as_tflite_micro_spells_them() -> None:
    """As in micro_mutable_op_resolver.h of tflite-micro."""
    spelled = {
        "DEPTHWISE_CONV_2D": "AddDepthwiseConv2D",
        "L2_POOL_2D": "AddL2Pool2D",
        "RELU6": "AddRelu6",
        "BATCH_MATMUL": "AddBatchMatMul",
        "UNIDIRECTIONAL_SEQUENCE_LSTM": "AddUnidirectionalSequenceLSTM",
        "PADV2": "AddPadV2",
        "SPLIT_V": "AddSplitV",
        "CUMSUM": "AddCumSum",
    }
    assert resolver_lines(list(spelled)) == [
        "tflite::MicroMutableOpResolver<8> resolver;",
        *(f"resolver.{add}();" for add in spelled.values()),
    ]


@pytest.fixture
def folders(tmp_path: Path) -> None:
    """Those that docs/bad_input.md speaks of, in the current folder."""
    run_of(Path("one"), "int8")
    run_of(Path("two"), "float", "int8")
    run_of(Path("taken"), "int8")
    Path("taken/pruned_int8.h").write_text("// mine\n")
    run_of(Path("gone"), "int8")
    Path("gone/pruned-int8.tflite").unlink()
    Path("empty").mkdir()
    Path("failed").mkdir()
    Path("failed/failure.json").write_text(json.dumps({"message": "no memory."}))
    run_of(Path("broken"), "int8")
    Path("broken/result.json").write_text("{")


ROWS = re.findall(
    r"^\| `(.+?)` \| (.+) \| (\d) \|$", DOCUMENTED.split("## Deploying")[1].split("\n## ")[0], flags=re.M
)


@pytest.mark.parametrize(("typed", "answer", "expected"), ROWS)
@pytest.mark.usefixtures("folders")
def test_bad_input_gets_one_message(
    capsys: pytest.CaptureFixture[str], typed: str, answer: str, expected: str
) -> None:
    code, _, error = said(capsys, *typed.split())
    assert code == int(expected)
    pattern = ".*".join(re.escape(piece.strip()) for piece in answer.split("..."))
    assert re.fullmatch(pattern, error.removeprefix("usage: ").split("error: ")[-1]), error
    assert not list(Path().glob("*/*.c"))


def test_the_rows_of_bad_input_are_found() -> None:
    assert len(ROWS) >= 8


def test_a_contract_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    found = results.read(run_of(tmp_path / "run", "int8"))
    of_before = {"channels_first": False}  # which CONTRACT does not say
    assert json.loads(json.dumps(asdict(found.contract))) == {
        **CONTRACT,
        "reads": CONTRACT["reads"] | of_before,
    }
    assert found.tflite[0].inside.inputs[0].zero_point == -128
    assert found.contract.reads.mean == (1.0, 2.0)


def test_the_docs_register_the_operations_of_the_main_job() -> None:
    docs = (ROOT / "docs" / "deploy.md").read_text(encoding="utf-8")
    for line in resolver_lines(["CONV_2D", "MAX_POOL_2D", "RESHAPE", "FULLY_CONNECTED"]):
        assert line in docs
    for link in re.findall(r"\]\((?!http)([^)#]+)\)", docs):
        assert (ROOT / "docs" / link).exists()
