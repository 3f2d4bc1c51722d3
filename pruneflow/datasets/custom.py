"""Data that a function of the user's own returns."""

from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from pruneflow.datasets.base import Answered
from pruneflow.datasets.looks import looked
from pruneflow.datasets.reading.custom import check_data, given_of
from pruneflow.datasets.reading.given import assembled
from pruneflow.datasets.spec import Data, Spec
from pruneflow.datasets.split import digest_of
from pruneflow.options import open_mapping, option, require
from pruneflow.runtime.factories import called, check_name, checked_arguments

KEY = "dataset.factory"


@option("dataset", "custom")
@dataclass(kw_only=True)
class Custom(Answered):
    """The data that a function of the user's own returns."""

    kind = None

    factory: str | None
    arguments: dict[str, Any] = field(default_factory=partial(open_mapping, Any))

    def __post_init__(self) -> None:
        super().__post_init__()
        check_name(KEY, self.factory)
        self.arguments = checked_arguments("dataset.arguments", self.arguments)

    def load(self) -> Data:
        """Call the function.

        Returns:
            Its `Data` under this option's name, checked, with a digest of its content; or its arrays, cut as
            `Arrays` does.
        """
        name = str(self.factory)
        value, where = called(KEY, name, self.arguments), f"{KEY}={name}"
        if not isinstance(value, Data):
            return assembled(given_of(where, value), self._plan, self._aim(where))
        check_data(where, value)
        self._check_task(value.spec)
        digest = digest_of(value.train, value.validation, value.test)
        names, left = tuple(value.class_names), tuple(value.left_out)
        value = replace(value, name=self.name, source=value.source or where, digest=digest)
        return looked(replace(value, class_names=names, left_out=left))

    def _check_task(self, spec: Spec) -> None:
        found = "regression" if spec.targets else "classification"
        problem = f"the Data that {self.factory} returns is for a {found}"
        require(self.task == found, "dataset.task", self.task, problem, f"Set it to {found}.")
