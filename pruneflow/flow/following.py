"""Stages of a training on several workers: the chief decides and writes, the others follow.

Every worker goes through the same stages in the same order. Of each the chief says whether it is missing. If
so, all of them make it, which trains together, and the chief alone keeps it. Then the chief sends its files.
"""

import json
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from pruneflow.errors import PruneflowError
from pruneflow.flow.manifests import SCRATCH, digest_of
from pruneflow.flow.store import Held, Stage, Store
from pruneflow.runtime.replicas import CalledOffError, Replicas, WorkerLostError, current

_END = "end"


def shared(store: Store) -> Store:
    """Return a store whose stages all workers make together; ``store`` itself where there is one process."""
    together = current()
    return _Led(store, together) if together and together.workers > 1 else store


def followed(work: Callable[[Store, Path], object]) -> int:
    """Follow the chief until it ends.

    Args:
        work: Goes through the stages as the chief does, with a store and the folder of a run, which are
            deleted then.

    Returns:
        The exit code of the chief.

    Raises:
        WorkerLostError: if another worker is gone.
    """
    together = current()
    assert together and not together.is_chief, "another worker is the chief"
    with tempfile.TemporaryDirectory() as folder:
        try:
            work(_Followed(Path(folder), together), Path(folder))
            said = _heard(together)
        except _EndedError as ended:
            return ended.code
    raise PruneflowError(f"The chief goes on with {said}, which this worker does not know. {_ALIKE}")


def end(code: int) -> None:
    """Tell the other workers, where there are any that listen, how the chief ends."""
    together = current()
    if together and together.is_chief and together.workers > 1 and not together.in_step:
        with suppress(WorkerLostError):  # they have ended
            _tell(together, {_END: code})
            together.told(b"")  # they have read it


_ALIKE = "Type the same command on all workers, with the same version and data."


class _EndedError(Exception):
    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


def _tell(together: Replicas, message: Mapping[str, Any]) -> None:
    together.told(json.dumps(message).encode())


def _heard(together: Replicas) -> dict[str, Any]:
    return _read(together, together.told(b""))


def _read(together: Replicas, said: bytes) -> dict[str, Any]:
    message: dict[str, Any] = json.loads(said)
    if _END in message:
        with suppress(WorkerLostError):  # the chief has ended
            together.told(b"")
        raise _EndedError(int(message[_END]))
    return message


class _Led(Store):
    """The store of the chief."""

    def __init__(self, store: Store, together: Replicas) -> None:
        super().__init__(store.folder.parent, reuse=store.reuse)
        self._together = together

    @contextmanager
    def held(self, name: str, inputs: Mapping[str, Any]) -> Iterator[Held]:
        """Hold a stage as any store does; the others hear of it."""
        with super().held(name, inputs) as held:
            _tell(self._together, {"stage": held.stage.digest, "missing": held.missing})
            if not held.missing:
                _send(self._together, held.stage)
            yield _LedStage(held.stage, held.missing, held.facts, self._together)


class _LedStage(Held):
    def __init__(self, stage: Stage, missing: bool, facts: dict[str, Any], together: Replicas) -> None:
        super().__init__(stage, missing, facts)
        self._together = together

    @contextmanager
    def making(self) -> Iterator[Path]:
        """Make the stage, and send it."""
        with super().making() as folder:
            yield folder
        _tell(self._together, {"made": self.stage.digest})
        _send(self._together, self.stage)


class _Followed(Store):
    """The store of another worker: empty at first, and gone with it."""

    def __init__(self, folder: Path, together: Replicas) -> None:
        super().__init__(folder)
        self._together = together

    @contextmanager
    def held(self, name: str, inputs: Mapping[str, Any]) -> Iterator[Held]:
        """Hold what the chief holds.

        Raises:
            PruneflowError: if this worker comes to another stage, as with other settings or other data.
        """
        digest, said = digest_of(name, inputs), _heard(self._together)
        if said.get("stage") != digest:
            raise PruneflowError(f"This worker has other settings or data than the chief. {_ALIKE}")
        stage = Stage(digest, str(self.folder / name / digest), not said["missing"])
        Path(stage.path, SCRATCH).mkdir(parents=True, exist_ok=True)
        if not said["missing"]:
            _receive(self._together, stage)
        yield _FollowedStage(stage, said["missing"], {}, self._together)


class _FollowedStage(_LedStage):
    @contextmanager
    def making(self) -> Iterator[Path]:
        """Make the stage with the others, and take the files of the chief."""
        with tempfile.TemporaryDirectory() as folder:
            Path(folder, SCRATCH).mkdir()
            failed: PruneflowError | None = None
            try:
                yield Path(folder)
            except CalledOffError as off:
                _read(self._together, off.said)
            except PruneflowError as error:
                if isinstance(error, WorkerLostError) or self._together.in_step:
                    raise  # others wait for the same step, not for words
                failed = error  # in the chief too, which says so, or here alone
        if "made" not in _heard(self._together) and failed:
            raise failed  # the chief begins a training
        _receive(self._together, self.stage)
        self.missing = False


def _send(together: Replicas, stage: Stage) -> None:
    files = [each for each in sorted(Path(stage.path).iterdir()) if each.is_file()]
    together.told(json.dumps([each.name for each in files]).encode())
    for each in files:
        together.told(each.read_bytes())


def _receive(together: Replicas, stage: Stage) -> None:
    for name in json.loads(together.told(b"")):
        Path(stage.path, name).write_bytes(together.told(b""))
