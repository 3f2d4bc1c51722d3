"""A trial export of a network that the user brings, before it is trained for an hour."""

import io
from collections.abc import Iterable, Iterator
from contextlib import redirect_stderr
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from pruneflow.datasets.spec import Data, Part, Spec
from pruneflow.errors import ConfigError
from pruneflow.exports import tflite
from pruneflow.exports.base import Export
from pruneflow.exports.causes import lacking, said
from pruneflow.exports.exporters import Float
from pruneflow.exports.runner import tflite_outputs
from pruneflow.runtime import backend, child, extensions
from pruneflow.sparsity.kernels import leaves

WHOLE = ("int8", "int16x8", "micro")  # kinds of integers throughout, on which the converter may crash
EXAMPLES = 4  # that are converted with and run
# Largest difference between Keras and a float file, relative to the largest output where that is above 1.
TOLERANCE = 1e-3
BUILT, MADE, RAN = "built", "made", "ran"  # how far a trial in a child has come
OTHERWISE = "Take export=dynamic-range, which has int8 weights."


def try_exports(export: Export, network: Any, data: Data) -> dict[str, str]:
    """Convert a network as it is before training, and run the files.

    Args:
        export: The option that is chosen; dynamic-range and float16 go where float goes.
        network: An option of the group ``model``.
        data: A few training examples are taken.

    Returns:
        Kinds that cannot be made, and why, where the option leaves these out.
    """
    trial = _Trial(export.option_name, network, data.spec, _few(data.train))
    model = network.build(data.spec)
    export.check_layers(model)
    loops = trial.run_as_float(model)
    left: dict[str, str] = {}
    for each in export.exports():
        try:
            each.check_installed()
            network.check_exports(export.option_name, [each.kind])
            if loops and each.kind in WHOLE:
                raise trial.of_loop(each.kind)
            if network.brought and (each.must_be_tried or each.kind in WHOLE):
                trial.run_apart(model, each)
            elif each.must_be_tried:
                list(trial.steps(model, each))
        except ConfigError as error:
            if not export.leaves_out:
                raise
            left[each.kind] = error.problem
    return left


def _few(part: Part) -> Part:
    places = np.linspace(0, len(part) - 1, min(EXAMPLES, len(part))).astype(np.int64)
    return replace(part, x=part.x[places], y=part.y[places])


@dataclass(frozen=True)
class _Trial:
    """One network and a few examples, as another process can be given them.

    Attributes:
        chosen: The option of the group ``export``, for messages.
        network: The option of the group ``model``.
        examples: What it is converted with.
    """

    chosen: str
    network: Any
    spec: Spec
    examples: Part

    def run_as_float(self, model: Any) -> bool:
        """Convert to float, run, compare with Keras; return whether the file has a loop."""
        content = self._converted(model, Float(name="float"))
        keras = np.asarray(model(self.spec.model_input(self.examples.x[:]), training=False))
        difference = float(np.abs(keras - self._outputs(content, Float(name="float"))).max())
        if not difference <= TOLERANCE * max(1.0, float(np.abs(keras).max())):
            raise self._refused(
                f"the file that it is converted to gives other outputs than Keras, by up to {difference:.3g}",
                "Layers that draw random numbers, or remember what they saw, cannot be exported.",
            )
        return "WHILE" in tflite.parse(content, "the file").op_counts

    def of_loop(self, kind: str) -> ConfigError:
        """Say that a file with a loop cannot be of integers throughout."""
        problem = "the file has a loop, as of a GRU, and the converter crashes when it makes one"
        return self._refused(f"{problem} {kind}", OTHERWISE)

    def run_apart(self, model: Any, export: Export) -> None:
        """Convert and run, in a process of its own where the network can be built in one."""
        outcome = child.values_of(_apart, self, export, _weights(model))
        last = outcome.values[-1] if outcome.values else None
        if isinstance(last, ConfigError):
            raise last
        if last in (BUILT, MADE) and outcome.crash:
            raise self._crashed(last, export.kind, outcome)
        if last != RAN:
            list(self.steps(model, export))

    def steps(self, model: Any, export: Export) -> Iterator[str]:
        """Convert and run, saying how far that has come; the outputs of few examples mean nothing."""
        content = self._converted(model, export)
        yield MADE
        self._outputs(content, export)
        yield RAN

    def _converted(self, model: Any, export: Export) -> bytes:
        samples = np.asarray(self.examples.x[:])
        with redirect_stderr(io.StringIO()):  # the converter's log, which is long
            try:
                return export.trial(model, self.spec, samples)
            except ConfigError:  # of a setting
                raise
            except Exception as error:  # of any kind, as of the network's own layers
                raise self._not_converted(model, error, export.kind) from error

    def _outputs(self, content: bytes, export: Export) -> Any:
        with redirect_stderr(io.StringIO()):
            try:
                with backend.quiet():
                    return tflite_outputs(content, self.examples, self.spec, export.runner)
            except (RuntimeError, ValueError) as error:
                problem = f"the {export.kind} file that it is converted to does not run: {said(error)}"
                raise self._refused(
                    problem, f"Replace what {export.interpreter} cannot run, or take another export."
                ) from error

    def _crashed(self, reached: str, kind: str, outcome: child.Outcome) -> ConfigError:
        who, what = {
            BUILT: ("TensorFlow's converter", f"makes the file {kind}"),
            MADE: ("LiteRT", f"runs the {kind} file"),
        }[reached]
        if outcome.killed:
            problem = f"the process in which {who} {what} was killed ({outcome.crash})"
            return self._refused(problem, f"Is memory short? Else: {OTHERWISE}")
        return self._refused(f"{who} crashes ({outcome.crash}) when it {what}", OTHERWISE)

    def _not_converted(self, model: Any, error: Exception, kind: str) -> ConfigError:
        operations = lacking(error)
        if not operations:
            return self._refused(f"it cannot be converted to {kind}: {said(error)}", "Change its layers.")
        layers = _layers_with(model, self.spec, operations)
        where = f", in {', '.join(layers)}" if layers else ""
        return self._refused(
            f"TFLite has no operation for {', '.join(operations)}{where}", "Replace what uses it."
        )

    def _refused(self, problem: str, remedy: str) -> ConfigError:
        return ConfigError.of("export", self.chosen, f"the network cannot be exported: {problem}", remedy)


def _apart(trial: _Trial, export: Export, weights: list[Any]) -> Iterator[Any]:
    """Try an export in a child.

    Args:
        weights: Of the network in the parent: another one, as of a module that was edited since it was
            imported there, is not tried.

    Yields:
        How far it has come, last the ConfigError that the parent is to raise, if any.
    """
    extensions.load()
    model = trial.network.build(trial.spec)
    if _weights(model) != weights:
        return
    yield BUILT
    try:
        yield from trial.steps(model, export)
    except ConfigError as error:
        yield error


def _weights(model: Any) -> list[Any]:
    return [
        (type(layer).__qualname__, [tuple(weight.shape) for weight in layer.weights])
        for _, layer in leaves(model)
    ]


def _layers_with(model: Any, spec: Spec, operations: Iterable[str]) -> list[str]:
    """Names of the layers in which TensorFlow has one of the operations."""
    tf = backend.tensorflow()
    signature = tf.TensorSpec((1, *spec.shape), spec.input_dtype)
    graph = tf.function(lambda x: model(x, training=False)).get_concrete_function(signature).graph
    places = [f"/{op.name}/" for op in graph.get_operations() if op.type in set(operations)]
    return [name for name, _ in leaves(model) if any(f"/{name}/" in place for place in places)]
