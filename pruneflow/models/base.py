"""Common parts of the networks of the group ``model``, and the checks that several of them share."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from itertools import pairwise
from typing import Any, ClassVar

from pruneflow.datasets.spec import Spec
from pruneflow.errors import ConfigError
from pruneflow.options import BELOW_1, choices, require, require_number, whole_from
from pruneflow.runtime.memory import require_memory

MOST_UNITS = 1_000_000  # of one layer
BYTES_OF_WEIGHT = 16  # in training: with its gradient and two moments, float32 each

ACTIVATIONS = ("relu", "linear", "tanh", "sigmoid", "elu", "gelu", "swish")


@dataclass(kw_only=True)
class Model:
    """The base of all networks.

    Attributes:
        name: Label in tables.
    """

    option_name: ClassVar[str]  # as chosen on the command line; set by @option
    # Kinds of data, of `Spec`: "image", "tokens", "numbers", "signal"; one of them or several.
    reads: ClassVar[str | tuple[str, ...]] = ("image", "tokens", "numbers", "signal")
    # Settings that say how wide its layers are; none where nobody can make it narrower.
    widths: ClassVar[tuple[str, ...]] = ()
    # Whether the user brought it, so that nobody knows whether it can be exported before that is tried.
    brought: ClassVar[bool] = False
    # Of the network that `build` returned last and that came as Keras 3: the largest difference between its
    # outputs and those of the original. No annotation, which would make it a setting.
    difference = None  # type: float | None
    # What `build` saw in a network that the user brought, in a sentence; likewise.
    note = ""

    name: str

    def build(self, spec: Spec) -> Any:
        """Build the network for data of ``spec``.

        Every layer gets a name of its own, so that equal weights give equal TFLite bytes.

        Returns:
            A ``tf_keras.Model``, (batch, *spec.shape) to (batch, spec.outputs), or (batch, 1) for two
            classes, untrained unless `starts_trained`.
        """
        raise NotImplementedError

    def original(self, spec: Spec) -> Any:
        """The network of Keras 3 that `build` has converted, as it came; None where it is of Keras 2.

        Args:
            spec: What it is built for.
        """
        return None

    @property
    def starts_trained(self) -> bool:
        """Return whether the network of `build` is trained already, so that its accuracy means something."""
        return False

    def identity(self, spec: Spec) -> dict[str, Any]:
        """Return all that decides the network and its first weights, beside the seed, as JSON takes it.

        By default the option and every setting but the label.

        Args:
            spec: What the network is built for.
        """
        settings = asdict(self)
        del settings["name"]
        return {"option": self.option_name, **settings}

    def parameters(self, spec: Spec) -> int:
        """Weights of the network for data of ``spec``, counted without building it; 0 where nobody knows."""
        return 0

    def check(self, spec: Spec) -> None:
        """Refuse data that the network cannot read.

        Raises:
            ConfigError: naming what does not fit.
        """
        self.check_kind(spec.kind)

    def check_memory(self, spec: Spec) -> None:
        """Refuse a network that memory does not hold, before it is built.

        Raises:
            ConfigError: with its weights and the settings that make them.
        """
        count = self.parameters(spec)
        sizes = [f"model.{each.name}" for each in fields(self) if "most" in each.metadata]
        sizes += ["dataset.vocabulary_size"] if spec.kind == "tokens" else []
        remedy = f"Make it smaller with {', '.join(sizes)}."
        what = f"its {count:,} weights, their gradients and the optimizer's moments"
        require_memory("model", self.option_name, count * BYTES_OF_WEIGHT, what, remedy)

    def check_kind(self, kind: str | None) -> None:
        """Refuse another kind of data than the network reads, before any is loaded.

        Args:
            kind: Of `Spec`; None where only the data tell, which `check` sees.

        Raises:
            ConfigError: naming both kinds.
        """
        if kind is not None and kind not in _kinds(self):
            models = [name for name, option in choices("model").items() if kind in _kinds(option)]
            kinds = (*_kinds(self), None)
            datasets = [name for name, option in choices("dataset").items() if option.kind in kinds]
            models.sort(key=lambda name: len(_kinds(choices("model")[name])))  # made for it, then any network
            groups = {"model": models, "dataset": datasets}
            raise ConfigError.of(
                "model",
                self.option_name,
                f"it reads {_either([_WORDS[each] for each in _kinds(self)])}, "
                f"and the data set has {_WORDS[kind]}",
                f"Take {', or '.join(f'{key}={_either(names)}' for key, names in groups.items() if names)}.",
            )

    def check_exports(self, option: str, kinds: Iterable[str]) -> None:
        """Refuse a way of exporting that does not work for the network, before it is trained.

        Args:
            option: The option of the group ``export`` that is chosen.
            kinds: The kinds of files it makes, such as ``"int8"``.

        Raises:
            ConfigError: saying which does not work and what does.
        """


_WORDS = {
    "image": "images",
    "tokens": "sequences of tokens",
    "numbers": "rows of numbers",
    "signal": "signals",
}


def _kinds(model: Any) -> tuple[str, ...]:
    reads = model.reads
    return (reads,) if isinstance(reads, str) else tuple(reads)


def _either(names: list[str]) -> str:
    """Some words of which one is to be taken: ``a, b or c``."""
    return " or ".join(filter(None, (", ".join(names[:-1]), names[-1])))


def dense_parameters(widths: Sequence[int]) -> int:
    """Count the weights of fully connected layers one after the other.

    >>> dense_parameters([784, 128, 10])
    101770
    """
    return sum((inputs + 1) * outputs for inputs, outputs in pairwise(widths))


def numbered(name: str, index: int) -> str:
    """Keras' own spelling: ``conv2d``, ``conv2d_1``, ``conv2d_2``."""
    return f"{name}_{index}" if index else name


def check_output_activation(activation: str, spec: Spec) -> None:
    """Refuse probabilities of classes where numbers are predicted.

    Args:
        activation: ``model.output_activation``.
    """
    require(
        activation == "linear" or spec.targets is None,
        "model.output_activation",
        activation,
        "the data set has numbers to predict, and no classes",
        "Set it to linear.",
    )


def require_size(key: str, value: int) -> None:
    """Refuse a size below 1 of the setting ``key`` of a model."""
    require_number(f"model.{key}", value, whole_from(1), "Raise it.")


def require_sizes(key: str, values: list[int], *, least: int) -> None:
    """Refuse a list of sizes that is too short, or that has one below 1.

    Args:
        least: 0 or 1: the shortest list that is allowed.
    """
    require(
        len(values) >= least and all(value >= 1 for value in values),
        f"model.{key}",
        values,
        f"allowed is a list of {'one' if least else 'zero'} or more whole numbers from 1",
        f"Write for instance model.{key}=[32,64].",
    )


def require_dropout(value: float, key: str = "dropout") -> None:
    """Refuse a share that is not in [0, 1)."""
    require_number(f"model.{key}", value, BELOW_1, "0 leaves dropout out.")
