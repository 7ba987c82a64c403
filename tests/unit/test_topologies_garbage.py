"""Whatever is in a file: a topology or TopologyErrors, nothing else."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from topologies import Topology, TopologyErrors, check_topology, parse_topology
from topologies.loader import SHIPPED
from topologies.problems import key_path

SAMPLES = [
    file.read_text(encoding="utf-8")
    for folder in (SHIPPED, Path(__file__).parents[1] / "data" / "good_topologies")
    for file in sorted(folder.glob("*.yaml"))
]
EVERY_KEY = next(text for text in SAMPLES if "name: every_key" in text)
PIECES = [
    *"{}[]:,-?&*!|>%@`#'\"\\ \t\n~<=0",
    "<<: ", "*a", "&a ", "!!binary ", "!!set ", "--- ", "...\n", "%YAML 1.2\n", "null", "true", "1e999", "-1",
    "2001:db8::", "::/64", "routed_between: [[a, b]]\n", "outside: {nve: a}\n", "dhcp",
    "0x1F", "\\UFFFFFFFF", '"\\ud800"', "\x00", "\u2028", "\ufeff", "é", "9" * 5000, "rack1", "nve1", "all",
]  # fmt: skip
LIMITS = settings(max_examples=60)

scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from(PIECES)
anything = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text() | st.sampled_from(PIECES), inner, max_size=4)
    ),
    max_leaves=8,
)


def judge(content: bytes) -> None:
    try:
        topology = parse_topology(content, "t.yaml")
    except TopologyErrors as errors:
        assert errors.errors
        for line in str(errors).split("\n"):
            assert line.startswith("t.yaml:")
            line.encode("utf-8")
    else:
        assert check_topology(topology) == []


@LIMITS
@given(st.binary(max_size=200))
def test_bytes(content: bytes) -> None:
    judge(content)


@LIMITS
@given(st.lists(st.sampled_from(PIECES), max_size=30).map("".join))
def test_yaml_pieces(text: str) -> None:
    judge(text.encode("utf-8", "surrogatepass"))


@st.composite
def mutated(draw: st.DrawFn) -> str:
    text = draw(st.sampled_from(SAMPLES))
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(text)))
        end = min(len(text), start + draw(st.integers(0, 12)))
        text = text[:start] + draw(st.sampled_from(["", *PIECES]) | st.text(max_size=3)) + text[end:]
    return text


@LIMITS
@given(mutated())
def test_mutated_text(text: str) -> None:
    judge(text.encode("utf-8", "surrogatepass"))


@st.composite
def mangled(draw: st.DrawFn) -> Any:
    """The values of a good topology with one or two of them replaced, removed or named otherwise."""
    data = parse_topology(EVERY_KEY.encode(), "good").as_file()
    for _ in range(draw(st.integers(1, 2))):
        place: Any = data
        while True:
            keys = list(place) if isinstance(place, dict) else list(range(len(place)))
            if not keys:
                break
            key = draw(st.sampled_from(keys))
            if isinstance(place[key], dict | list) and draw(st.integers(0, 4)):
                place = place[key]
                continue
            change = draw(st.sampled_from(["replace", "remove", "rename"]))
            if change == "replace":
                place[key] = draw(anything)
            elif change == "rename" and isinstance(place, dict):
                place[draw(st.text() | st.just(f"{key}s"))] = place.pop(key)
            else:
                del place[key]
            break
    return data


@LIMITS
@given(mangled())
def test_mangled_values(data: Any) -> None:
    judge(json.dumps(data).encode())


def leaves(place: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """The paths of all plain values."""
    if isinstance(place, dict | list):
        for key, value in place.items() if isinstance(place, dict) else enumerate(place):
            yield from leaves(value, (*path, key))
    else:
        yield path


@st.composite
def exchanged(draw: st.DrawFn) -> Any:
    """The values of a good topology, some of them copied to other places: each is sound in itself.

    Mostly under the same key (an address becomes another one's, a VM is in another network), so that what is
    wrong afterwards is for the checks to find and not for the models.
    """
    data = parse_topology(draw(st.sampled_from(SAMPLES)).encode(), "good").as_file()
    paths = list(leaves(data))

    def kind(path: tuple[str | int, ...]) -> object:
        return "name" if isinstance(path[-1], int) else path[-1]

    for _ in range(draw(st.integers(1, 6))):
        target = draw(st.sampled_from(paths))
        alike = [path for path in paths if kind(path) == kind(target)] if draw(st.integers(0, 3)) else paths
        place, value = data, data
        for key in draw(st.sampled_from(alike)):
            value = value[key]
        for key in target[:-1]:
            place = place[key]
        place[target[-1]] = value
    return data


@settings(LIMITS, max_examples=120)
@given(exchanged())
def test_exchanged_values(data: Any) -> None:
    judge(json.dumps(data).encode())


@LIMITS
@given(anything)
def test_any_values(data: Any) -> None:
    judge(json.dumps(data).encode())


@pytest.mark.parametrize(
    "path",
    [("a", 0, "b"), ("weird key", "\n"), ("\ud800",), ("x" * 1000,)],
    ids=["plain", "blank", "surrogate", "long"],
)
def test_key_paths_fit_on_a_line(path: tuple[str | int, ...]) -> None:
    assert len(key_path(path)) < 120
    assert "\n" not in key_path(path)
    key_path(path).encode("utf-8")


def test_the_whole_topology_is_reachable_by_mutation() -> None:
    """Guards the tests above: an unchanged sample is good, so what they see is the effect of a change."""
    assert all(isinstance(parse_topology(text.encode(), "t.yaml"), Topology) for text in SAMPLES)


def test_half_a_surrogate_pair_in_a_long_name_is_refused_as_any_wrong_name() -> None:
    data = parse_topology(EVERY_KEY.encode(), "good").as_file()
    data["underlay"]["racks"][0]["name"] = "00000000\ud800\udc00"
    text = json.dumps(data).replace("\\ud800\\udc00", "\\ud800")
    for content in (json.dumps(data), text):
        with pytest.raises(TopologyErrors, match=r"underlay\.racks\[0\]\.name"):
            parse_topology(content.encode(), "t.yaml")
