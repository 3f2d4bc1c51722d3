"""The plan of a search: how Optuna chooses trials, and the database that keeps them."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

from hydra.utils import get_method, instantiate
from omegaconf import DictConfig

from pruneflow.command.search_space import grid_of, refusing
from pruneflow.errors import ConfigError
from pruneflow.options import require

DATABASE = "search.db"
STORAGE = "hydra.sweeper.storage"


@dataclass(frozen=True)
class Plan:
    """The settings of a search.

    Attributes:
        space: Optuna's distribution of each key.
    """

    sweeper: DictConfig
    objective: list[str]
    space: dict[str, Any]

    @property
    def directions(self) -> list[Any]:
        """``"maximize"`` or ``"minimize"``, for each objective."""
        found = self.sweeper.direction
        return [found] if isinstance(found, str) else list(found)

    def check(self) -> None:
        """Refuse a sampler, a storage, a study and a function that Optuna could not use.

        One trial is chosen in memory; a database is opened where it is there already.
        """
        import optuna

        _check_function(self.sweeper.custom_search_space)
        if self.sweeper.storage is not None:
            self._check_storage(self.sweeper.storage)
        with quiet(), refusing("hydra/sweeper/sampler", self._sampler_name):
            study = optuna.create_study(sampler=self.sampler(0), directions=self.directions)
            study.ask(self.space)

    def open(self, folder: Path, name: str) -> Any:
        """Open the study, or begin it.

        Args:
            folder: Folder of the sweep, which keeps the database unless ``storage`` names another.
            name: Name of the study, unless ``study_name`` gives one.
        """
        import optuna

        with quiet():
            return optuna.create_study(
                storage=self.sweeper.storage or _address(folder.absolute() / DATABASE),
                sampler=self.sampler(0),
                study_name=self.sweeper.study_name or name,
                directions=self.directions,
                load_if_exists=True,
            )

    def ask(self, study: Any, search: str) -> Any:
        """Choose the next trial, by the trials that have ended.

        Args:
            search: Identity of the search, hexadecimal. In a study that several share each chooses by its own
                random numbers: two at a time would come to the same values.
        """
        own = [int(search, 16)] if self.sweeper.storage else []
        study.sampler = self.sampler(len(study.get_trials(deepcopy=False)), *own)
        return study.ask(self.space)

    @property
    def cells(self) -> int:
        """Cells in all: ``n_trials``, and of a grid no more than it has."""
        grid = prod(map(len, grid_of(self.space).values())) if self.is_grid else None
        most = int(self.sweeper.n_trials)
        return min(most, grid or most)

    def sampler(self, *place: int) -> Any:
        """Make the sampler of one trial: its seed depends on its place, the number of the trial above all.

        A search that was cut off so goes on with the trials that it would have come to.
        """
        from numpy.random import SeedSequence

        settings = self.sweeper.sampler
        if self.is_grid:
            return instantiate(settings)(grid_of(self.space))
        seed = settings.get("seed")
        own = {} if seed is None else {"seed": int(SeedSequence([seed, *place]).generate_state(1)[0])}
        return instantiate(settings, **own)

    @property
    def is_grid(self) -> bool:
        """Return whether all combinations are taken, each once."""
        return self._sampler_name == "GridSampler"

    @property
    def _sampler_name(self) -> str:
        return str(self.sweeper.sampler._target_).rpartition(".")[2]

    def _check_storage(self, storage: Any) -> None:
        remedy = "Write for instance sqlite:///search.db."
        require(isinstance(storage, str), STORAGE, storage, "it must be the address of a database", remedy)
        from sqlalchemy.engine.url import make_url

        with refusing(STORAGE, storage):
            address = make_url(storage)
            address.get_dialect().import_dbapi()
        if address.get_backend_name() != "sqlite" or not address.database:
            return
        file = Path(address.database)
        require(file.parent.is_dir(), STORAGE, storage, f"there is no folder {file.parent}", "Make it.")
        if file.is_file():
            self._check_study(storage)

    def _check_study(self, storage: str) -> None:
        """Refuse to go on with a study of other objectives or values."""
        import optuna

        with quiet(), refusing(STORAGE, storage):
            opened = optuna.storages.RDBStorage(storage)
            name = self.sweeper.study_name
            if name not in optuna.get_all_study_names(opened):
                return
            study = optuna.load_study(study_name=name, storage=opened)
        found = [direction.name.lower() for direction in study.directions]
        problem = f"this study has the directions {', '.join(found)}, and the objectives have others"
        require(found == self.directions, "hydra.sweeper.study_name", name, problem, "Name another.")
        for trial in study.get_trials(deepcopy=False):
            for key in trial.distributions.keys() & self.space.keys():
                self._check_same(key, trial.distributions[key], name)

    def _check_same(self, key: str, before: Any, name: str) -> None:
        from optuna.distributions import check_distribution_compatibility

        try:
            check_distribution_compatibility(before, self.space[key])
        except ValueError as error:
            problem = f"this study has other values of {key}"
            raise ConfigError.of("hydra.sweeper.study_name", name, problem, "Name another.") from error


def _address(file: Path) -> str:
    """The address of a SQLite database; letters that an address has a use for are escaped."""
    from sqlalchemy import URL

    address = URL.create("sqlite", database=file.as_uri(), query={"uri": "true"})
    return address.render_as_string(hide_password=False)


def _check_function(name: str | None) -> None:
    if name is None:
        return
    try:
        get_method(name)
    except Exception as error:  # of any kind, as of the module
        problem, remedy = "there is no such function", "Write package.module.function."
        raise ConfigError.of("hydra.sweeper.custom_search_space", name, problem, remedy) from error


@contextmanager
def quiet() -> Iterator[None]:
    """Keep messages of Optuna off the terminal: it tells of each trial, and of parts that may change."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
