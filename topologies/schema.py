"""The JSON schema of topology files, for editors: `topologies/schema.json` is written from the models.

A file that begins with `# yaml-language-server: $schema=schema.json` gets completion and descriptions in
editors that speak the YAML language server's protocol.
"""

import json
from pathlib import Path
from typing import Any

from topologies.model import Topology

DIALECT = "https://json-schema.org/draft/2020-12/schema"
SCHEMA_FILE = Path(__file__).with_name("schema.json")


def topology_schema() -> dict[str, Any]:
    """The schema (JSON Schema draft 2020-12)."""
    return {"$schema": DIALECT, **Topology.model_json_schema(by_alias=True, mode="validation")}


def schema_text() -> str:
    """The text of `schema.json`."""
    return json.dumps(topology_schema(), indent=2, ensure_ascii=False) + "\n"


def write_schema(file: Path = SCHEMA_FILE) -> None:
    """Writes `schema.json`. Raises OSError when it cannot."""
    file.write_text(schema_text(), encoding="utf-8")
