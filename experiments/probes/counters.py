"""The kernel's counters of a network namespace, as text of /proc/PID/net. Pure."""

from __future__ import annotations


def counters(table: str) -> dict[str, int]:
    """Every counter in the text of ``snmp``, ``netstat``, ``snmp6`` or ``sctp/snmp``.

    The first two have pairs of lines, names and values behind one word: ``TcpExt: TCPTimeouts ..`` gives
    ``TcpExt.TCPTimeouts``. The others have a name and its value a line.
    """
    found: dict[str, int] = {}
    heads: list[str] = []
    for line in table.splitlines():
        words = line.split()
        if not words:
            continue
        if not words[0].endswith(":"):
            if len(words) == 2:
                found[words[0]] = int(words[1])
        elif heads and heads[0] == words[0]:
            group = words[0].removesuffix(":")
            found |= {f"{group}.{name}": int(value) for name, value in zip(heads[1:], words[1:], strict=True)}
            heads = []
        else:
            heads = words
    return found
