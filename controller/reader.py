"""Reads typed values out of JSON and names every mistake by its key path."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Collection
from typing import Any

MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}")


class ConfigError(ValueError):
    """Parameters that cannot be a mapping; ``errors`` lists every mistake: path, value, what is allowed."""

    def __init__(self, errors: list[str]) -> None:
        super().__init__("; ".join(errors))
        self.errors = errors


class Reader:
    """Reads typed values out of JSON and collects what is wrong instead of stopping at the first."""

    def __init__(self) -> None:
        self.errors: list[str] = []
        self._missing: set[str] = set()

    def wrong(self, path: str, value: object, allowed: str) -> None:
        """Note one mistake; a key that is missing is not also of a wrong type."""
        if path in self._missing:
            return
        shown = repr(value)
        self.errors.append(f"{path}: {shown if len(shown) < 80 else shown[:76] + '...'}: {allowed}")

    def keys(
        self, path: str, value: object, required: set[str], optional: frozenset[str] = frozenset()
    ) -> dict[str, Any]:
        """Return an object that has exactly these keys, else note what is missing or unknown."""
        if not isinstance(value, dict):
            self.wrong(path, value, "must be an object")
            return {}
        for name in sorted(set(value) - required - optional):
            self.wrong(
                f"{path}.{name}",
                value[name],
                f"unknown key; keys are {', '.join(sorted(required | optional))}",
            )
        for name in sorted(required - set(value)):
            self.errors.append(f"{path}.{name}: missing")
            self._missing.add(f"{path}.{name}")
        return value

    def items(self, path: str, value: object) -> list[Any]:
        """Return a list, else note it."""
        if isinstance(value, list):
            return value
        self.wrong(path, value, "must be a list")
        return []

    def text(self, path: str, value: object) -> str:
        """Return a name, else note it."""
        if isinstance(value, str) and 0 < len(value) <= 200 and value.isprintable():
            return value
        self.wrong(path, value, "must be a printable text of 1 to 200 characters")
        return ""

    def number(self, path: str, value: object, low: int, high: int) -> int:
        """Return a whole number within bounds (true and 1.0 are none), else note it."""
        if isinstance(value, int) and not isinstance(value, bool) and low <= value <= high:
            return value
        self.wrong(path, value, f"must be a whole number from {low} to {high}")
        return low

    def mac(self, path: str, value: object) -> str:
        """Return a unicast MAC address, else note it."""
        if isinstance(value, str) and MAC.fullmatch(value) and not int(value[:2], 16) & 1:
            return value
        self.wrong(path, value, "must be a unicast MAC address in lower case, such as 02:00:00:00:00:01")
        return ""

    def ipv4(self, path: str, value: object) -> str:
        """Return a usable IPv4 host address, else note it."""
        try:
            if isinstance(value, str):
                address = ipaddress.IPv4Address(value)
                if not (address.is_multicast or address.is_unspecified or address.is_reserved):
                    return value
        except ValueError:
            pass
        self.wrong(path, value, "must be an IPv4 host address, such as 10.0.0.1")
        return ""

    def ipv6(self, path: str, value: object) -> str:
        """Return a routable IPv6 unicast address in its one short form (RFC 5952), else note it."""
        try:
            if isinstance(value, str):
                address = ipaddress.IPv6Address(value)
                unusable = (
                    address.is_multicast
                    or address.is_unspecified
                    or address.is_loopback
                    or address.is_link_local
                )
                if not unusable and address.scope_id is None:
                    return str(address)
        except ValueError:
            pass
        self.wrong(path, value, "must be a routable IPv6 address, such as 2001:db8:1::1")
        return ""

    def link_local(self, path: str, value: object) -> str:
        """Return an IPv6 link-local address, else note it."""
        try:
            if isinstance(value, str):
                address = ipaddress.IPv6Address(value)
                if address.is_link_local and address.scope_id is None:
                    return str(address)
        except ValueError:
            pass
        self.wrong(path, value, "must be an IPv6 link-local address, such as fe80::1")
        return ""

    def subnet(self, path: str, value: object, version: int | None = None) -> str:
        """Return a subnet without host bits, of this IP version if one is given, else note it."""
        try:
            if isinstance(value, str) and "/" in value:
                network = ipaddress.ip_network(value)
                if version in (None, network.version):
                    return str(network)
        except ValueError:
            pass
        example = "2001:db8:1::/64" if version == 6 else "192.0.2.0/24"
        self.wrong(path, value, f"must be a subnet without host bits, such as {example}")
        return ""

    def choice(self, path: str, value: object, allowed: Collection[str]) -> str:
        """Return one of the allowed words, else note it."""
        if isinstance(value, str) and value in allowed:
            return value
        self.wrong(path, value, f"must be one of {', '.join(allowed)}")
        return next(iter(allowed))

    def finish(self) -> None:
        """Raise :class:`ConfigError` when anything was wrong."""
        if self.errors:
            raise ConfigError(self.errors)
