"""Where nodes find a user's files: a sandbox has folders of its own. Pure."""

from __future__ import annotations

from emulation.sandbox import PRIVATE_FOLDERS


def files_line(shown: str = "") -> str:
    """Where nodes find a user's files; ``shown``: the folder that FILES= names."""
    private = " and ".join(map(str, PRIVATE_FOLDERS))
    instead = f", but for {shown} in them" if shown else "; FILES=FOLDER with make cli shows a folder in them"
    return f"Nodes see the files of this machine, by the same paths. Only {private} are their own{instead}."


def private_paths(line: str) -> list[str]:
    """The words of a command that name a file in a folder of the sandbox's own."""
    words = (word.strip("\"'<>;&|()") for word in line.split())
    return [word for word in words if any(word.startswith(f"{folder}/") for folder in PRIVATE_FOLDERS)]
