"""The whole configuration, typed; where its YAML lies; checks that need more than one option."""

from dataclasses import dataclass, fields, is_dataclass, replace
from typing import TYPE_CHECKING, Any

from hydra.core.config_store import ConfigStore
from omegaconf import DictConfig, OmegaConf

from pruneflow.datasets import augmentation
from pruneflow.datasets import options as datasets
from pruneflow.datasets.batches import steps_per_epoch
from pruneflow.datasets.spec import Data, Spec
from pruneflow.errors import ConfigError, spelled
from pruneflow.exports import options as exports
from pruneflow.exports.latency import Latency
from pruneflow.flow import goal, loggers, objectives
from pruneflow.flow.store import Stages
from pruneflow.models import options as models
from pruneflow.models.narrower import narrower
from pruneflow.options import at_most, check_values, choices, require, require_number, whole_from
from pruneflow.runtime import device
from pruneflow.runtime.files import config_folder as config_folder  # for those who compose
from pruneflow.sparsity import criteria, distributions, schedules, structures, then
from pruneflow.sparsity.channels.option import Channel
from pruneflow.sparsity.channels.plan import ChannelPlan
from pruneflow.sparsity.masks import MaskPlan
from pruneflow.sparsity.schedules import Plan
from pruneflow.sparsity.selected_layers import Pruning, Selection
from pruneflow.sparsity.sensitivity import Sensitivity
from pruneflow.sparsity.sharing import Sharing
from pruneflow.training import trainer as trainers
from pruneflow.training.dashboard import TensorBoard
from pruneflow.training.quantization_aware import QuantizationAware

if TYPE_CHECKING:
    from pruneflow.datasets.augmentation import Augmentation
    from pruneflow.datasets.base import Dataset
    from pruneflow.exports.base import Export
    from pruneflow.flow.goal import Goal
    from pruneflow.flow.loggers import Logger
    from pruneflow.models.base import Model
    from pruneflow.runtime.device import Device
    from pruneflow.sparsity.criteria import Criterion
    from pruneflow.sparsity.distributions import Distribution
    from pruneflow.sparsity.schedules import Schedule
    from pruneflow.sparsity.structures import Structure
    from pruneflow.sparsity.then import Then
    from pruneflow.training.trainer import Trainer
else:  # OmegaConf refuses the keys of a subclass where its base is named; `_check_option` checks the class
    Dataset = Export = Model = Device = Criterion = Distribution = Schedule = Structure = Trainer = Any
    Augmentation = Goal = Logger = Then = Any


@dataclass(kw_only=True)
class Config:
    """One run."""

    model: Model
    dataset: Dataset
    augmentation: Augmentation
    schedule: Schedule
    structure: Structure
    criterion: Criterion
    distribution: Distribution
    then: Then
    export: Export
    trainer: Trainer
    device: Device
    pruning: Pruning
    sensitivity: Sensitivity
    sharing: Sharing
    quantization_aware: QuantizationAware
    latency: Latency
    tensorboard: TensorBoard
    stages: Stages
    goal: Goal
    logger: Logger
    objective: list[str]
    test_part: bool
    report: bool
    report_examples: bool
    seed: int = at_most(2**32 - 1)

    def __post_init__(self) -> None:
        for key in _GROUPS:
            _check_option(key, getattr(self, key))
        self.model.check_kind(self.dataset.kind)
        self.augmentation.check_kind(self.dataset.kind)
        option, kinds = self.export.option_name, [each.kind for each in self.export.exports()]
        layers = getattr(self.export, "layers", ["*"])
        self.quantization_aware.check_exports(option, kinds, layers=layers)
        if not self.export.leaves_out:
            self.sharing.check_exports(option, kinds)
            self.export.check_installed()
            self.model.check_exports(option, kinds)
        self.logger.check_installed()
        self.then.check(self.structure)
        if self.trainer.epochs != 0:
            self.rise.check()
        self.pruning.check_training(
            self.trainer.epochs,
            structure=self.structure,
            criterion=self.criterion,
            distribution=self.distribution,
        )
        self._check_narrowing()
        self.device.check_engine(self.pruning.engine)
        objectives.check(self.objective)
        require_number("seed", self.seed, whole_from(0, 2**32 - 1), "Any of them will do.")

    def _check_narrowing(self) -> None:
        """Refuse a narrower network where there is none, and settings of masks that it does not have."""
        if not self.criterion.narrows:
            return
        chosen, problem = f"criterion={self.criterion.option_name}", "nobody can make this network narrower"
        able = [name for name, option in choices("model").items() if option.widths]
        remedy = f"Take model={', '.join(able[:-1])} or {able[-1]}."
        require(bool(self.model.widths), "criterion", self.criterion.option_name, problem, remedy)
        for key, usual in {"structure": "unstructured", "distribution": "uniform"}.items():
            option, problem = getattr(self, key), f"{chosen} masks nothing"
            require(option.option_name == usual, key, option.name, problem, f"Take {key}={usual}.")
        layers, problem = self.distribution.layers, f"{chosen} masks nothing"
        require(not layers, "distribution.layers", spelled(layers), problem, "Leave it empty.")

    def network(self, spec: Spec) -> Model:
        """Return the network to train: the chosen one, or a narrower one where that is the criterion."""
        if not self.criterion.narrows:
            return self.model
        return narrower(self.model, spec, 1 - self.schedule.final_sparsity)

    @property
    def rise(self) -> Schedule:
        """The schedule of the masks; without zeros where there are none."""
        if not self.criterion.narrows:
            return self.schedule
        return replace(self.schedule, initial_sparsity=0.0, final_sparsity=0.0)

    @property
    def ends_with_cut(self) -> bool:
        """Return whether the pruned network is smaller, and not one with zeros."""
        return self.structure.cuts and isinstance(self.then, then.Nothing)


_GROUPS = {
    "model": models.Model,
    "dataset": datasets.Dataset,
    "augmentation": augmentation.Augmentation,
    "schedule": schedules.Schedule,
    "structure": structures.Structure,
    "criterion": criteria.Criterion,
    "distribution": distributions.Distribution,
    "then": then.Then,
    "export": exports.Export,
    "trainer": trainers.Trainer,
    "device": device.Device,
    "goal": goal.Goal,
    "logger": loggers.Logger,
}

ConfigStore.instance().store(group="schema", name="config", node=Config)


def _check_option(key: str, value: Any) -> None:
    """Refuse what is no option of the group ``key``, and a label that is the name of another one."""
    if isinstance(value, dict):
        raise ConfigError(
            f"{key}: the file that is chosen is not built on an option of this group. "
            f"Let it begin with defaults: [{next(iter(choices(key)))}, _self_]."
        )
    remedy = f"See python -m pruneflow --help for the options of {key}."
    require(isinstance(value, _GROUPS[key]), key, value, "no option of this group is chosen", remedy)
    label = getattr(value, "name", value.option_name)
    require(
        label != "" and label not in {*choices(key)} - {value.option_name},
        f"{key}.name",
        label,
        f"it labels {key}={value.option_name} in tables; it may not be empty, or the name of another option",
        f"Take another label, or choose with {key}={label or value.option_name}.",
    )


def from_hydra(composed: DictConfig) -> Config:
    """Turn a composed config into the typed object.

    Raises:
        ConfigError: for keys that no option has, and values that an option refuses.
    """
    with then.named():  # its options first, since those of the first phase have the same keys
        OmegaConf.to_object(composed.get("then") or OmegaConf.create())
    config = OmegaConf.to_object(composed)
    if not isinstance(config, Config):
        raise ConfigError(
            "The composed config is not pruneflow's. Keep /schema/config@_here_ in its defaults."
        )
    _refuse_unknown_keys(composed, config, prefix="")
    check_values(config)
    return config


def option_from_hydra(composed: DictConfig, key: str) -> Any:
    """Turn one part of a composed config, such as ``dataset``, into its typed object."""
    option = OmegaConf.to_object(composed[key]) if composed[key] else composed[key]
    if key in _GROUPS:
        _check_option(key, option)
    _refuse_unknown_keys(composed[key], option, prefix=f"{key}.")
    check_values(option, f"{key}.")
    return option


def plan_for(config: Config, data: Data) -> tuple[Trainer, Plan]:
    """Check what only the loaded data can tell, and compile the schedule.

    Returns:
        The settings of training with every length a number, and the plan.

    Raises:
        ConfigError: if model and data, batches and data, schedule and steps, or the options of pruning do not
            fit.
    """
    config.model.check(data.spec)
    config.network(data.spec).check_memory(data.spec)
    config.augmentation.check_kind(data.spec.kind)
    trainer = config.trainer.for_examples(len(data.train))
    trainer.check(data)
    fit = trainer.pruned_fit(config.seed)
    if fit.epochs:
        steps = steps_per_epoch(len(data.train), fit.batch_size) * fit.epochs
        plan: Plan = config.rise.plan(steps, after_gradients=config.criterion.uses_gradients)
    else:
        plan = config.rise.at_once()
    masks = masks_for(config, plan, None)
    masks.check_options()
    return trainer, plan


def selected(config: Config, model: Any) -> Selection:
    """Choose what is pruned of a network.

    Args:
        model: The network, built, of Keras 2 or 3.
    """
    from pruneflow.models.keras3 import is_keras_3

    selection: Selection = config.pruning.select(model)
    if config.structure.cuts and is_keras_3(model):
        return _narrowed_by_twin(config.structure, model, selection)
    return config.structure.narrowed(model, selection)  # type: ignore[no-any-return]


def _narrowed_by_twin(structure: Structure, model: Any, selection: Selection) -> Selection:
    """Find what can be cut of a network of Keras 3 in the one of Keras 2 that it is converted to."""
    from pruneflow.models.keras3 import ConversionError, converted

    try:
        both = converted(model)
    except ConversionError as error:
        problem = f"channels are those of a network of Keras 2, which this one cannot become: {error.problem}"
        raise ConfigError.of(
            "structure", structure.option_name, problem, "Take structure=unstructured."
        ) from error
    narrowed: Selection = structure.narrowed(both.model, selection.renamed(both.names))
    return narrowed.renamed({other: one for one, other in both.names.items()})


def masks_for(config: Config, plan: Plan, selection: Selection | None) -> MaskPlan:
    """Put the options that decide masks together.

    Args:
        selection: What is pruned; None where no network is known yet.
    """
    options: dict[str, Any] = {
        "plan": plan,
        "structure": config.structure,
        "criterion": config.criterion,
        "distribution": config.distribution,
        "prunables": selection.prunables if selection else (),
        "seed": config.seed,
    }
    if isinstance(config.structure, Channel):
        return ChannelPlan(**options, channels=selection.channels if selection else None)
    return MaskPlan(**options)


def plain(config: Any) -> dict[str, Any]:
    """The config as nested dictionaries, lists and numbers, for JSON."""
    return {field.name: _plain_value(getattr(config, field.name)) for field in fields(config)}


def _plain_value(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return plain(value)
    return list(value) if isinstance(value, (list, tuple)) else value


def _refuse_unknown_keys(composed: DictConfig, typed: Any, prefix: str) -> None:
    """OmegaConf lets ``+typo=1`` through where a dataclass has no slots."""
    names = [field.name for field in fields(typed)]
    for key in map(str, composed):
        problem = f"there is no such key; {prefix.rstrip('.') or 'the config'} has {', '.join(names)}"
        require(key in names, f"{prefix}{key}", composed[key], problem, "Check the spelling.")
        value = getattr(typed, key)
        if is_dataclass(value) and isinstance(composed[key], DictConfig):
            _refuse_unknown_keys(composed[key], value, prefix=f"{prefix}{key}.")
