import pytest
from hypothesis import given
from hypothesis import strategies as st

from topologies import units


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("20ms", 0.02),
        ("1.5s", 1.5),
        ("100us", 0.0001),
        ("100µs", 0.0001),
        ("5ns", 5e-9),
        ("15min", 900.0),
        ("2h", 7200.0),
        ("20 ms", 0.02),
        ("0", 0.0),
        (0, 0.0),
        (0.0, 0.0),
        ("0s", 0.0),
    ],
)
def test_duration(text: object, seconds: float) -> None:
    assert units.parse_duration(text) == seconds


@pytest.mark.parametrize(
    ("text", "bps"),
    [("100Mbit", 10**8), ("1Gbit", 10**9), ("10kbit", 10**4), ("7bit", 7), ("0.1Gbit", 10**8), (0, 0)],
)
def test_rate(text: object, bps: int) -> None:
    assert units.parse_rate(text) == bps


@pytest.mark.parametrize(
    ("text", "size"),
    [
        (1450, 1450),
        ("1450", 1450),
        ("1500 B", 1500),
        ("1.5kB", 1500),
        ("4GiB", 4 * 2**30),
        ("512MiB", 512 * 2**20),
        ("1TiB", 2**40),
    ],
)
def test_size(text: object, size: int) -> None:
    assert units.parse_size(text) == size


@pytest.mark.parametrize(("text", "ratio"), [("0.5%", 0.005), ("100%", 1.0), ("0%", 0.0), (0, 0.0)])
def test_loss(text: object, ratio: float) -> None:
    assert units.parse_loss(text) == ratio


DURATION = "must be a duration such as 20ms, 1.5s, 100us or 0 (units: ns, us, ms, s, min, h)"


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("20", f"'20': {DURATION}; the unit is missing"),
        (20, f"20: {DURATION}; the unit is missing"),
        ("20 MS", f"'20 MS': {DURATION}; did you mean '20ms'?"),
        ("-1ms", f"'-1ms': {DURATION}"),
        (-1, f"-1: {DURATION}"),
        ("1e3ms", f"'1e3ms': {DURATION}"),
        ("٣ms", f"'٣ms': {DURATION}"),
        ("20ms\n", f"'20ms\\n': {DURATION}"),
        ("", f"'': {DURATION}"),
        (True, f"True: {DURATION}"),
        (None, f"None: {DURATION}"),
        (float("nan"), f"nan: {DURATION}"),
        (float("inf"), f"inf: {DURATION}"),
    ],
)
def test_bad_duration(value: object, message: str) -> None:
    with pytest.raises(units.UnitError) as caught:
        units.parse_duration(value)
    assert str(caught.value) == message


def test_fractions_of_a_byte_and_of_a_bit_are_refused() -> None:
    with pytest.raises(units.UnitError, match=r"^'1\.5B': must be a whole number of bytes$"):
        units.parse_size("1.5B")
    with pytest.raises(units.UnitError, match=r"^'0\.0001kbit': must be a whole number of bits per second$"):
        units.parse_rate("0.0001kbit")


def test_more_than_everything_cannot_be_lost() -> None:
    with pytest.raises(units.UnitError, match=r"^'101%': must be at most 100%$"):
        units.parse_loss("101%")


def test_texts() -> None:
    assert [units.format_duration(value) for value in (0, 0.02, 1.5, 0.0001, 5e-9, 120.0)] == [
        "0", "20ms", "1.5s", "100us", "5ns", "120s",
    ]  # fmt: skip
    assert [units.format_rate(value) for value in (0, 7, 10**4, 10**8, 1_500_000_000)] == [
        "0bit", "7bit", "10kbit", "100Mbit", "1.5Gbit",
    ]  # fmt: skip
    assert [units.format_size(value) for value in (0, 1450, 2**10, 2**32, 2**40)] == [
        "0B", "1450B", "1KiB", "4GiB", "1TiB",
    ]  # fmt: skip
    assert [units.format_loss(value) for value in (0, 0.005, 1)] == ["0", "0.5%", "100%"]


@pytest.mark.parametrize("value", [-1.0, float("nan"), float("inf")])
def test_no_text_for_what_is_no_quantity(value: float) -> None:
    with pytest.raises(ValueError, match="not a quantity"):
        units.format_duration(value)


@given(st.floats(min_value=1e-12, max_value=1e9))
def test_durations_come_back(seconds: float) -> None:
    assert units.parse_duration(units.format_duration(seconds)) == seconds


@given(st.floats(min_value=0, max_value=1).filter(lambda ratio: ratio == 0 or ratio > 1e-9))
def test_losses_come_back(ratio: float) -> None:
    assert units.parse_loss(units.format_loss(ratio)) == ratio


@given(st.integers(min_value=0, max_value=10**15))
def test_rates_and_sizes_come_back(value: int) -> None:
    assert units.parse_rate(units.format_rate(value)) == value
    assert units.parse_size(units.format_size(value)) == value
