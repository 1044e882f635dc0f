"""What all optimisers have: steps on trees of arrays, in place, and a state that can be kept."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from ..misuse import real_number
from .cpu_steps import real_of
from .norms import factor_of, first_bad, global_norm
from .plans import Plan, Views, grouped
from .rules import Rule
from .states import LeafState, filled
from .trees import named_leaves, pair

if TYPE_CHECKING:
    from .monitors import Monitor

ON_NONFINITE = ("raise", "skip", "propagate")


class Optimizer:
    """Base of all optimisers: :class:`SGD`, :class:`Adam` and the others.

    Parameters
    ----------
    learning_rate : float >= 0
    maximize : bool
        Go up.
    on_nonfinite : {"raise", "skip", "propagate"}
        What becomes of a step whose gradient holds NaN or an infinity: an error that names the
        leaf, nothing, or what the formula makes of it. For the first two gradients are read once
        more, before anything is written.

    Attributes
    ----------
    steps, skipped : int
        How many steps were taken, and how many were left out.
    gradient_norm : float
        That of the last step with ``max_norm``, before it was clipped.
    """

    _bounds: ClassVar[dict[str, tuple[float, float]]] = {}

    def __init__(
        self, learning_rate: float, *, maximize: bool = False, on_nonfinite: str = "raise"
    ) -> None:
        self.learning_rate = learning_rate
        self.maximize = bool(maximize)
        self.on_nonfinite = on_nonfinite
        self.steps, self.skipped, self.gradient_norm = 0, 0, math.nan
        self._states: dict[str, LeafState] = {}
        self._plan: Plan | None = None

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "on_nonfinite":
            if value not in ON_NONFINITE:
                raise ValueError(f"on_nonfinite must be one of {ON_NONFINITE}, not {value!r}")
        elif name == "betas":
            value = _two_betas(value)
        elif name in self._bounds or name == "learning_rate":
            low, high = self._bounds.get(name, (0.0, math.inf))
            value = real_number(value, name)
            if not low <= value < high:
                raise ValueError(f"{name} must be in [{low:g}, {high:g}), not {value}")
        object.__setattr__(self, name, value)
        if name != "_plan" and (plan := self.__dict__.get("_plan")) and plan.rule != self._rule():
            self._forget_plan()  # without a momentum, say, the rule is another

    def _rule(self) -> Rule:
        raise NotImplementedError

    def _numbers(self, step: int, rate: float) -> tuple[float, ...]:
        """The numbers of step 1, 2, ..., but for the first, what gradients are multiplied by."""
        raise NotImplementedError

    def _beginning(self, slot: str) -> float:
        """What a state is at first."""
        return 0.0

    def step(
        self,
        parameters: Any,
        gradients: Any,
        learning_rate: float | None = None,
        *,
        max_norm: float | None = None,
        monitor: Monitor | None = None,
    ) -> bool:
        """Change parameters in place, by gradients of the same form.

        Parameters
        ----------
        parameters : array, or dicts, lists and tuples of arrays, nested in any way
            float32, float64, float16 or bfloat16 (halves are computed in float32, of which a
            copy is kept); contiguous, writeable, apart from one another. They may live on the CPU
            or on GPUs, and be NumPy's, or tensors, say, that can be written to.
        gradients : the same
            Of the same form, shapes and dtypes. None in the place of an array, or of a branch,
            leaves those parameters and their states as they are.
        learning_rate : float >= 0, optional
            That of this step alone, as a schedule gives it; otherwise the attribute counts.
        max_norm : float > 0, optional
            The step is that of gradients clipped by their global norm, which are not changed: one
            pass less than :func:`clip_by_global_norm` before it.
        monitor : Monitor, optional
            Watches gradients and changes, in the same pass.

        Returns
        -------
        bool
            Whether the step was taken: False where it was skipped.

        Raises
        ------
        FloatingPointError
            With ``on_nonfinite="raise"``, for a gradient that holds NaN or an infinity.
        ValueError, TypeError
            For arrays that no step can be taken on; the leaf is named. Nothing was written.
        """
        if type(parameters) is np.ndarray:
            mine, its = [parameters], [gradients]
        else:
            mine, its = [], []
            pair(parameters, gradients, mine, its)
        plan = self._plan
        if plan is None or not plan.holds(mine, its):
            plan = self._renewed(parameters, mine, its)
        rate = self.learning_rate if learning_rate is None else learning_rate
        if not 0.0 <= rate < math.inf:
            raise ValueError(f"learning_rate must be in [0, inf), not {rate}")
        scale = -1.0 if self.maximize else 1.0
        if max_norm is not None:
            scale *= self._clipped(plan, max_norm)
        elif self.on_nonfinite != "propagate":
            for group in plan.groups:
                if group.table.count_bad(group.kind):
                    scale = math.nan
                    break
        if scale != scale and self.on_nonfinite != "propagate":
            return self._refused(plan)
        rule, watched = plan.rule, monitor is not None and monitor.due(self.steps)
        for group in plan.groups:
            step = group.step = group.step + 1
            group.table.put((scale, *self._numbers(step, rate)))
            group.table.step(rule, group.kind, watched)
        if monitor is not None and watched:
            monitor.take(self.steps, plan)
        self.__dict__["steps"] += 1
        return True

    def _clipped(self, plan: Plan, max_norm: float) -> float:
        """What gradients are multiplied by; NaN where they are not to be taken."""
        if not max_norm > 0.0:
            raise ValueError(f"max_norm must be positive, not {max_norm}")
        norm = global_norm([(group.table, group.kind) for group in plan.groups])
        self.__dict__["gradient_norm"] = norm
        if self.on_nonfinite != "propagate" and not math.isfinite(norm):
            return math.nan
        return factor_of(norm, max_norm)

    def _refused(self, plan: Plan) -> bool:
        """Leave a step out, or raise."""
        if self.on_nonfinite == "skip":
            self.__dict__["skipped"] += 1
            return False
        tables = [(group.table, group.kind) for group in plan.groups]
        place = first_bad(tables, [group.places for group in plan.groups])
        name = "a leaf" if place is None else plan.names[place]
        raise FloatingPointError(
            f"the gradient of {name} holds NaN or an infinity at step {self.steps}, and nothing "
            f"was changed. Remedies: a smaller learning rate, max_norm=, on_nonfinite='skip'; "
            f"'propagate' takes it as it is"
        )

    def _renewed(self, tree: Any, parameters: list[Any], gradients: list[Any]) -> Plan:
        """Look at all leaves anew."""
        views = Views([name for name, _ in named_leaves(tree)], parameters, gradients)
        plan = self._plan
        if plan is None or plan.count != len(parameters) or plan.form != views.form():
            for place, view in views.parameters.items():
                state = self._states.get(views.names[place])
                if state is not None and not state.fits(view):
                    raise ValueError(
                        f"parameter {views.names[place]} has shape {view.array.shape} and dtype "
                        f"{view.kind}, its state is of shape {state.shape} and dtype "
                        f"{state.kind}: use a new optimiser, or reset() this one"
                    )
            self._forget_plan()
            rule = self._rule()
            for place, view in views.parameters.items():
                self._keep(views.names[place], view, rule)
            plan = Plan(views, rule, grouped(views, rule, self._states), len(parameters))
        plan.refresh(views, parameters, gradients)
        self._plan = plan
        return plan

    def _keep(self, name: str, view: Any, rule: Rule) -> None:
        """Have the states of a leaf that a rule needs, where the leaf lives."""
        state = self._states.get(name)
        if state is None:
            state = self._states[name] = LeafState(view.kind, view.array.shape)
        real = real_of(view.kind)
        lacking = [(slot, self._beginning(slot)) for slot in rule.slots]
        if view.kind != real:
            lacking.append(("master", math.nan))
        lacking = [one for one in lacking if one[0] not in state.arrays]
        if lacking:
            state.move(None)
            for slot, number in lacking:
                state.arrays[slot] = filled(state.shape, number, real)
        state.move(view.device)

    def _forget_plan(self) -> None:
        self._settle()
        self._plan = None

    def _settle(self) -> None:
        """Write down how many steps each leaf has taken."""
        if self._plan is not None:
            for group in self._plan.groups:
                for state in group.states:
                    state.step = group.step

    def state(self) -> dict[str, Any]:
        """All that is kept between steps: a plain dict of arrays, numbers and names, copied.

        ``learning_rate``, ``steps`` and ``optimizer``; for each leaf ``NAME/step``, the steps that
        it has taken, ``NAME/dtype``, ``NAME/shape``, and its states by PyTorch's names for them:
        ``NAME/exp_avg``, ``NAME/momentum_buffer`` and so on; for halves ``NAME/master``. All of it
        can be pickled, and saved by ``numpy.savez``.
        """
        self._settle()
        found: dict[str, Any] = {
            "optimizer": type(self).__name__,
            "learning_rate": self.learning_rate,
            "steps": self.steps,
        }
        for name, state in self._states.items():
            found[f"{name}/dtype"], found[f"{name}/shape"] = state.kind, state.shape
            found[f"{name}/step"] = state.step
            for slot, array in state.copies().items():
                found[f"{name}/{slot}"] = array
        return found

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Go on from what :meth:`state` gave, with parameters of the same names and shapes.

        Raises
        ------
        ValueError
            For the state of another optimiser, or one that lacks something.
        """
        if str(state.get("optimizer")) != type(self).__name__:
            raise ValueError(
                f"this is the state of {state.get('optimizer')!s}, not of {type(self).__name__}"
            )
        rule = self._rule()
        found: dict[str, LeafState] = {}
        for key in state:
            name, _, what = key.rpartition("/")
            if what == "step" and name:
                found[name] = _loaded(name, state, rule)
        self.learning_rate = float(state["learning_rate"])
        self._plan = None
        self._states, self.steps = found, int(state["steps"])

    def reset(self) -> None:
        """Forget all states: the next step is the first."""
        self._plan = None
        self._states, self.steps, self.skipped = {}, 0, 0

    def __getstate__(self) -> dict[str, Any]:
        self._settle()
        for state in self._states.values():
            state.move(None)  # arrays on a GPU go back there at the next step
        self._plan = None
        return {**self.__dict__, "_plan": None}

    def __repr__(self) -> str:
        hidden = ("steps", "skipped", "gradient_norm")
        shown = {k: v for k, v in vars(self).items() if k[0] != "_" and k not in hidden}
        return f"{type(self).__name__}({', '.join(f'{k}={v!r}' for k, v in shown.items())})"


def _two_betas(given: Any) -> tuple[float, float]:
    try:
        first, second = (real_number(one, "betas") for one in given)
    except (TypeError, ValueError):
        raise ValueError(f"betas must be two numbers in [0, 1), not {given!r}") from None
    if not (0.0 <= first < 1.0 and 0.0 <= second < 1.0):
        raise ValueError(f"betas must be two numbers in [0, 1), not {given!r}")
    return first, second


def _loaded(name: str, state: Mapping[str, Any], rule: Rule) -> LeafState:
    """The state of a leaf, out of a dict of all."""
    kind = str(state[f"{name}/dtype"])
    shape = tuple(int(length) for length in state[f"{name}/shape"])
    made = LeafState(kind, shape, int(state[f"{name}/step"]))
    real = real_of(kind)
    for slot in (*rule.slots, *(["master"] if kind != real else [])):
        key = f"{name}/{slot}"
        if key not in state:
            raise ValueError(f"the state lacks {key}: it is that of other options")
        given = np.asarray(state[key], real)
        if given.shape != shape:
            raise ValueError(f"{key} has shape {given.shape}, its leaf {shape}")
        made.arrays[slot] = filled(shape, 0.0, real)
        made.arrays[slot][...] = given
    return made
