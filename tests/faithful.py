"""Fakes that answer any call must refuse those that the real object would."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any


def like(real: type, name: str, act: Callable[..., Any]) -> Callable[..., Any]:
    """``act`` under the signature of a method of ``real``: AttributeError, TypeError for what that would refuse."""
    method = getattr(real, name, None)
    if not callable(method):
        raise AttributeError(f"{real.__name__} has no method {name!r}")
    signature = inspect.signature(method)

    def call(*args: Any, **params: Any) -> Any:
        signature.bind(None, *args, **params)  # None stands for self
        return act(*args, **params)

    return call
