"""The few instructions that Numba has no spelling for."""

from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic


@intrinsic
def prefer_wide_vectors(typingctx):
    """Let LLVM use 512-bit registers in the function that calls this.

    LLVM prefers 256 bits on AVX-512 machines, for fear of lower clocks that present
    processors no longer show: loops bound by an exponential ran 1.3 to 1.45 times
    faster with 512. Machines without AVX-512 ignore the attribute.
    """

    def codegen(context, builder, signature, args):
        # llvmlite quotes no attribute of its own; the set underneath prints them as given.
        set.add(builder.function.attributes, '"prefer-vector-width"="512"')
        return context.get_dummy_value()

    return types.void(), codegen


@intrinsic
def no_alias(typingctx):
    """Promise that the pointer arguments of the calling function do not overlap.

    Without it LLVM needs a run-time test for every pair of the five pointers of a
    kernel, which is more than it is willing to emit, and leaves the loop scalar.
    """

    def codegen(context, builder, signature, args):
        for argument in builder.function.args:
            if isinstance(argument.type, ir.PointerType):
                argument.add_attribute("noalias")
        return context.get_dummy_value()

    return types.void(), codegen


@intrinsic
def load_integer(typingctx, address, integer):
    """Read an integer of the type of ``integer`` from any address, aligned or not."""
    result = integer

    def codegen(context, builder, signature, args):
        kind = context.get_value_type(result)
        pointer = builder.inttoptr(args[0], kind.as_pointer())
        return builder.load(pointer, align=1)

    return result(types.int64, integer), codegen


@intrinsic
def store_integer(typingctx, address, integer):
    """Write ``integer`` to any address, aligned or not."""

    def codegen(context, builder, signature, args):
        pointer = builder.inttoptr(args[0], args[1].type.as_pointer())
        builder.store(args[1], pointer, align=1)
        return context.get_dummy_value()

    return types.void(types.int64, integer), codegen


@intrinsic
def swap_bytes(typingctx, integer):
    """Reverse the bytes of an integer."""

    def codegen(context, builder, signature, args):
        if args[0].type.width == 8:
            return args[0]
        return builder.bswap(args[0])

    return integer(integer), codegen


@intrinsic
def pointer(typingctx, address, element):
    """Make the integer ``address`` a pointer to numbers of the type of ``element``."""
    result = types.CPointer(element)

    def codegen(context, builder, signature, args):
        return builder.inttoptr(args[0], context.get_value_type(result))

    return result(types.int64, element), codegen


def caller(restype, *argtypes):
    """Make an intrinsic that calls a C function through its address.

    Passing Numba's first-class functions costs 100 us a call; an address costs nothing.
    """

    @intrinsic
    def call(typingctx, address, arguments):
        def codegen(context, builder, signature, args):
            kinds = [context.get_value_type(kind) for kind in argtypes]
            function = ir.FunctionType(context.get_value_type(restype), kinds)
            target = builder.inttoptr(args[0], function.as_pointer())
            values = [
                context.cast(builder, value, given, wanted)
                for value, given, wanted in zip(
                    cgutils.unpack_tuple(builder, args[1]), signature.args[1].types, argtypes
                )
            ]
            result = builder.call(target, values)
            return context.get_dummy_value() if restype == types.void else result

        return restype(types.int64, arguments), codegen

    return call


@intrinsic
def stack_memory(typingctx, size):
    """Address of ``size`` bytes, a literal, on the stack of the calling function."""
    if not isinstance(size, types.IntegerLiteral):
        return None
    count = size.literal_value

    def codegen(context, builder, signature, args):
        # Not cgutils.alloca_once: it fills the memory with zeros, at every call.
        with builder.goto_entry_block():
            buffer = builder.alloca(ir.IntType(8), size=ir.Constant(cgutils.intp_t, count))
        buffer.align = 64
        return builder.ptrtoint(buffer, cgutils.intp_t)

    return types.int64(size), codegen


class FloatMode:
    """Code that reads and writes a thread's mode of floating-point arithmetic, by processor.

    ``flush`` is the bit that turns denormal results into 0: FTZ of x86's MXCSR, FZ of AArch64's
    FPCR, which takes denormal operands for 0 as well.
    """

    def __init__(self, builder):
        triple = builder.module.triple
        self.builder = builder
        self.x86 = triple.startswith(("x86_64", "i386", "i686"))
        self.arm = triple.startswith(("aarch64", "arm64"))
        self.flush = 0x8000 if self.x86 else 1 << 24

    @property
    def known(self):
        return self.x86 or self.arm

    def _call(self, name, result, *arguments):
        kind = ir.FunctionType(result, [one.type for one in arguments])
        function = cgutils.get_or_insert_function(self.builder.module, kind, name)
        return self.builder.call(function, arguments)

    def read(self):
        if self.arm:
            mode = self._call("llvm.aarch64.get.fpcr", ir.IntType(64))
            return self.builder.trunc(mode, ir.IntType(32))
        place = cgutils.alloca_once(self.builder, ir.IntType(32))
        address = self.builder.bitcast(place, ir.IntType(8).as_pointer())
        self._call("llvm.x86.sse.stmxcsr", ir.VoidType(), address)
        return self.builder.load(place)

    def write(self, mode):
        if self.arm:
            wide = self.builder.zext(mode, ir.IntType(64))
            self._call("llvm.aarch64.set.fpcr", ir.VoidType(), wide)
            return
        place = cgutils.alloca_once(self.builder, ir.IntType(32))
        self.builder.store(mode, place)
        address = self.builder.bitcast(place, ir.IntType(8).as_pointer())
        self._call("llvm.x86.sse.ldmxcsr", ir.VoidType(), address)


@intrinsic
def flush_denormals(typingctx):
    """Let results too small for a normal number be 0 in this thread; the former mode.

    Processors of Intel take some 150 cycles for an instruction one of whose results is
    denormal. Softmax of a row that is far apart is full of them: ``exp(-inf)`` of an excluded
    class made rows of 16 classes 3 times slower, logits 90 apart any row 10 times.
    On AArch64 it is done for the sake of the same results; elsewhere nothing happens.
    """

    def codegen(context, builder, signature, args):
        word, mode = ir.IntType(32), FloatMode(builder)
        if not mode.known:
            return ir.Constant(word, 0)
        former = mode.read()
        mode.write(builder.or_(former, ir.Constant(word, mode.flush)))
        return former

    return types.int32(), codegen


@intrinsic
def restore_denormals(typingctx, former):
    """Go back to the mode that :func:`flush_denormals` found."""

    def codegen(context, builder, signature, args):
        mode = FloatMode(builder)
        if mode.known:
            mode.write(args[0])
        return context.get_dummy_value()

    return types.void(types.int32), codegen


@intrinsic
def prefetch(typingctx, address, write):
    """Ask for the cache line of an address, to be read or written; no address is a wrong one.

    ``write`` is a literal: 0 or 1.
    """
    if not isinstance(write, types.IntegerLiteral):
        return None

    def codegen(context, builder, signature, args):
        word = ir.IntType(32)
        place = builder.inttoptr(args[0], ir.IntType(8).as_pointer())
        kind = ir.FunctionType(ir.VoidType(), [place.type, word, word, word])
        function = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
        constants = [ir.Constant(word, number) for number in (write.literal_value, 3, 1)]
        builder.call(function, [place, *constants])
        return context.get_dummy_value()

    return types.void(types.int64, write), codegen


LINE_BYTES = 64


@njit(forceinline=True)
def prefetch_to_read(address, size):
    """Ask for the cache lines of so many bytes that are read next."""
    for line in range(0, size, LINE_BYTES):
        prefetch(address + line, 0)


@njit(forceinline=True)
def prefetch_to_write(address, size):
    for line in range(0, size, LINE_BYTES):
        prefetch(address + line, 1)


def interleaving(choose):
    """Make an intrinsic: how many vectors LLVM works on side by side in loops of the caller.

    ``choose()`` is asked at the end of a loop, when all that the loop calls is compiled; 0 leaves
    it to LLVM. It is a hint on the branch back to the head of a loop. It changes no result; where
    Numba comes to end its loops otherwise, nothing gets it.
    """

    @intrinsic
    def interleave(typingctx):
        def codegen(context, builder, signature, args):
            plain = builder.branch

            def branch(target):
                instruction = plain(target)
                count = choose() if target.is_terminated else 0  # else it leads forward
                if count:
                    _hint(builder.module, instruction, "llvm.loop.interleave.count", count)
                return instruction

            builder.branch = branch
            return context.get_dummy_value()

        return types.void(), codegen

    return interleave


def _hint(module, branch, name, number):
    """Tell LLVM's passes over loops something of the loop that a branch ends."""
    hint = module.add_metadata([ir.MetaDataString(module, name), ir.IntType(32)(number)])
    # The first operand of what describes a loop is itself, which keeps it apart from others.
    loop = ir.MDValue(module, [hint], name=str(len(module.metadata)))
    loop.operands = (loop, hint)
    branch.set_metadata("llvm.loop", loop)
