"""Schedules: sparsity as a function of the training step, compiled to steps in one place."""

from __future__ import annotations

from dataclasses import dataclass

from pruneflow.errors import ConfigError
from pruneflow.options import ABOVE_0, FROM_0_TO_1, SPARSITY, option, require, require_number, whole_from

AUTO_FREQUENCY = 100  # tfmot's default, and a cost per step that stays small
AUTO_UPDATES = 10  # a short pruning phase still climbs in about this many updates


@dataclass(kw_only=True)
class Schedule:
    """The settings of every schedule: sparsities, and steps of the pruning phase.

    Attributes:
        name: Label in tables.
        initial_sparsity: Sparsity of the first update, [0, 1); a constant schedule does not use it.
        final_sparsity: Sparsity of the last update, [0, 1).
        begin_fraction: Where the first update lies, as a fraction of the pruning phase, [0, 1].
        end_fraction: Where the last update lies, as a fraction of the pruning phase, [0, 1].
        begin_step: The same as an absolute step; wins over ``begin_fraction``.
        end_step: The same as an absolute step; wins over ``end_fraction``.
        frequency: Steps between two updates, or ``"auto"``.
    """

    name: str
    initial_sparsity: float
    final_sparsity: float
    begin_fraction: float
    end_fraction: float
    begin_step: int | None
    end_step: int | None
    frequency: int | str

    def __post_init__(self) -> None:
        for key in ("initial_sparsity", "final_sparsity"):
            _require_sparsity(key, getattr(self, key))
        for key in ("begin_fraction", "end_fraction"):
            _require_fraction(key, getattr(self, key))
        for key in ("begin_step", "end_step"):
            _require_step(key, getattr(self, key))
        _require_frequency(self.frequency)
        if self.begin_step is None and self.end_step is None:
            _require_order("fraction", self.begin_fraction, self.end_fraction)
        if self.begin_step is not None and self.end_step is not None:
            _require_order("step", self.begin_step, self.end_step)

    def check(self) -> None:
        """Refuse sparsities between which training could not go; without training only the last one counts.

        Raises:
            ConfigError: naming the setting.
        """

    def sparsity_at(self, step: int, *, begin_step: int, end_step: int) -> float:
        """Sparsity after an update at ``step``, [0, 1)."""
        raise NotImplementedError

    def plan(self, total_steps: int, *, after_gradients: bool = False) -> Plan:
        """Compile the schedule for a pruning phase of ``total_steps`` steps.

        The first step is 1, as tfmot counts. The last update is moved to the last step, at or before the
        requested end, that a whole number of ``frequency`` steps reaches: there it lands on the target.

        Args:
            total_steps: Number of optimizer steps of the pruning phase, from 1.
            after_gradients: Whether the first update needs the gradients of steps before it: where
                ``begin_fraction`` puts it on step 1, it comes after ``frequency`` steps instead, or before
                step 2 where updates come at every step. A ``begin_step`` is kept as it is.

        Returns:
            The plan: first and last update, frequency, sparsity of each.

        Raises:
            ConfigError: if no update fires, or the target is not reached within ``total_steps``.
        """
        self.check()
        begin, end = self._bounds(total_steps, self._begin(total_steps, after_gradients))
        frequency = self._frequency(end - begin, total_steps)
        if after_gradients and self.begin_step is None and begin == 0 and frequency == 1 < end:
            begin, frequency = 2, self._frequency(end - 2, total_steps)
        last = begin + (end - begin) // frequency * frequency
        return Plan(self, begin_step=begin, end_step=last, frequency=frequency, total_steps=total_steps)

    def at_once(self) -> Plan:
        """Return the plan of a phase that trains nothing: one update, to ``final_sparsity``.

        It counts as a phase of one step; steps and fractions of the schedule have no effect.
        """
        return Plan(self, begin_step=1, end_step=1, frequency=1, total_steps=1)

    def _begin(self, total_steps: int, after_gradients: bool) -> int:
        if self.begin_step is not None:
            return self.begin_step
        begin = max(1, round(self.begin_fraction * total_steps))
        return 0 if after_gradients and begin == 1 else begin

    def _bounds(self, total_steps: int, begin: int) -> tuple[int, int]:
        end = self.end_step
        if end is None:
            end = round(self.end_fraction * total_steps)
        longer = "train longer (trainer.epochs)"
        if begin > total_steps:
            raise ConfigError.of(
                "schedule.begin_step",
                begin,
                f"nothing would ever be pruned: the pruning phase has {total_steps} steps",
                f"Lower it to {total_steps} or less, or {longer}.",
            )
        if end > total_steps:
            raise ConfigError.of(
                "schedule.end_step",
                end,
                f"sparsity {self.final_sparsity} would never be reached: the pruning phase has "
                f"{total_steps} steps",
                f"Lower it to {total_steps} or less, or {longer}.",
            )
        key, value = _changeable("end", self.end_step, self.end_fraction)
        if end < 1:
            raise ConfigError.of(
                key, value, "nothing would ever be pruned: the first step is 1", f"Raise it, or {longer}."
            )
        if begin > end:
            raise ConfigError.of(
                key,
                value,
                f"the schedule would end at step {end}, before it begins at step {begin}",
                "Move schedule.begin_step or schedule.begin_fraction before it.",
            )
        return begin, end

    def _frequency(self, span: int, total_steps: int) -> int:
        if self.frequency == "auto":
            return _auto_frequency(span)
        frequency = int(self.frequency)
        if frequency > total_steps:
            raise ConfigError.of(
                "schedule.frequency",
                frequency,
                f"it never fires: the pruning phase has {total_steps} steps",
                f"Lower it to {max(1, span)} or less, use schedule.frequency=auto, or train longer.",
            )
        if frequency > span > 0:
            raise ConfigError.of(
                "schedule.frequency",
                frequency,
                f"sparsity {self.final_sparsity} would never be reached: there are {span} steps between "
                "begin and end of the schedule",
                f"Lower it to {span} or less, use schedule.frequency=auto, or train longer.",
            )
        return frequency


@option("schedule", "constant")
@dataclass(kw_only=True)
class Constant(Schedule):
    """``final_sparsity`` from the first update on."""

    def sparsity_at(self, step: int, *, begin_step: int, end_step: int) -> float:
        """Sparsity after an update at ``step``: always ``final_sparsity``."""
        return self.final_sparsity


@dataclass(kw_only=True)
class Rising(Schedule):
    """A rise from ``initial_sparsity`` to ``final_sparsity``; a subclass has its formula."""

    def check(self) -> None:
        """Refuse a schedule that would fall; what is no number, in a changed object, is refused later."""
        ends = (self.initial_sparsity, self.final_sparsity)
        if all(isinstance(each, (int, float)) for each in ends):
            problem = f"it is above schedule.final_sparsity={ends[1]}"
            remedy = "Set schedule.initial_sparsity=0, since sparsity only rises."
            require(ends[0] <= ends[1], "schedule.initial_sparsity", ends[0], problem, remedy)

    def sparsity_at(self, step: int, *, begin_step: int, end_step: int) -> float:
        """Sparsity after an update at ``step``: exactly ``final_sparsity`` from ``end_step`` on."""
        if step >= end_step:
            return self.final_sparsity
        return self.sparsity_along((step - begin_step) / (end_step - begin_step))

    def sparsity_along(self, progress: float) -> float:
        """Sparsity after a part of the way.

        Args:
            progress: p = (t - t_0) / (t_n - t_0), [0, 1), at step t, with updates from t_0 to t_n.

        Returns:
            s_t, from ``initial_sparsity`` at 0 to ``final_sparsity`` at 1, but for rounding.
        """
        raise NotImplementedError


@option("schedule", "linear")
@dataclass(kw_only=True)
class Linear(Rising):
    """A straight line: each update removes as many weights as the one before."""

    def sparsity_along(self, progress: float) -> float:
        """s_t = s_i + (s_f - s_i) p."""
        return self.initial_sparsity + (self.final_sparsity - self.initial_sparsity) * progress


@option("schedule", "exponential")
@dataclass(kw_only=True)
class Exponential(Rising):
    """Density that decays geometrically: each update removes the same share of the weights that are left.

    So does iterative magnitude pruning: Han et al. 2015, arXiv 1506.02626; Frankle and Carbin 2019,
    arXiv 1803.03635.
    """

    def sparsity_along(self, progress: float) -> float:
        """1 - s_t = (1 - s_i) ((1 - s_f) / (1 - s_i))^p."""
        density = 1 - self.initial_sparsity
        kept: float = ((1 - self.final_sparsity) / density) ** progress
        return 1 - density * kept


@option("schedule", "polynomial")
@dataclass(kw_only=True)
class Polynomial(Rising):
    """Fast first, then ever slower: Zhu and Gupta 2017, arXiv 1710.01878.

    >>> schedule = Polynomial(
    ...     name="polynomial", initial_sparsity=0.5, final_sparsity=0.8, begin_fraction=0.0,
    ...     end_fraction=1.0, begin_step=None, end_step=None, frequency="auto", power=3,
    ... )
    >>> round(schedule.sparsity_at(50, begin_step=0, end_step=100), 12)
    0.7625
    """

    power: float

    def __post_init__(self) -> None:
        super().__post_init__()
        require_number("schedule.power", self.power, ABOVE_0, "The paper uses 3.")

    def sparsity_along(self, progress: float) -> float:
        """s_t = s_f + (s_i - s_f) (1 - p)^power."""
        rest: float = (self.initial_sparsity - self.final_sparsity) * (1 - progress) ** self.power
        return self.final_sparsity + rest


@dataclass(frozen=True)
class Plan:
    """A schedule compiled to the steps of one pruning phase.

    Attributes:
        schedule: Where the plan came from.
        begin_step: Step of the first update; 0 is before the first step, so that nothing fires there.
        end_step: Step of the last update, where ``final_sparsity`` is reached.
        frequency: Steps between updates.
        total_steps: Steps of the whole pruning phase.
    """

    schedule: Schedule
    begin_step: int
    end_step: int
    frequency: int
    total_steps: int

    @property
    def updates(self) -> range:
        """The steps at which masks change."""
        first = self.begin_step or self.frequency
        return range(first, self.end_step + 1, self.frequency)

    def sparsity_of_update(self, step: int) -> float:
        """Sparsity after the update at ``step``, [0, 1)."""
        return self.schedule.sparsity_at(step, begin_step=self.begin_step, end_step=self.end_step)

    def sparsity_after(self, step: int) -> float:
        """Sparsity in force after ``step`` steps: of the last update at or before it, 0 before the first."""
        updates = self.updates
        if step < updates.start:
            return 0.0
        return self.sparsity_of_update(
            updates[min((step - updates.start) // self.frequency, len(updates) - 1)]
        )


def _auto_frequency(span: int) -> int:
    """About ten updates, at most 100 steps apart; one that divides ``span`` where there is one near."""
    most = max(1, min(AUTO_FREQUENCY, span // AUTO_UPDATES))
    dividing = [f for f in range(most, most // 2, -1) if span % f == 0]
    return dividing[0] if dividing else most


def _changeable(which: str, step: int | None, fraction: float) -> tuple[str, float]:
    if step is not None:
        return f"schedule.{which}_step", step
    return f"schedule.{which}_fraction", fraction


def _require_sparsity(key: str, value: float) -> None:
    meant = value / 100 if 1 < value < 100 else 0.8  # percent
    require_number(f"schedule.{key}", value, SPARSITY, f"Write for instance schedule.{key}={meant:g}.")


def _require_fraction(key: str, value: float) -> None:
    allowed = FROM_0_TO_1.said("it is a fraction of the pruning phase; {}")
    remedy = f"For an absolute step use schedule.{key.replace('fraction', 'step')}."
    require_number(f"schedule.{key}", value, allowed, remedy)


def _require_step(key: str, value: int | None) -> None:
    allowed, remedy = whole_from(0).said("{}, or null to use the fraction"), "Steps count from 1 at the start"
    require_number(f"schedule.{key}", value, allowed, f"{remedy} of the pruning phase.")


def _require_frequency(value: int | str) -> None:
    require(
        value == "auto" or (isinstance(value, int) and not isinstance(value, bool) and value >= 1),
        "schedule.frequency",
        value,
        "allowed are whole numbers from 1, or auto",
        "It is the number of steps between two mask updates; auto suits most runs.",
    )


def _require_order(unit: str, begin: float, end: float) -> None:
    problem = f"it lies after schedule.end_{unit}={end}"
    require(begin <= end, f"schedule.begin_{unit}", begin, problem, "Lower the one or raise the other.")
