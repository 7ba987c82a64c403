import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from topologies import generated, topology_file
from topologies.__main__ import main
from topologies.loader import SHIPPED
from topologies.schema import DIALECT, SCHEMA_FILE, schema_text, topology_schema
from topologies.yamltree import read_tree

DATA = Path(__file__).parents[1] / "data"
SCHEMA = topology_schema()


def violations(value: Any, schema: dict[str, Any], path: str = "") -> Iterator[str]:
    """Where `value` breaks `schema`; knows the few keywords of JSON Schema that ours uses."""
    if "$ref" in schema:
        yield from violations(value, SCHEMA["$defs"][schema["$ref"].rsplit("/", 1)[1]], path)
    if "anyOf" in schema and all(list(violations(value, one, path)) for one in schema["anyOf"]):
        yield f"{path}: none of anyOf"
    kinds = {
        "object": dict,
        "array": list,
        "string": str,
        "integer": int,
        "boolean": bool,
        "null": type(None),
    }
    if "type" in schema and not isinstance(value, kinds[schema["type"]]):
        yield f"{path}: not {schema['type']}"
        return
    if "const" in schema and value != schema["const"]:
        yield f"{path}: not {schema['const']}"
    if "enum" in schema and value not in schema["enum"]:
        yield f"{path}: not in {schema['enum']}"
    if isinstance(value, str) and not re.search(schema.get("pattern", ""), value):
        yield f"{path}: not like {schema['pattern']}"
    if isinstance(value, int) and not schema.get("minimum", value) <= value <= schema.get("maximum", value):
        yield f"{path}: out of range"
    if isinstance(value, list):
        if not schema.get("minItems", 0) <= len(value) <= schema.get("maxItems", len(value)):
            yield f"{path}: number of items"
        for index, item in enumerate(value):
            yield from violations(item, schema.get("items", {}), f"{path}[{index}]")
    if isinstance(value, dict):
        for key in set(schema.get("required", ())) - set(value):
            yield f"{path}.{key}: missing"
        for key, item in value.items():
            if key in schema.get("properties", {}):
                yield from violations(item, schema["properties"][key], f"{path}.{key}")
            elif schema.get("additionalProperties") is False:
                yield f"{path}.{key}: unknown"


def test_committed_schema_is_up_to_date() -> None:
    assert SCHEMA_FILE.read_text(encoding="utf-8") == schema_text(), (
        "run: python -m topologies --write-schema"
    )


def test_schema_names_its_dialect() -> None:
    assert SCHEMA["$schema"] == DIALECT == "https://json-schema.org/draft/2020-12/schema"


def test_every_key_is_described() -> None:
    assert SCHEMA["additionalProperties"] is False
    for model in (SCHEMA, *SCHEMA["$defs"].values()):
        assert model["additionalProperties"] is False
        for key, value in model["properties"].items():
            assert "$ref" in value or value["description"], key


@pytest.mark.parametrize(
    "file", [*SHIPPED.glob("*.yaml"), *(DATA / "good_topologies").glob("*.yaml")], ids=lambda file: file.name
)
def test_schema_accepts_the_good_files(file: Path) -> None:
    assert list(violations(read_tree(file.read_text(encoding="utf-8")).data, SCHEMA)) == []


def test_schema_accepts_what_the_program_writes() -> None:
    assert list(violations(generated(prewired=2).as_file(), SCHEMA)) == []


@pytest.mark.parametrize(
    "name",
    [
        "unknown_key",
        "missing_key",
        "no_nves",
        "not_a_list",
        "name_too_long",
        "delay_without_unit",
        "rate_case",
        "loss_ratio",
        "queue",
        "between_form",
        "encapsulation",
        "udp_port",
        "vni_range",
        "subnet_v6",
        "mac_form",
        "prewired_form",
        "address_word",
        "memory_small",
        "memory_unit",
        "dirty_rate_unit",
        "dhcp_server_form",
        "routed_form",
        "outside_form",
        "outside_keys",
        "outside_empty",
        "outside_link",
    ],
)
def test_schema_refuses_what_the_loader_refuses(name: str) -> None:
    content = (DATA / "bad_topologies" / f"{name}.yaml").read_text(encoding="utf-8")
    assert list(violations(read_tree(content).data, SCHEMA))


def test_command_line_checks_files(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["two_racks", str(topology_file("wide_area"))]) == 0
    out, err = capsys.readouterr()
    assert out.splitlines() == [
        "two_racks: ok: 3 NVEs, 2 racks, 1 spine, 1 tenant, 1 virtual network, 4 VMs",
        f"{SHIPPED / 'wide_area.yaml'}: ok: 2 NVEs, 2 racks, 2 spines, 1 tenant, 1 virtual network, 3 VMs,"
        " 20 ms at underlay.links[2]; needs netem for underlay.links[2].delay",
    ]
    assert err == ""


def test_command_line_tells_all_errors_and_goes_on(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(DATA / "bad_topologies")
    assert main(["many.yaml", "minimal", "no_such.yaml"]) == 2
    out, err = capsys.readouterr()
    assert out == "minimal: ok: 2 NVEs, 1 rack, 0 spines, 1 tenant, 1 virtual network, 2 VMs\n"
    assert len(err.splitlines()) == 7
    assert err.splitlines()[-1].startswith("no_such.yaml: there is no such file")


def test_command_line_without_a_file_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main([])
    assert caught.value.code == 2
    assert "name at least one topology file, or give --write-schema" in capsys.readouterr().err


def test_write_schema(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("topologies.__main__.SCHEMA_FILE", tmp_path / "schema.json")
    assert main(["--write-schema"]) == 0
    assert json.loads((tmp_path / "schema.json").read_text()) == SCHEMA
    monkeypatch.setattr("topologies.__main__.SCHEMA_FILE", tmp_path / "no" / "schema.json")
    assert main(["--write-schema"]) == 2
    assert "schema.json: cannot be written: No such file or directory" in capsys.readouterr().err
