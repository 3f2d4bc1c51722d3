"""The line of a long error that says something: of TensorFlow's converter, of Keras, of a traced function."""

import re

LONGEST = 400  # letters of a line that a message repeats

_NO_OPERATION = re.compile(r"^\s*tf\.(\w+)\(|'tf\.(\w+)' op is neither", re.MULTILINE)
_FRAME = re.compile(r'\s*File "')
# Lines that stand around the one that says something.
_AROUND = re.compile(
    r"in user code:|Graph execution error:|Detected at node |Stack trace for op definition|\[\[|"
    r"(\w+: )?Exception encountered when calling |.*: (note|warning): |\d+ root error\(s\) found"
)
_AFTER = ("Call arguments received by", "Original stack trace for")
_OF_MLIR = re.compile(r".*\berror: (?:loc\(.*\): )?")
_KIND = re.compile(r"(?:[A-Za-z_]+\.)*[A-Za-z]*(?:Error|Exception): ")


def lacking(error: Exception) -> list[str]:
    """Names of the operations that TFLite does not have, which a converter's error lists."""
    return sorted({a or b for a, b in _NO_OPERATION.findall(str(error))})


def said(error: Exception) -> str:
    """Find the one line that gives the reason, without a final stop.

    >>> said(ValueError('in user code:\\n\\n  File "a.py", line 5, in g  *\\n    f(x)\\n\\n  TypeError: no'))
    'no'
    >>> said(RuntimeError("<unknown>:0: error: loc(f('a')): 'tf.X' op is odd\\n<unknown>:0: note: from"))
    "'tf.X' op is odd"
    """
    lines = _telling(str(error))
    of_converter = [line for line in lines if _OF_MLIR.match(line)]
    line = (of_converter or lines or [type(error).__name__])[0]
    line = _KIND.sub("", _OF_MLIR.sub("", line)).rstrip(".: ")
    return line if len(line) <= LONGEST else f"{line[:LONGEST]} ..."


def _telling(text: str) -> list[str]:
    """The lines without frames of a traceback, their source, and what stands around a message."""
    found: list[str] = []
    in_frame = False
    for line in text.splitlines():
        is_source, in_frame = in_frame and bool(line.strip()), bool(_FRAME.match(line))
        stripped = line.strip()
        if stripped.startswith(_AFTER) and found:
            break
        if stripped and not in_frame and not is_source and not _AROUND.match(stripped):
            found.append(stripped)
    return found
