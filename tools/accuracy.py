"""Measure the errors and the speed of ``numbaloss.vmath`` and write ``docs/accuracy.md``.

float32: every one of the 2^32 bit patterns, against NumPy's float64 functions (their own error is
2^-29 ULP of float32).  float64 and both powers: stratified samples, against 64-bit-mantissa
``np.longdouble`` (2^-11 ULP), itself checked against mpmath on a subsample.

An error of 0.5 ULP is a correctly rounded result.  ULP are those of the reference's binade, the
smallest denormal below; infinity counts as the next power of two.  NaN for a number, a number for
NaN, and a zero of the wrong sign are counted as mismatches.

    python tools/accuracy.py            # some minutes on two cores; rewrites docs/accuracy.md
    python tools/accuracy.py --quick    # every 1021st float32, fewer samples; prints only

With NUMBA_CPU_NAME=generic and an empty NUMBA_CPU_FEATURES in the environment it measures the code
for the oldest machines, without fused multiply-adds.
"""

import argparse
import os
import platform
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mpmath
import numba
import numpy as np
from numba import njit, types
from numba.extending import intrinsic as numba_intrinsic

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from numbaloss import vmath  # noqa: E402
from numbaloss.vmath import pow32  # noqa: E402
from numbaloss.vmath.overloads import install  # noqa: E402

UNARY = (
    *("exp", "log", "log1p", "expm1", "tanh", "log_cosh"),
    *("sigmoid", "softplus", "log_sigmoid", "sqrt"),
)
CHUNK = 1 << 20
# tests/cuda/test_functions.py holds kernels to it.
ON_GPUS = (
    "In GPU kernels the float32 exponential and its kin use the GPU's own 2^x and 1/x. Of all",
    "float32 numbers, on an NVIDIA H200, by `python tools/accuracy_gpu.py` (max ULP): exp",
    "1.931, expm1 1.327, log 0.881, log1p 1.472, tanh 1.752, sigmoid 2.731, softplus and",
    "log_sigmoid 3.095, log_cosh 1.616, sqrt 0.500. PTX allows 2^x and 1/x to be 2 and 1 ULP",
    "off; with results that far off the others stay within exp 3, sigmoid, softplus and",
    "log_sigmoid 4.5, tanh and log_cosh 2.5. float64 is as above. In elementwise losses of",
    "float16 and bfloat16 arrays exponentials have a relative error of about 1e-7 (2 + |x|),",
    "and are 0 below 1.2e-38; so have their kin. Probabilities of classes below 1.2e-38 are 0.",
)
intrinsic: Any = numba_intrinsic  # its stub counts the typing context among the arguments


@intrinsic
def prefer_wide_vectors(typing_context: Any) -> Any:
    """Ask LLVM for 512-bit vectors in the function being compiled."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        set.add(builder.function.attributes, '"prefer-vector-width"="512"')
        return context.get_dummy_value()

    return types.void(), generate


def elementwise(face: Callable[..., Any]) -> Any:
    """The loop ``out[i] = face(x[i])``, compiled."""

    @njit(nogil=True)
    def kernel(x, out):
        prefer_wide_vectors()
        for i in range(x.size):
            out[i] = face(x[i])

    return kernel


def elementwise_pair(face: Callable[..., Any]) -> Any:
    """The loop ``out[i] = face(x[i], y[i])``, compiled."""

    @njit(nogil=True)
    def kernel(x, y, out):
        prefer_wide_vectors()
        for i in range(x.size):
            out[i] = face(x[i], y[i])

    return kernel


@njit(nogil=True)
def softplus_and_sigmoid(x, value, slope):
    """What binary cross-entropy computes of a logit."""
    prefer_wide_vectors()
    for i in range(x.size):
        logit = x[i]  # read once: after a store LLVM must assume that x has changed
        slope_of_logit = vmath.sigmoid(logit)
        value[i] = vmath.softplus(logit)
        slope[i] = slope_of_logit


@njit(nogil=True, error_model="numpy")
def compare_with_float64(got, reference):
    """Largest error, its place, the sum of errors, the finite count, the mismatches (float32)."""
    worst, place, total, count, wrong = 0.0, 0, 0.0, 0, 0
    for i in range(got.size):
        g, r = np.float64(got[i]), reference[i]
        if np.isnan(g) or np.isnan(r):
            wrong += np.isnan(g) != np.isnan(r)
            continue
        if np.isinf(r) or r == 0.0:
            wrong += g != r or np.signbit(g) != np.signbit(r)
            continue
        if np.isinf(g):
            g = np.copysign(2.0**128, g)
            if abs(r) >= 2.0**128:  # both beyond the largest float32
                continue
        exponent = ((np.float64(abs(r)).view(np.int64)) >> 52) - 1023
        error = abs(g - r) * 2.0 ** (23.0 - min(max(float(exponent), -126.0), 127.0))
        if np.signbit(g) != np.signbit(r):
            wrong += 1
        total += error
        count += 1
        if error > worst:
            worst, place = error, i
    return worst, place, total, count, wrong


@dataclass
class Result:
    """One row of the table."""

    function: str
    dtype: str
    domain: str
    samples: int = 0
    finite: int = 0
    total: float = 0.0
    worst: float = 0.0
    place: str = ""
    mismatches: int = 0

    def add(self, found: tuple[float, int, float, int, int], *arguments: np.ndarray) -> None:
        """Take in what a comparison found for these arguments."""
        worst, index, total, finite, wrong = found
        if worst > self.worst:
            self.worst = worst
            self.place = ", ".join(f"{float(x[index])!r}" for x in arguments)
        self.total += total
        self.finite += finite
        self.mismatches += wrong
        self.samples += arguments[0].size


def reference(name: str, *x: np.ndarray) -> np.ndarray:
    """The function in the precision of its argument, accurate in both tails."""
    with np.errstate(all="ignore"):
        return getattr(vmath, name)(*x)


# ---------------------------------------------------------------- float32


def sweep_float32(name: str, stride: int, pool: ThreadPoolExecutor) -> Result:
    """Every ``stride``-th float32 bit pattern."""
    kernel = elementwise(getattr(vmath, name))
    kernel(np.zeros(1, np.float32), np.zeros(1, np.float32))
    row = Result(name, "float32", "every bit pattern" if stride == 1 else f"1 pattern in {stride}")

    def one(start: int) -> tuple[Any, np.ndarray]:
        stop = min(start + CHUNK * stride, 1 << 32)
        x = np.arange(start, stop, stride, dtype=np.uint64).astype(np.uint32).view(np.float32)
        got = np.empty_like(x)
        kernel(x, got)
        return compare_with_float64(got, reference(name, x.astype(np.float64))), x

    for found, x in pool.map(one, range(0, 1 << 32, CHUNK * stride)):
        row.add(found, x)
    return row


def pow_arguments(rng: np.random.Generator, size: int, dtype: Any) -> Iterator[tuple[Any, Any]]:
    """Pairs whose power is mostly neither 0 nor infinity, and pairs of any two bit patterns."""
    bits = np.uint32 if dtype == np.float32 else np.uint64
    low, high = (-151.0, 129.0) if dtype == np.float32 else (-1076.0, 1025.0)
    top = np.iinfo(bits).max
    size //= 4
    any_x = rng.integers(0, top, size, dtype=bits, endpoint=True).view(dtype)
    any_y = rng.integers(0, top, size, dtype=bits, endpoint=True).view(dtype)
    yield any_x, any_y
    near_one = (1 + rng.normal(0, 1, size) * 2.0 ** rng.uniform(-30, -2, size)).astype(dtype)
    moderate = np.exp(rng.uniform(-5, 5, size)).astype(dtype)
    for base in (np.abs(any_x), near_one, moderate):
        with np.errstate(all="ignore"):
            exponent = rng.uniform(low, high, size) / np.log2(np.abs(base).astype(np.float64))
            yield base, exponent.astype(dtype)


def sample_pow_float32(
    label: str, power: Callable[..., Any], size: int, pool: ThreadPoolExecutor
) -> Result:
    """Stratified random pairs."""
    kernel = elementwise_pair(power)
    kernel(*(np.ones(1, np.float32) for _ in range(3)))
    row = Result(label, "float32", "stratified pairs")

    def one(seed: int) -> list[Any]:
        compared = []
        for x, y in pow_arguments(np.random.default_rng(seed), CHUNK, np.float32):
            got = np.empty_like(x)
            kernel(x, y, got)
            exact = reference("pow", x.astype(np.float64), y.astype(np.float64))
            compared.append((compare_with_float64(got, exact), x, y))
        return compared

    for compared in pool.map(one, range(-(-size // CHUNK))):
        for found, x, y in compared:
            row.add(found, x, y)
    return row


# ---------------------------------------------------------------- float64


def samples_float64(name: str, rng: np.random.Generator, size: int) -> Iterator[np.ndarray]:
    """A quarter each: any bit pattern, the interesting range, small numbers, hard places."""
    size //= 4
    yield rng.integers(0, 2**64 - 1, size, dtype=np.uint64, endpoint=True).view(np.float64)
    wide = rng.uniform(-760, 730, size)
    yield np.exp(wide) if name in ("log", "sqrt") else wide
    spread = rng.choice([-1.0, 1.0], size) * 2.0 ** rng.uniform(-60, 6, size)
    yield np.abs(spread) if name in ("log", "sqrt") else spread
    fifth = size // 5
    half_ln2 = np.rint(rng.uniform(-2200, 2200, fifth)) * (np.log(2) / 2)
    roots = np.sqrt(0.5) * 2.0 ** np.rint(rng.uniform(-60, 60, fifth))
    ones = rng.choice([-1.0, 1.0, 0.5, -0.5, 2.0], fifth)
    thresholds = rng.choice(
        [709.782712893384, -745.1332191019411, -708.3964185322641, -37.0], fifth
    )
    denormals = rng.integers(0, 2**52, fifth).view(np.float64) * rng.choice([-1.0, 1.0], fifth)
    centres = np.concatenate([half_ln2, roots, roots - 1, ones, thresholds])
    steps = np.rint(rng.normal(0, 1, centres.size) * 2.0 ** rng.uniform(0, 30, centres.size))
    yield np.concatenate([centres + steps * np.spacing(centres), denormals])


def compare_with_longdouble(
    got: np.ndarray, exact: np.ndarray
) -> tuple[float, int, float, int, int]:
    """As ``compare_with_float64``, for float64 results."""
    with np.errstate(all="ignore"):
        nan = np.isnan(got) | np.isnan(exact)
        wrong = int(np.sum(np.isnan(got) != np.isnan(exact)))
        wrong += int(np.sum((np.signbit(got) != np.signbit(exact)) & ~nan))
        limit = np.longdouble(2.0) ** 1024
        size = np.minimum(np.abs(exact), limit)
        value = np.minimum(np.abs(got).astype(np.longdouble), limit)
        _, exponent = np.frexp(size)
        exponent = np.clip(exponent, -1021, 1024)
        error = np.abs(value - size) * np.ldexp(np.longdouble(1), 53 - exponent)
        exact_zero = exact == 0
        wrong += int(np.sum((got != 0) & exact_zero & ~nan))
        counted = ~nan & ~exact_zero & (size < limit)
        error = np.where(counted, error, 0)
        place = int(np.argmax(error))
        return float(error[place]), place, float(np.sum(error)), int(np.sum(counted)), wrong


MP_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "exp": mpmath.exp,
    "log": mpmath.log,
    "log1p": mpmath.log1p,
    "expm1": mpmath.expm1,
    "tanh": mpmath.tanh,
    "sigmoid": lambda x: 1 / (1 + mpmath.exp(-x)),
    "softplus": lambda x: mpmath.log1p(mpmath.exp(x)),
    "log_cosh": lambda x: mpmath.log1p(2 * mpmath.sinh(x / 2) ** 2),
    "log_sigmoid": lambda x: -mpmath.log1p(mpmath.exp(-x)),
    "sqrt": mpmath.sqrt,
    "pow": mpmath.power,
}


def exact_error(name: str, arguments: tuple[float, ...], got: float) -> float:
    """Error in ULP against mpmath; 0 where the result is not finite."""
    with mpmath.workprec(300):
        exact = MP_FUNCTIONS[name](*(mpmath.mpf(float(a)) for a in arguments))
        if isinstance(exact, mpmath.mpc) or not mpmath.isfinite(exact) or exact == 0:
            return 0.0
        exponent = max(int(mpmath.frexp(exact)[1]), -1021)
        if exponent > 1024 or not np.isfinite(got):
            return 0.0
        return float(abs(mpmath.mpf(float(got)) - exact) * mpmath.mpf(2) ** (53 - exponent))


def sample_float64(name: str, size: int, exact: int) -> tuple[Result, float]:
    """Stratified samples; also the largest error against mpmath on ``exact`` of them."""
    pair = name == "pow"
    kernel = elementwise_pair(vmath.pow) if pair else elementwise(getattr(vmath, name))
    row = Result(name, "float64", "stratified pairs" if pair else "stratified")
    checked = 0.0
    for seed in range(-(-size // CHUNK)):
        rng = np.random.default_rng(seed)
        pairs: Any = pow_arguments(rng, CHUNK, np.float64)
        for x in pairs if pair else ((x,) for x in samples_float64(name, rng, CHUNK)):
            got = np.empty_like(x[0])
            kernel(*x, got)
            wide = reference(name, *(a.astype(np.longdouble) for a in x))
            found = compare_with_longdouble(got, wide)
            row.add(found, *x)
            if seed == 0:
                finite = np.flatnonzero(np.isfinite(got) & np.isfinite(wide) & (wide != 0))
                chosen = rng.choice(finite, min(exact // 4, finite.size), replace=False)
                for i in [*chosen, found[1]]:
                    checked = max(checked, exact_error(name, tuple(a[i] for a in x), got[i]))
    return row, checked


# ---------------------------------------------------------------- speed


def nanoseconds(function: Callable[..., Any], *arguments: Any, size: int = 2048) -> float:
    """Best time of many, for an element, of arrays that sit in the first-level cache."""
    function(*arguments)
    best = np.inf
    for _ in range(200):
        began = time.perf_counter()
        for _ in range(20):
            function(*arguments)
        best = min(best, time.perf_counter() - began)
    return best / 20 / size * 1e9


def speeds() -> list[tuple[str, str, float, float]]:
    """(function, dtype, ns an element here, ns an element in NumPy)."""
    rows = []
    for dtype in (np.float32, np.float64):
        x = np.random.default_rng(0).normal(0, 3, 2048).astype(dtype)
        positive, out, other = np.abs(x), np.empty_like(x), np.empty_like(x)
        label = np.dtype(dtype).name
        for name in UNARY:
            face = getattr(vmath, name)
            argument = positive if name in ("log", "log1p", "sqrt") else x
            ours = nanoseconds(elementwise(face), argument, out)
            rows.append((name, label, ours, nanoseconds(face, argument)))
        ours = nanoseconds(elementwise_pair(vmath.pow), positive, x, out)
        rows.append(("pow", label, ours, nanoseconds(np.power, positive, x)))
        ours = nanoseconds(softplus_and_sigmoid, x, out, other)
        peers = nanoseconds(lambda z: (vmath.softplus(z), vmath.sigmoid(z)), x)
        rows.append(("softplus and sigmoid of one x", label, ours, peers))
    return rows


def processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        model = next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
        flags = next(line for line in lines if line.startswith("flags"))
        widest = next((f for f in ("avx512f", "avx2", "avx") if f" {f}" in flags), "no AVX")
        return f"{model}, {widest}"
    except (OSError, StopIteration):
        return platform.machine()


def render(rows: list[Result], gpu: Result, exact: dict[str, float], times: list[Any]) -> str:
    speed = {(name, dtype): (ours, peer) for name, dtype, ours, peer in times}
    lines = [
        "# Accuracy and speed of `numbaloss.vmath`",
        "",
        "Written by `python tools/accuracy.py`, whose docstring says how errors are counted.",
        f"Processor: {processor()}. Python {platform.python_version()}, NumPy {np.__version__}, "
        f"Numba {numba.__version__}.",
        "",
        "Speed: one thread, arrays of 2048 elements in the first-level cache, best of many; the",
        "NumPy column is the Python face of the same function.",
        "",
        "| function | dtype | domain | samples | max ULP | mean ULP | worst at | mismatches "
        "| ns/element | NumPy ns/element |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        ours, peer = speed[row.function, row.dtype]
        mean = row.total / max(row.finite, 1)
        lines.append(
            f"| {row.function} | {row.dtype} | {row.domain} | {row.samples:.3g} | {row.worst:.3f} "
            f"| {mean:.3f} | {row.place} | {row.mismatches} | {ours:.2f} | {peer:.2f} |"
        )
    lines += ["", "Both of one argument, sharing the exponential:", ""]
    lines += ["| functions | dtype | ns/element | NumPy ns/element |", "|---|---|---|---|"]
    for name, dtype, ours, peer in times:
        if " " in name:
            lines.append(f"| {name} | {dtype} | {ours:.2f} | {peer:.2f} |")
    lines += [
        "",
        "The `pow` of float32 in GPU kernels, which is another (float32 arithmetic only), compiled",
        f"for this CPU: {gpu.samples:.3g} stratified pairs, "
        f"max ULP {gpu.worst:.3f} at {gpu.place},",
        f"mean ULP {gpu.total / max(gpu.finite, 1):.3f}, mismatches {gpu.mismatches}.",
        "",
        "float64 against mpmath, on a subsample and the worst places found (max ULP):",
        "",
    ]
    lines.append(", ".join(f"{name} {error:.3f}" for name, error in exact.items()) + ".")
    lines += ["", *ON_GPUS]
    return "\n".join(lines) + "\n"


def report(row: Result, exact: float = 0.0) -> None:
    print(
        f"{row.function:12} {row.dtype} {row.samples:.3g} samples, max {row.worst:.4f} at "
        f"{row.place}, mean {row.total / max(row.finite, 1):.3f}, mismatches "
        f"{row.mismatches}, against mpmath {exact:.3f}",
        flush=True,
    )


def main() -> None:
    """Measure, print, and write the table if nothing was left out."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="strided sweep, print only")
    parser.add_argument("--only", nargs="*", help="these functions only; prints, never writes")
    parser.add_argument("--dtype", choices=["float32", "float64"], help="this dtype only")
    options = parser.parse_args()
    install()
    rows, exact = [], {}
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for name in options.only or [*UNARY, "pow"]:
            for dtype in [options.dtype] if options.dtype else ["float32", "float64"]:
                if dtype == "float64":
                    size, checks = (10**6, 400) if options.quick else (10**7, 4000)
                    row, exact[name] = sample_float64(name, size, checks)
                elif name == "pow":
                    size = 4 * 10**6 if options.quick else 4 * 10**8
                    row = sample_pow_float32("pow", vmath.pow, size, pool)
                    gpu = sample_pow_float32("pow on GPUs", pow32.pow, size, pool)
                    report(gpu)
                else:
                    row = sweep_float32(name, 1021 if options.quick else 1, pool)
                rows.append(row)
                report(row, exact.get(name, 0.0))
    if options.dtype or options.only:
        return
    rows.sort(key=lambda row: row.dtype)
    text = render(rows, gpu, exact, speeds())
    if options.quick:
        print(text)
    else:
        (ROOT / "docs" / "accuracy.md").write_text(text)


if __name__ == "__main__":
    main()
