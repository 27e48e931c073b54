"""Numbers as written in a sentence; plain text, which the page escapes."""

from __future__ import annotations

import math

SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
MINUS = "\N{MINUS SIGN}"
DASH = "\N{EN DASH}"  # in place of a number that there is not


def number(value: float, digits: int = 2) -> str:
    """Return a number to `digits` significant digits: 0.036, 1,200 or 3.2 × 10⁻⁹."""
    if not math.isfinite(value):
        return "nan" if math.isnan(value) else f"{MINUS if value < 0 else ''}∞"
    if value == 0:
        return "0"
    mantissa, exponent = f"{abs(value):.{digits - 1}e}".split("e")
    sign, power = MINUS if value < 0 else "", int(exponent)
    if -4 < power < 6:
        return f"{sign}{float(f'{mantissa}e{power}'):,.{max(digits - 1 - power, 0)}f}"
    return f"{sign}{mantissa} × {power_of_ten(power)}"


def power_of_ten(power: int) -> str:
    """Return 10⁻⁹ for -9."""
    return f"10{str(power).translate(SUPERSCRIPT)}"


def steps(count: float) -> str:
    """Return "14 steps", "2.3 steps" or "1 step"."""
    text = f"{count:,.0f}" if float(count).is_integer() else number(count, 2 if count < 100 else 3)
    return f"{text} step" if text == "1" else f"{text} steps"


def percent(share: float) -> str:
    """Return a share in [0, 1] as a percentage; only exact 0 and 1 are shown as 0 and 100."""
    if 0 < share < 0.01:
        return "less than 1%"
    if 0.99 < share < 1:
        return "more than 99%"
    return f"{100 * share:.0f}%"


def listed(parts: list[str]) -> str:
    """Return "a", "a and b" or "a, b and c"."""
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"


def capital(text: str) -> str:
    """Return the text with its first letter a capital."""
    return text[:1].upper() + text[1:]


def decay(e_folding: float) -> str:
    """Return the factor per step, such as ×0.93, from an e-folding time; a dash if that is nan."""
    if math.isnan(e_folding):
        return DASH
    return f"×{number(math.exp(-1 / e_folding) if e_folding else 0.0, 3)}"


def falls(e_folding: float) -> str:
    """Say how fast a decay is: "falls to 1/e every 14 steps", or grows, or stays."""
    if math.isnan(e_folding):
        return "is 0 at all steps but one"
    if math.isinf(e_folding):
        return "neither falls nor grows"
    verb = "falls to 1/e" if e_folding > 0 else "grows by e"
    return f"{verb} every {steps(abs(e_folding))}".replace("every 1 step", "every step")
