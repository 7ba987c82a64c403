"""Turns pydantic's errors about a topology into plain `Problem`s, without type names and web addresses."""

import types
from collections.abc import Iterable, Mapping
from typing import Any, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from topologies.foreign_words import Foreign, foreign
from topologies.model import Topology
from topologies.problems import Path, Problem, did_you_mean, listed, shown


def problems_of(error: ValidationError) -> list[Problem]:
    """Every problem that pydantic found in the data of a topology, in its order.

    A key that is missing because it is mistyped, or given another tool's name, is told once, there.
    """
    found = error.errors(include_url=False)
    missing: dict[Path, list[str]] = {}
    for item in found:
        if item["type"] == "missing":
            missing.setdefault(item["loc"][:-1], []).append(str(item["loc"][-1]))
    mistyped: set[Path] = set()
    problems = []
    told: dict[str, Path] = {}
    for item in found:
        path = item["loc"]
        if item["type"] == "extra_forbidden":
            if known := foreign(path):
                mistyped |= {(*path[:-1], key) for key in known.instead_of}
                problems.append(_foreign_key(path, known, told))
                continue
            meant = _meant(path, missing.get(path[:-1], ()))
            if meant is not None:
                mistyped.add((*path[:-1], meant))
            problems.append(_unknown_key(path, meant))
    for item in found:
        path, kind = item["loc"], item["type"]
        if kind in ("extra_forbidden", "default_factory_not_called") or (
            kind == "missing" and path in mistyped
        ):
            continue
        context = item.get("ctx", {})
        if kind == "too_short" and len(item["input"]) >= context["min_length"]:
            continue  # pydantic counts the items without errors: those with errors are told already
        problems.append(_problem(path, kind, item["input"], context))
    return problems


def keys_at(path: Path) -> Mapping[str, FieldInfo]:
    """The keys allowed in the mapping at `path` of a topology; empty when no mapping belongs there."""
    model: type[BaseModel] | None = Topology
    for part in path:
        if isinstance(part, int):
            continue
        field = _fields(model).get(part)
        model = None if field is None else _model_in(field.annotation)
    return _fields(model)


def _fields(model: type[BaseModel] | None) -> dict[str, FieldInfo]:
    return {} if model is None else {field.alias or name: field for name, field in model.model_fields.items()}


def _model_in(annotation: Any) -> type[BaseModel] | None:
    """The model in `Model`, `tuple[Model, ...]` or `Model | None`."""
    if get_origin(annotation) in (tuple, types.UnionType, Union):
        return next((model for part in get_args(annotation) if (model := _model_in(part))), None)
    return annotation if isinstance(annotation, type) and issubclass(annotation, BaseModel) else None


def _meant(path: Path, missing: Iterable[str]) -> str | None:
    """What a mistyped key was meant to be; a key that is missing beside it is the likeliest."""
    key = str(path[-1])
    return did_you_mean(key, missing) or did_you_mean(key, keys_at(path[:-1]))


def _foreign_key(path: Path, known: Foreign, told: dict[str, Path]) -> Problem:
    """Says once what there is instead; `told`: where it was said."""
    first = told.setdefault(known.says, path)
    if first == path:
        return Problem(path, None, f"no such key: {known.says}")
    return Problem(path, None, "no such key, for the same reason", first=first)


def _unknown_key(path: Path, meant: str | None) -> Problem:
    hint = f"; did you mean '{meant}'?" if meant else ""
    return Problem(
        path, None, f"unknown key{hint} (keys allowed here: {listed(keys_at(path[:-1]), limit=20)})"
    )


def _problem(path: Path, kind: str, given: object, context: Mapping[str, Any]) -> Problem:
    if kind == "missing":
        field = keys_at(path[:-1]).get(str(path[-1]))
        return Problem(
            path, None, f"the key is missing: {(field and field.description) or 'it must be given'}"
        )
    if kind == "value_error":
        return Problem(path, shown(given), str(context["error"]))
    if kind == "too_short":
        return Problem(path, None, f"must have at least {context['min_length']} item")
    if kind in ("tuple_type", "list_type"):
        return Problem(path, shown(given), "must be a list, one item after each '-'")
    if kind in ("model_type", "model_attributes_type", "dict_type"):
        return Problem(
            path, shown(given), f"must be a mapping with the keys {listed(keys_at(path), limit=20)}"
        )
    field = keys_at(path[:-1]).get(str(path[-1])) if path else None
    return Problem(
        path, shown(given), f"is not allowed here: {(field and field.description) or 'see the schema'}"
    )
