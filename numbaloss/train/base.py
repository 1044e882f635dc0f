"""What all optimisers have: steps on trees of arrays, in place, and a state that can be kept."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from ..arrays import Operand
from ..cpu import threads
from ..cpu.plain_arrays import AS_IS, WRITEABLE
from ..misuse import real_number
from . import cpu_steps
from .cpu_norms import squares
from .leaves import gradient_of, refuse_overlaps, seen
from .passes import Table
from .rules import Rule
from .trees import named_leaves, pair

ON_NONFINITE = ("raise", "skip", "propagate")


def pair_of_betas(given: Any) -> tuple[float, float]:
    try:
        first, second = given
    except (TypeError, ValueError):
        raise ValueError(f"betas must be two numbers in [0, 1), not {given!r}") from None
    if not (0.0 <= first < 1.0 and 0.0 <= second < 1.0):
        raise ValueError(f"betas must be two numbers in [0, 1), not {given!r}")
    return float(first), float(second)


class LeafState:
    """What is kept of a leaf from step to step."""

    __slots__ = ("arrays", "kind", "shape", "step")

    def __init__(self, kind: str, shape: tuple[int, ...], step: int) -> None:
        self.kind, self.shape, self.step = kind, shape, step
        self.arrays: dict[str, np.ndarray] = {}


class Group:
    """Leaves of one dtype that have taken as many steps: one launch."""

    def __init__(self, rule: Rule, kind: str, places: list[int], states: list[LeafState]) -> None:
        self.places, self.states, self.step = places, states, states[0].step
        self.kind = kind
        self.table = Table(tuple(math.prod(one.shape) for one in states))
        self.code = cpu_steps.code(rule, kind)
        for row, state in zip(self.table.rows, states):
            for column, name in enumerate(rule.slots):
                row[2 + column] = state.arrays[name].ctypes.data
            if "master" in state.arrays:
                row[5] = state.arrays["master"].ctypes.data


class Plan:
    """What is known of the trees of a step, for as long as they stay what they are."""

    def __init__(self, names: list[str], parameters: list[Any], gradients: list[Any]) -> None:
        self.names = names
        self.parameters, self.gradients = parameters, gradients
        self.kept: list[Operand | None] = []
        self.groups: list[Group] = []
        # Of each leaf that takes part: place, shape, dtype of NumPy.
        self.checks: list[tuple[int, tuple[int, ...], Any]] = []
        self.plain = True

    def holds(self, parameters: list[Any], gradients: list[Any]) -> bool:
        """Whether the trees are as they were, but for other gradients of the same kind."""
        if len(parameters) != len(self.parameters) or not self.plain:
            return False
        known, former = self.parameters, self.gradients
        for place, shape, dtype in self.checks:
            p, g = parameters[place], gradients[place]
            if (
                p is not known[place]
                or g is not former[place]
                or p.shape != shape
                or g.shape != shape
                or p.dtype is not dtype
                or g.dtype is not dtype
                or p.flags.num & _BOTH != _BOTH
                or g.flags.num & AS_IS != AS_IS
            ):
                return False
        return all(gradients[place] is None for place in self.idle)

    idle: list[int] = []  # noqa: RUF012


_BOTH = AS_IS | WRITEABLE


class Optimizer:
    """Base of all optimisers: see :class:`SGD`, :class:`Adam` and the others.

    Parameters
    ----------
    learning_rate : float >= 0
    on_nonfinite : {"raise", "skip", "propagate"}
        What becomes of a step whose gradient holds NaN or an infinity: an error that names the
        leaf, nothing, or what the formula makes of it. The first two read gradients once more.
    """

    def __init__(
        self, learning_rate: float, *, maximize: bool = False, on_nonfinite: str = "raise"
    ) -> None:
        self.learning_rate = learning_rate
        self.maximize = bool(maximize)
        self.on_nonfinite = on_nonfinite
        self.skipped = 0
        self._states: dict[str, LeafState] = {}
        self._plan: Plan | None = None

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "on_nonfinite":
            if value not in ON_NONFINITE:
                raise ValueError(f"on_nonfinite must be one of {ON_NONFINITE}, not {value!r}")
        elif name == "betas":
            value = pair_of_betas(value)
        elif name in self._bounds or name == "learning_rate":
            low, high = self._bounds.get(name, (0.0, math.inf))
            value = real_number(value, name)
            if not low <= value < high:
                raise ValueError(f"{name} must be in [{low}, {high}), not {value}")
        object.__setattr__(self, name, value)

    _bounds: ClassVar[dict[str, tuple[float, float]]] = {}

    def _rule(self) -> Rule:
        raise NotImplementedError

    def _numbers(self, step: int, rate: float) -> tuple[float, ...]:
        """The numbers of step 1, 2, ..., but for the first, what gradients are multiplied by."""
        raise NotImplementedError

    def step(self, parameters: Any, gradients: Any, learning_rate: float | None = None) -> bool:
        """Change parameters in place, by gradients of the same form.

        Parameters
        ----------
        parameters : array, or dicts, lists and tuples of arrays
            float32, float64, float16 or bfloat16; contiguous, writeable, apart from one another.
        gradients : the same
            Of the same form, shapes and dtypes. None in the place of an array (or of a branch)
            leaves that parameter, and its state, as it is.
        learning_rate : float >= 0, optional
            That of this step alone, as of a schedule; otherwise the attribute counts.

        Returns
        -------
        bool
            Whether the step was taken: False where it was skipped.

        Raises
        ------
        FloatingPointError
            With ``on_nonfinite="raise"``, for a gradient that holds NaN or an infinity.
        ValueError, TypeError
            For arrays that cannot be stepped on; the leaf is named, and nothing was written.
        """
        mine: list[Any] = []
        its: list[Any] = []
        pair(parameters, gradients, mine, its)
        plan = self._plan
        if plan is None or not plan.holds(mine, its):
            plan = self._renew(parameters, mine, its)
        rate = self.learning_rate if learning_rate is None else learning_rate
        if not 0.0 <= rate < math.inf:
            raise ValueError(f"learning_rate must be in [0, inf), not {rate}")
        if self.on_nonfinite != "propagate" and not self._finite(plan):
            self.skipped += 1
            return False
        for group in plan.groups:
            step = group.step + 1
            numbers = (-1.0 if self.maximize else 1.0, *self._numbers(step, rate))
            group.table.numbers[: len(numbers)] = numbers
            group.table.run(group.code)
            group.step = step
        return True

    def _finite(self, plan: Plan) -> bool:
        """Whether all gradients are finite; an error where they must be."""
        for group in plan.groups:
            group.table.numbers[0] = 1.0 if group.kind != "float64" else 2.0**-600
            group.table.run(squares(group.kind))
            if math.isfinite(group.table.sums.sum()):
                continue
            if self.on_nonfinite == "skip":
                return False
            for place, total in zip(group.places, group.table.sums_of_leaves()):
                if not math.isfinite(total):
                    raise FloatingPointError(
                        f"the gradient of {plan.names[place]} holds NaN or an infinity in step "
                        f"{group.step + 1}: nothing was changed. A smaller learning rate, "
                        f"clip_by_global_norm or on_nonfinite='skip' may help"
                    )
        return True

    def _renew(self, tree: Any, parameters: list[Any], gradients: list[Any]) -> Plan:
        """Look at all leaves anew."""
        self._settle()
        names = [name for name, _ in named_leaves(tree)]
        rule = self._rule()
        plan = Plan(names, parameters, gradients)
        members: dict[tuple[str, int], list[int]] = {}
        views: list[Any] = []
        others: list[Any] = []
        for name, p, g in zip(names, parameters, gradients):
            if g is None:
                views.append(None)
                others.append(None)
                continue
            view = seen(p, "parameter", name, written=True)
            views.append(view)
            others.append(gradient_of(g, name, view))
            self._known(name, view)
        taking = [place for place, view in enumerate(views) if view is not None]
        refuse_overlaps(
            [names[place] for place in taking],
            [views[place].array for place in taking],
            [others[place].array for place in taking],
        )
        for place in taking:
            state = self._state_of(names[place], views[place], rule)
            members.setdefault((state.kind, state.step), []).append(place)
        plan.idle = [place for place, view in enumerate(views) if view is None]
        for (kind, _), places in members.items():
            group = Group(rule, kind, places, [self._states[names[place]] for place in places])
            for row, place in zip(group.table.rows, places):
                p, g = views[place].array, others[place].array
                row[0], row[1] = threads.handle(p), threads.handle(g)
                plan.plain &= p is parameters[place] and g is gradients[place]
                plan.checks.append((place, p.shape, p.dtype))
            plan.groups.append(group)
        plan.kept = [*views, *others]
        self._plan = plan
        return plan

    def _known(self, name: str, view: Operand) -> None:
        state = self._states.get(name)
        if state is None:
            return
        if state.shape != view.array.shape or state.kind != view.kind:
            raise ValueError(
                f"parameter {name} has shape {view.array.shape} and dtype {view.kind}, its state "
                f"is of shape {state.shape} and dtype {state.kind}: use a new optimiser"
            )

    def _state_of(self, name: str, view: Operand, rule: Rule) -> LeafState:
        state = self._states.get(name)
        if state is None:
            shape = view.array.shape
            state = self._states[name] = LeafState(view.kind, shape, 0)
            real = cpu_steps.real_of(view.kind)
            for slot in rule.slots:
                state.arrays[slot] = np.full(shape, self._beginning(slot), real)
            if view.kind != real:
                state.arrays["master"] = np.full(shape, np.nan, real)
        return state

    def _beginning(self, slot: str) -> float:
        return 0.0

    def _settle(self) -> None:
        """Write down how many steps each leaf has taken."""
        if self._plan is not None:
            for group in self._plan.groups:
                for state in group.states:
                    state.step = group.step

    def state(self) -> dict[str, Any]:
        """All that is kept between steps: a plain dict of arrays and numbers, copied.

        For each leaf ``name/step`` (steps taken) and ``name/slot`` with the names of PyTorch's
        states (``exp_avg``, ``momentum_buffer``, ...), and for halves ``name/master``.
        """
        self._settle()
        found: dict[str, Any] = {
            "optimizer": type(self).__name__,
            "learning_rate": self.learning_rate,
        }
        for name, state in self._states.items():
            found[f"{name}/dtype"] = state.kind
            found[f"{name}/shape"] = state.shape
            found[f"{name}/step"] = state.step
            for slot, array in state.arrays.items():
                found[f"{name}/{slot}"] = array.copy()
        return found

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Go on from what :meth:`state` gave, with parameters of the same names and shapes.

        Raises
        ------
        ValueError
            For the state of another optimiser, or one that lacks something.
        """
        rule = self._rule()
        if str(state.get("optimizer")) != type(self).__name__:
            raise ValueError(
                f"this is the state of {state.get('optimizer')!s}, not of {type(self).__name__}"
            )
        found: dict[str, LeafState] = {}
        for key in state:
            name, _, what = key.rpartition("/")
            if what != "step" or not name:
                continue
            kind = str(state[f"{name}/dtype"])
            real = cpu_steps.real_of(kind)
            slots = (*rule.slots, "master") if kind != real else rule.slots
            missing = [slot for slot in slots if f"{name}/{slot}" not in state]
            if missing:
                raise ValueError(f"the state of {name} lacks {', '.join(missing)}")
            arrays = {slot: np.array(state[f"{name}/{slot}"], real, order="C") for slot in slots}
            shape = tuple(int(length) for length in state[f"{name}/shape"])
            one = found[name] = LeafState(kind, shape, int(state[key]))
            one.arrays = arrays
        self.learning_rate = float(state["learning_rate"])
        self._states, self._plan = found, None

    def reset(self) -> None:
        """Forget all states: the next step is the first."""
        self._states, self._plan = {}, None

    def __getstate__(self) -> dict[str, Any]:
        self._settle()
        return {**self.__dict__, "_plan": None}

    def __repr__(self) -> str:
        shown = {name: value for name, value in vars(self).items() if name[0] != "_"}
        shown.pop("skipped")
        return f"{type(self).__name__}({', '.join(f'{k}={v!r}' for k, v in shown.items())})"
