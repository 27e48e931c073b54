"""The equations under the figures, in MathML, which browsers typeset themselves."""

from __future__ import annotations

PARTIAL = "d\N{SUPERSCRIPT PLUS SIGN}"


def math(*parts: str) -> str:
    """Return one equation on a line of its own."""
    return f'<math display="block">{row(*parts)}</math>'


def row(*parts: str) -> str:
    """Return parts side by side; a bare string is an identifier, or an operator if it is not a letter."""
    return f"<mrow>{''.join(map(atom, parts))}</mrow>"


def atom(part: str) -> str:
    """Return MathML for a bare string; MathML is returned unchanged."""
    if part.startswith("<"):
        return part
    if part.isdigit():
        return f"<mn>{part}</mn>"
    upright = ' mathvariant="normal"' if part in ("d", PARTIAL) else ""
    return f"<mi{upright}>{part}</mi>" if part[0].isalpha() else f'<mo stretchy="false">{part}</mo>'


def sub(base: str, *below: str) -> str:
    """Return base with an index."""
    return f"<msub>{atom(base)}{row(*below)}</msub>"


def sup(base: str, *above: str) -> str:
    """Return base with an exponent."""
    return f"<msup>{atom(base)}{row(*above)}</msup>"


def both(base: str, below: str, above: str) -> str:
    """Return base with an index and an exponent."""
    return f"<msubsup>{atom(base)}{atom(below)}{atom(above)}</msubsup>"


def frac(above: str, below: str) -> str:
    """Return a fraction."""
    return f"<mfrac>{atom(above)}{atom(below)}</mfrac>"


def total(below: str, above: str = "") -> str:
    """Return a summation sign with its limits."""
    if above:
        return f"<munderover><mo>∑</mo>{atom(below)}{atom(above)}</munderover>"
    return f"<munder><mo>∑</mo>{atom(below)}</munder>"


BEFORE = row("t", "−", "1")
H, C = sub("λ", "t"), sub("μ", "t")
DIRECT = frac(row(PARTIAL, "L"), row("d", sub("h", "t")))
DIRECT_BEFORE = frac(row(PARTIAL, "L"), row("d", sub("h", BEFORE)))
THROUGH_GATES = row(total("a"), both("δ", "t", "a"), both("U", "a", "⊤"))
THROUGH_RESET = row("(", sub("r", "t"), "⊙", both("δ", "t", "n"), ")", both("U", "n", "⊤"))  # as `flow`'s GRU has it
READOUT = math(sub("q", "t"), "=", sub("o", "t"), "⊙", sup("tanh", "′"), "(", sub("c", "t"), ")")

ADJOINTS = {
    "rnn": math(sub("λ", BEFORE), "=", DIRECT_BEFORE, "+", sub("δ", "t"), sup("U", "⊤")),
    "gru": math(
        sub("λ", BEFORE), "=", DIRECT_BEFORE, "+", sub("z", "t"), "⊙", H, "+",
        both("δ", "t", "r"), both("U", "r", "⊤"), "+", both("δ", "t", "z"), both("U", "z", "⊤"), "+", THROUGH_RESET,
    ),
    "lstm": math(sub("λ", BEFORE), "=", DIRECT_BEFORE, "+", THROUGH_GATES)
    + math(
        sub("μ", BEFORE), "=", sub("f", "t"), "⊙", "(", C, "+", sub("q", "t"), "⊙", H, ")",
    )
    + READOUT,
}  # fmt: skip
IMMEDIATE = math(
    H, "=", frac(row("d", "L"), row("d", sub("h", "t"))), "=", total(row("k", "=", "t"), "T"),
    frac(row("d", sub("L", "k")), row("d", sub("h", "t"))),
) + math(DIRECT, "=", frac(row("∂", sub("L", "t")), row("∂", sub("h", "t"))))  # fmt: skip
GATES = math(both("δ", "t", "a"), "=", frac(row("d", "L"), row("d", both("p", "t", "a"))))
PRODUCT = math(
    sub("P", "t", ",", "k"), "=", frac(row("d", sub("s", "t")), row("d", sub("s", "k"))), "=",
    sub("J", "t"), sub("J", BEFORE), "⋯", sub("J", row("k", "+", "1")),
) + math(
    sub("P", "t", ",", "k"), "=", total("i"), sub("σ", "i"), sub("u", "i"), both("v", "i", "⊤"),
)  # fmt: skip
LYAPUNOV = math(
    sub("Q", "t"), sub("R", "t"), "=", sub("J", "t"), sub("Q", BEFORE),
) + math(
    sub("ℓ", "i"), "=", frac("1", "T"), total(row("t", "=", "1"), "T"),
    "ln", "|", sub("R", row("t", ",", "i", "i")), "|",
)  # fmt: skip
LAGS = math(
    sub("G", "τ"), "=", total("t"), frac(row(PARTIAL, sub("L", "t")), row("d", sub("s", "t"))),
    sub("P", row("t", ",", "t", "−", "τ")), frac(row(PARTIAL, sub("s", row("t", "−", "τ"))), row("d", "U")),
) + math(
    total("τ"), sub("G", "τ"), "=", frac(row("d", "L"), row("d", "U")),
)  # fmt: skip
OPENNESS = {
    "rnn": math(sub("h", "t"), "=", "tanh", "(", sub("x", "t"), "W", "+", sub("h", BEFORE), "U", "+", "b", ")"),
    "gru": math("memory", "=", "−", frac("1", row("⟨", "ln", sub("z", "t"), "⟩"))),
    "lstm": math("memory", "=", "−", frac("1", row("⟨", "ln", sub("f", "t"), "⟩"))),
}
PATHS = {
    "gru": math(
        sub("α", BEFORE), "=", sub("z", "t"), "⊙", sub("α", "t"), "+", DIRECT_BEFORE,
    )
    + math(
        H, "=", sub("α", "t"), "+", sub("β", "t"),
    ),
    "lstm": math(
        sub("α", BEFORE), "=", sub("f", "t"), "⊙", "(", sub("α", "t"), "+", sub("q", "t"), "⊙", DIRECT, ")",
    )
    + math(
        C, "=", sub("α", "t"), "+", sub("β", "t"),
    )
    + READOUT,
}  # fmt: skip
