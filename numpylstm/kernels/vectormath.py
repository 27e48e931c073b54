"""Vector arithmetic while code is being emitted: a value with operators, and exp, sigmoid and tanh written with it.

A `Lanes` stands for one SIMD register of LLVM IR. Python's operators on it do not compute: each appends one
instruction to the code being built. A function of Lanes is therefore a recipe, run once when a kernel is compiled.

    e^kx = 2^n e^kr,   n = round(k x / ln 2),   r = x - n ln 2 / k,   |k r| <= ln 2 / 2        k: 1, -1 or 2
    e^r - 1 = r + r^2 q(r)          q: the interpolation of (e^r - 1 - r) / r^2 at Chebyshev nodes, to half an ulp
    sigmoid(x) = 1 / (1 + e^-x),   tanh |x| = (1 - e^-2|x|) / (1 + e^-2|x|)

x is kept in the range where 2^n is a normal number or, below it, a clean zero (sigmoid's from above only: below that
range it is 0 in the end). Errors, tested: below 3 ulp for normal results.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from llvmlite import ir

from . import host
from .emit import declare, lane_numbers, phi_of, suffix


class Format(NamedTuple):
    """The numbers that exp needs to know about a floating-point type."""

    integer: ir.IntType
    mantissa: int  # bits of the fraction: where the exponent starts
    magic: float  # 1.5 * 2^mantissa + the exponent's bias: adding it rounds to n, and its low bits are 2^n's exponent
    sign: int  # the bit of the sign
    lowest: float  # below this, e^x and sigmoid(x) are taken as 0
    ln2: tuple[float, float]  # ln 2 as a short number and the rest
    q: tuple[float, ...]  # coefficients of q, constant first


FORMATS = {
    "float": Format(
        ir.IntType(32), 23, 1.5 * 2.0**23 + 127, 1 << 31, -88.0, (0.693359375, -2.1219444005469057e-4),
        (0.5, 0.16666576845993976, 0.041666554437685939, 0.0083632029715758550, 0.0013926213466332443),
    ),
    "double": Format(
        ir.IntType(64), 52, 1.5 * 2.0**52 + 1023, 1 << 63, -709.0,
        (0.6931471805599453, 2.3190468138462996e-17),
        (0.50000000000000010211, 0.16666666666666667452, 0.041666666666624161578, 0.0083333333333300644245,
         0.001388888891719688114, 0.000198412698630406699, 2.4801521322116824174e-05, 2.755726848011633485e-06,
         2.7620075999810651055e-07, 2.5100375924709716851e-08),
    ),
}  # fmt: skip
LN2 = math.log(2)
SELU_SCALE = 1.0507009873554804934193349852946
SELU_ALPHA = 1.6732632423543772848170429916717


class Lanes:
    """One vector value in the code being built, with the operators of a number."""

    def __init__(self, builder: ir.IRBuilder, value: ir.Value):
        self.builder, self.value, self.type = builder, value, value.type
        self.format = FORMATS[str(value.type.element)]

    def constant(self, number: float) -> Lanes:
        return Lanes(self.builder, ir.Constant(self.type, [number] * self.type.count))

    def _other(self, other: Lanes | float) -> ir.Value:
        return other.value if isinstance(other, Lanes) else self.constant(other).value

    def __add__(self, other):
        return Lanes(self.builder, self.builder.fadd(self.value, self._other(other)))

    def __sub__(self, other):
        return Lanes(self.builder, self.builder.fsub(self.value, self._other(other)))

    def __rsub__(self, other):
        return Lanes(self.builder, self.builder.fsub(self._other(other), self.value))

    def __mul__(self, other):
        return Lanes(self.builder, self.builder.fmul(self.value, self._other(other)))

    __radd__, __rmul__ = __add__, __mul__

    def __neg__(self):
        return Lanes(self.builder, self.builder.fneg(self.value))

    def times_plus(self, factor: Lanes | float, addend: Lanes | float) -> Lanes:
        """self * factor + addend, rounded once."""
        return Lanes(self.builder, fma(self.builder, self.value, self._other(factor), self._other(addend)))

    def where(self, test: str, bound: float, yes: Lanes | float, no: Lanes | float) -> Lanes:
        """`yes` in the lanes where `self test bound` holds, `no` in the others and in those of a NaN."""
        holds = self.builder.fcmp_ordered(test, self.value, self._other(bound))
        return Lanes(self.builder, self.builder.select(holds, self._other(yes), self._other(no)))

    def bits(self) -> ir.Value:
        return self.builder.bitcast(self.value, ir.VectorType(self.format.integer, self.type.count))

    def from_bits(self, bits: ir.Value) -> Lanes:
        return Lanes(self.builder, self.builder.bitcast(bits, self.type))

    def masked_bits(self, mask: int) -> ir.Value:
        return self.builder.and_(self.bits(), integers(self, mask))


def integers(like: Lanes, number: int) -> ir.Constant:
    """A vector of one integer, as wide as `like`."""
    return ir.Constant(ir.VectorType(like.format.integer, like.type.count), [number] * like.type.count)


def fma(builder: ir.IRBuilder, a: ir.Value, b: ir.Value, c: ir.Value) -> ir.Value:
    """a b + c, rounded once: one instruction of every processor whose vectors are used."""
    function = declare(builder.module, f"llvm.fma.{suffix(a.type)}", a.type, [a.type] * 3)
    return builder.call(function, [a, b, c])


def times_plus(a: Lanes, b: Lanes, c: Lanes) -> Lanes:
    """a b + c, rounded once."""
    return a.times_plus(b, c)


def quotient(a: Lanes, d: Lanes) -> Lanes:
    """a / d for 1/2 <= d <= 1 + e^-lowest: by a division, or on AVX-512, faster, from the 14-bit estimate of 1 / d."""
    if host.ISA != "avx512":
        return Lanes(a.builder, a.builder.fdiv(a.value, d.value))
    y = estimate(d)
    if str(d.type.element) == "double":
        y = y.times_plus((-d).times_plus(y, 1.0), y)
    q = a * y
    return (-d).times_plus(q, a).times_plus(y, q)


def estimate(d: Lanes) -> Lanes:
    """1 / d to 14 bits, register by register (AVX-512)."""
    kind, lanes, mask = ("ps", 16, ir.IntType(16)) if str(d.type.element) == "float" else ("pd", 8, ir.IntType(8))
    register = ir.VectorType(d.type.element, lanes)
    arguments = [register, register, mask]
    function = declare(d.builder.module, f"llvm.x86.avx512.rcp14.{kind}.512", register, arguments)
    parts = []
    for start in range(0, d.type.count, lanes):
        part = d.builder.shuffle_vector(d.value, d.value, lane_numbers(range(start, start + lanes)))
        parts.append(d.builder.call(function, [part, part, mask(-1)]))
    while len(parts) > 1:
        joined = lane_numbers(range(2 * parts[0].type.count))
        parts = [d.builder.shuffle_vector(a, b, joined) for a, b in zip(parts[::2], parts[1::2], strict=True)]
    return Lanes(d.builder, parts[0])


def absolute(x: Lanes) -> Lanes:
    return x.from_bits(x.masked_bits(x.format.sign - 1))


def reduced(x: Lanes, k: int, *ln2: float) -> tuple[Lanes, Lanes]:
    """s = 2^n and p such that e^kx = s + k s p; ln2: the parts whose sum is ln 2, the largest first."""
    form = x.format
    shifted = x.times_plus(k / LN2, form.magic)
    n, r = shifted - form.magic, x
    for part in ln2:
        r = n.times_plus(-part / k, r)
    scaled = [coefficient * k ** (power + 1) for power, coefficient in enumerate(form.q)]
    q = r.constant(scaled.pop())
    for coefficient in reversed(scaled):
        q = q.times_plus(r, coefficient)
    s = x.from_bits(x.builder.shl(shifted.bits(), integers(x, form.mantissa)))
    return s, (r * r).times_plus(q, r)


def exp(x: Lanes) -> Lanes:
    """e^x for x <= 0."""
    s, p = reduced(at_least(x, x.format.lowest), 1, *x.format.ln2)
    return s.times_plus(p, s)


def expm1(x: Lanes) -> Lanes:
    """e^x - 1 for x <= 0, exact to a few ulp also near 0."""
    s, p = reduced(at_least(x, x.format.lowest), 1, *x.format.ln2)
    return s.times_plus(p, s - 1.0)


def at_least(x: Lanes, bound: float) -> Lanes:
    return x.where("<", bound, bound, x)


def sigmoid(x: Lanes) -> Lanes:
    lowest = x.format.lowest
    s, p = reduced(x.where(">", -lowest, -lowest, x), -1, *x.format.ln2)
    e = (-s).times_plus(p, s)  # meaningless below `lowest`
    return x.where("<", lowest, 0.0, quotient(x.constant(1.0), e + 1.0))


def tanh(x: Lanes) -> Lanes:
    # One part of ln 2 is enough: where |n| is large, e^-2|x| is small beside 1.
    s, p = reduced(at_least(-absolute(x), x.format.lowest / 4), 2, LN2)
    m = (-s).times_plus(p, s.times_plus(-0.5, 0.5))  # (1 - e^-2|x|) / 2, so 1 - m is (1 + e^-2|x|) / 2
    size = quotient(m, 1.0 - m)
    return x.from_bits(x.builder.or_(size.masked_bits(x.format.sign - 1), x.masked_bits(x.format.sign)))


def relu(x: Lanes) -> Lanes:
    return x.where("<=", 0.0, 0.0, x)


def selu(x: Lanes) -> Lanes:
    negative = expm1(x.where(">", 0.0, 0.0, x)) * (SELU_SCALE * SELU_ALPHA)
    return x.where(">", 0.0, x * SELU_SCALE, negative)


def linear(x: Lanes) -> Lanes:
    return x


def relu_slope(a: Lanes) -> Lanes:
    return a.where(">", 0.0, 1.0, 0.0)


def selu_slope(a: Lanes) -> Lanes:
    return a.where(">", 0.0, SELU_SCALE, a + SELU_SCALE * SELU_ALPHA)


def tanh_slope(a: Lanes) -> Lanes:
    return 1.0 - a * a


def sigmoid_slope(a: Lanes) -> Lanes:
    return a * (1.0 - a)


def linear_slope(a: Lanes) -> Lanes:
    return a.constant(1.0)


KINDS = ("tanh", "relu", "selu", "sigmoid", "linear")  # the numbers of the activations in a kernel
ACTIVATIONS = (tanh, relu, selu, sigmoid, linear)
SLOPES = (tanh_slope, relu_slope, selu_slope, sigmoid_slope, linear_slope)


def choose(kind: ir.Value, recipes: tuple, x: Lanes) -> Lanes:
    """Apply the recipe whose place in `recipes` is `kind`, a number known only when the code runs."""
    build = x.builder
    cases = [build.append_basic_block(recipe.__name__) for recipe in recipes]
    end = build.append_basic_block("chosen")
    switch = build.switch(kind, cases[-1])
    results = []
    for number, (block, recipe) in enumerate(zip(cases, recipes, strict=True)):
        if block is not cases[-1]:
            switch.add_case(ir.Constant(kind.type, number), block)
        build.position_at_end(block)
        results.append((recipe(x).value, build.block))
        build.branch(end)
    build.position_at_end(end)
    return Lanes(build, phi_of(build, results))


def activate(kind: ir.Value, x: Lanes) -> Lanes:
    """The activation of number `kind` in ACTIVATIONS."""
    return choose(kind, ACTIVATIONS, x)


def slope(kind: ir.Value, a: Lanes) -> Lanes:
    """Its slope where its value is a."""
    return choose(kind, SLOPES, a)
