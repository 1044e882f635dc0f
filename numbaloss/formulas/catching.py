"""Exceptions of formulas: caught where they are raised, reported to the caller of the kernel.

Numba turns an exception of a C function into "Exception ignored", and leaves the function at once,
results unwritten. So kernels of losses that can raise call formulas through :func:`attempt`, which
returns whether they raised. A loop over a block adds that up, like any other number, and stays
vectorised; after the loop it searches for the first element that raised and leaves it in
the memory of the call, in front of the parameters. The caller of the kernel reads it there.

What cannot raise is compiled without any of it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numba import typeof, types
from numba.core import cgutils
from numba.core.compiler_lock import global_compiler_lock
from numba.core.registry import cpu_target
from numba.extending import intrinsic as _intrinsic

from .. import forking, numba_settings
from ..jobs.elementwise import LossHeader
from ..rewriting.specialisation import compiled

# Numba's stubs count the typing context among the arguments of a call.
intrinsic: Any = _intrinsic

HEADER = LossHeader.memory.words
_PLACE = LossHeader.memory.place
LOW, HIGH, LOWEST, HIGHEST = (_PLACE[name] for name in ("low", "high", "lowest", "highest"))
RAISED, NUMBER, TARGET, ONCE = (_PLACE[name] for name in ("raised", "number", "target", "once"))

_callers: dict[Callable, Any] = {}


def caller_of(generic: Callable) -> Any:
    """A function that calls a generic function of losses, apart from others: it may raise."""
    if generic not in _callers:

        def call(self, prediction, target):
            return generic(self, prediction, target)

        call.__qualname__ += f"_{generic.__name__}"
        _callers[generic] = compiled(call)
    return _callers[generic]


def ask(generic: Callable, record: Any, number: Any, target: Any) -> Any:
    """Call a generic function as it is compiled for these arguments.

    A call of the function itself would take what it has for a record of the same name: to Numba's
    dispatch, if not to its types, two classes of one name are the same.
    """
    caller = caller_of(generic)
    given = tuple(map(typeof, (record, number, target)))
    caller.compile(given)
    return caller.overloads[given].entry_point(record, number, target)


def _compiled_for(caller: Any, arguments: tuple[types.Type, ...], context: Any) -> Any:
    """The signature of a call, and the code that it comes to."""
    signature = types.Dispatcher(caller).get_call_type(context, arguments, {})
    return signature, caller.overloads[tuple(signature.args)]


def can_raise(generic: Callable, record: types.Type, real: types.Type) -> bool:
    """Whether a generic function of a loss, on numbers of ``real``, can end in an exception."""
    return ends_in_exceptions(lambda: caller_of(generic), (record, real, real))


def ends_in_exceptions(caller: Callable[[], Any], arguments: tuple[types.Type, ...]) -> bool:
    """Whether a compiled function, on arguments of some types, can end in an exception."""
    forking.check()
    numba_settings.check()
    with global_compiler_lock:
        # Not at the top: kernels for GPUs that come from disk need none of it.
        from ..vmath.overloads import install

        install()
        context = cpu_target.typing_context
        context.refresh()
        _, result = _compiled_for(caller(), arguments, context)
        function = result.library._final_module.get_function(result.fndesc.llvm_func_name)
        for block in function.blocks:
            for instruction in block.instructions:
                # The status of Numba's calling convention: 0 where nothing was raised.
                if instruction.opcode == "ret" and str(instruction).split()[:3] != _DONE:
                    return True
    return False


_DONE = ["ret", "i32", "0"]


def attempt(caller: Any) -> Callable[..., Any]:
    """An intrinsic: whether a compiled function raised, and its results, NaN where it did."""

    @intrinsic
    def attempt_(typing_context: Any, self: Any, prediction: Any, target: Any) -> Any:
        given = self, prediction, target
        inner, result = _compiled_for(caller, given, typing_context)
        kind = types.Tuple([types.boolean, inner.return_type])

        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            context.add_linking_libs([result.library])
            numbers = [
                context.cast(builder, value, given, wanted)
                for value, given, wanted in zip(arguments, signature.args, inner.args)
            ]
            status, found = context.call_internal_no_propagate(
                builder, result.fndesc, inner, numbers
            )
            found = _nan_where(context, builder, inner.return_type, found, status.is_error)
            return context.make_tuple(builder, kind, [status.is_error, found])

        return kind(*given), generate

    return attempt_


def _nan_where(context: Any, builder: Any, kind: Any, found: Any, raised: Any) -> Any:
    """Results of a call, NaN where it raised and left them as memory was."""
    if isinstance(kind, types.BaseTuple):
        parts = [
            _nan_where(context, builder, one, builder.extract_value(found, i), raised)
            for i, one in enumerate(kind)
        ]
        return context.make_tuple(builder, kind, parts)
    if isinstance(kind, types.Float):
        nothing = context.get_constant(kind, float("nan"))
    else:
        nothing = cgutils.get_null_value(found.type)
    return builder.select(raised, nothing, found)


@intrinsic
def leave(typing_context: Any, memory: Any, method: Any, number: Any, target: Any) -> Any:
    """Leave in the memory of a call which method raised, and for what; the first word stays.

    ``memory`` is its address, or a pointer to it.
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        double = context.get_value_type(types.float64)
        place = arguments[0]
        if isinstance(signature.args[0], types.Integer):
            place = builder.inttoptr(place, double.as_pointer())
        words = [
            context.cast(builder, value, kind, types.float64)
            for value, kind in zip(arguments[1:], signature.args[1:])
        ]
        raised = cgutils.gep(builder, place, RAISED)
        free = builder.fcmp_ordered("==", builder.load(raised), double(0.0))
        with builder.if_then(free, likely=False):
            for position, word in zip((NUMBER, TARGET, RAISED), (*words[1:], words[0])):
                builder.store(word, cgutils.gep(builder, place, position))
        return context.get_dummy_value()

    return types.void(memory, method, number, target), generate
