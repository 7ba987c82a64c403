"""The one place that reads and writes quantities with a unit: durations, rates, sizes and loss.

A file or a command line says `20ms`, `100Mbit`, `4GiB` or `0.5%`; the program works in seconds, bits per
second, bytes and ratios. Reading is exact (fractions, no float in between), so that `0.1Gbit` is 100,000,000
and `parse_x(format_x(v)) == v` holds.

Factors of k, M and G are 1000 (SI); those of Ki, Mi, Gi and Ti are 1024 (IEC 80000-13).
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction

_QUANTITY = re.compile(r"([0-9]{1,20}(?:\.[0-9]{1,30})?) ?([A-Za-zµ%]*)")


class UnitError(ValueError):
    """A quantity that cannot be read: `value` is what was given, `allowed` says which forms are allowed."""

    def __init__(self, value: object, allowed: str) -> None:
        super().__init__(f"{value!r}: {allowed}")
        self.value = value
        self.allowed = allowed


@dataclass(frozen=True)
class _Kind:
    what: str
    examples: str
    factors: Mapping[str, Fraction]  # unit -> how many of the base unit it is
    bare_number: bool  # whether a number without a unit is allowed (0 always is)


_DURATION = _Kind(
    "a duration",
    "20ms, 1.5s, 100us or 0 (units: ns, us, ms, s, min, h)",
    {
        "ns": Fraction(1, 10**9),
        "us": Fraction(1, 10**6),
        "µs": Fraction(1, 10**6),
        "ms": Fraction(1, 10**3),
        "s": Fraction(1),
        "min": Fraction(60),
        "h": Fraction(3600),
    },
    bare_number=False,
)
_RATE = _Kind(
    "a rate",
    "100Mbit, 1Gbit or 10kbit (bits per second; units: bit, kbit, Mbit, Gbit)",
    {"bit": Fraction(1), "kbit": Fraction(10**3), "Mbit": Fraction(10**6), "Gbit": Fraction(10**9)},
    bare_number=False,
)
_SIZE = _Kind(
    "a size",
    "1450, 1500B, 512MiB or 4GiB (bytes; units: B, kB, MB, GB, KiB, MiB, GiB, TiB)",
    {
        "B": Fraction(1),
        "kB": Fraction(10**3),
        "MB": Fraction(10**6),
        "GB": Fraction(10**9),
        "KiB": Fraction(2**10),
        "MiB": Fraction(2**20),
        "GiB": Fraction(2**30),
        "TiB": Fraction(2**40),
    },
    bare_number=True,
)
_LOSS = _Kind("a share of packets", "0.5%, 2% or 0", {"%": Fraction(1, 100)}, bare_number=False)


def parse_duration(value: object) -> float:
    """A duration (`20ms`, `1.5s`, `100us`, `0`) in seconds. UnitError names the allowed forms."""
    return float(_parse(value, _DURATION))


def parse_rate(value: object) -> int:
    """A rate (`100Mbit`, `1Gbit`, `10kbit`) in bits per second. UnitError names the allowed forms."""
    return _whole(value, _RATE, "bits per second")


def parse_size(value: object) -> int:
    """A size (`1450`, `1500B`, `512MiB`, `4GiB`) in bytes. UnitError names the allowed forms."""
    return _whole(value, _SIZE, "bytes")


def parse_loss(value: object) -> float:
    """A share of packets lost (`0.5%`, `0`) as a ratio from 0 to 1. UnitError names the allowed forms."""
    ratio = _parse(value, _LOSS)
    if ratio > 1:
        raise UnitError(value, "must be at most 100%")
    return float(ratio)


def format_duration(seconds: float) -> str:
    """Seconds as text that `parse_duration` reads back to the same number: 0.02 -> `20ms`."""
    return _format(seconds, (("s", 0), ("ms", 3), ("us", 6), ("ns", 9)))


def format_rate(bits_per_second: int) -> str:
    """Bits per second as text that `parse_rate` reads back to the same number: 100000000 -> `100Mbit`."""
    return (
        "0bit"
        if bits_per_second == 0
        else _format(bits_per_second, (("Gbit", -9), ("Mbit", -6), ("kbit", -3), ("bit", 0)))
    )


def format_size(size_bytes: int) -> str:
    """Bytes as text that `parse_size` reads back to the same number: 1450 -> `1450B`, 2**32 -> `4GiB`."""
    if size_bytes < 0:
        raise ValueError(f"a size is not negative: {size_bytes}")
    for unit, factor in (("TiB", 2**40), ("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if size_bytes and size_bytes % factor == 0:
            return f"{size_bytes // factor}{unit}"
    return f"{size_bytes}B"


def format_loss(ratio: float) -> str:
    """A ratio from 0 to 1 as text that `parse_loss` reads back to the same number: 0.005 -> `0.5%`."""
    return _format(ratio, (("%", 2),))


def _parse(value: object, kind: _Kind) -> Fraction:
    allowed = f"must be {kind.what} such as {kind.examples}"
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise UnitError(value, allowed)
    if isinstance(value, str):
        match = _QUANTITY.fullmatch(value)
        if match is None:
            raise UnitError(value, allowed)
        number, unit = Fraction(match[1]), match[2]
        if unit in kind.factors:
            return number * kind.factors[unit]
        if unit:
            meant = next((known for known in kind.factors if known.lower() == unit.lower()), None)
            raise UnitError(value, f"{allowed}; did you mean '{match[1]}{meant}'?" if meant else allowed)
    elif value < 0 or value != value or (isinstance(value, float) and not value.is_integer()):
        raise UnitError(value, allowed)
    else:
        number = Fraction(value)
    if number == 0 or kind.bare_number:
        return number
    raise UnitError(value, f"{allowed}; the unit is missing")


def _whole(value: object, kind: _Kind, unit: str) -> int:
    number = _parse(value, kind)
    if number.denominator != 1:
        raise UnitError(value, f"must be a whole number of {unit}")
    return number.numerator


def _format(value: float, units: tuple[tuple[str, int], ...]) -> str:
    """`units`: (unit, power of ten to multiply a value in the base unit by), the largest unit first."""
    exact = Decimal(repr(value))
    if not exact.is_finite() or exact < 0:
        raise ValueError(f"not a quantity: {value!r}")
    if exact == 0:
        return "0"
    for unit, power in units:
        scaled = exact.scaleb(power)
        if scaled >= 1 or unit == units[-1][0]:
            text = format(scaled, "f")
            return (text.rstrip("0").rstrip(".") if "." in text else text) + unit
    raise AssertionError("the last unit always fits")
