"""The contract between the parts, read off the source: who imports whom, and one door for each risk (DESIGN.md)."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = (
    "vocabulary",
    "wire",
    "topologies",
    "results",
    "controller",
    "emulation",
    "mobility",
    "experiments",
    "image",
)
ALLOWED = {
    "vocabulary": set(),
    "wire": set(),
    "topologies": {"vocabulary"},
    "results": {"vocabulary"},
    "controller": {"vocabulary", "wire"},
    "emulation": {"vocabulary", "wire", "topologies"},
    "mobility": {"vocabulary", "wire", "topologies", "emulation", "controller"},
    "experiments": set(PACKAGES) - {"experiments", "image"},
    "image": {"vocabulary", "topologies", "results", "emulation", "experiments"},
}
OF_CONTROLLER = {"controller.client"}  # what does not load the OpenFlow framework

# Who else may use subprocess, and why.
SUBPROCESS = {
    "emulation/commands.py": "the door",
    "emulation/nve.py": "type of the daemons' handles",
    "emulation/capture.py": "handles of tcpdump",
    "emulation/network.py": "type of what it spawns",
    "emulation/preflight.py": "before anything is built: modprobe, ldd, versions",
    "experiments/running/run.py": "the guard's probe on the host's side",
    "experiments/running/surroundings.py": "git's commit",
    "experiments/running/laboratory.py": "handle of the NVA's process",
    "experiments/running/traffic.py": "pipes of the probes",
    "experiments/bench/probes.py": "pipes of the probes that are measured",
    "experiments/console/mininet_console.py": "a shell command of a person",
    "experiments/console/traffic.py": "pipes of ping and iperf",
    "experiments/console/enter.py": "a shell in a node for a person",
    "experiments/probes/build.py": "the C compiler",
    "experiments/probes/process.py": "handle of a probe",
    "image/machine.py": "handle of QEMU; QEMU with a person's terminal as the guest's console",
}


@cache
def sources() -> dict[Path, ast.Module]:
    found = {path: ast.parse(path.read_text()) for name in PACKAGES for path in (ROOT / name).rglob("*.py")}
    assert len(found) > 60
    return found


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def imported(path: Path, tree: ast.Module) -> Iterator[str]:
    """Full names of all modules a file imports, at its head or anywhere else; ``from p import m`` gives ``p.m``."""
    package = list(path.relative_to(ROOT).parent.parts)
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            yield from (f"{module}.{alias.name}" for alias in node.names)


def ours(path: Path, tree: ast.Module) -> set[str]:
    return {module for module in imported(path, tree) if module.partition(".")[0] in PACKAGES}


@pytest.mark.parametrize("package", PACKAGES)
def test_a_package_imports_only_earlier_ones(package: str) -> None:
    wrong = [
        f"{name_of(path)} imports {module}"
        for path, tree in sources().items()
        if path.relative_to(ROOT).parts[0] == package
        for module in ours(path, tree)
        if module.partition(".")[0] not in ALLOWED[package] | {package}
    ]
    assert wrong == []


def test_no_module_needs_one_that_needs_it() -> None:
    """Also by an import within a function, where Python would let it pass; imports for types alone do not count."""
    modules = {".".join(path.relative_to(ROOT).with_suffix("").parts): path for path in sources()}
    needs: dict[str, set[str]] = {}
    for name, path in modules.items():
        tree = ast.parse(path.read_text())
        tree.body = [
            node
            for node in tree.body
            if not (isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test))
        ]
        named = ours(path, tree)
        needs[name] = {one if one in modules else one.rpartition(".")[0] for one in named} & set(modules) - {
            name
        }
    TopologicalSorter(needs).prepare()  # CycleError names the circle


def rooms_needed(package: str) -> dict[str, set[str]]:
    """Each room of a package (a folder or file at its top) and the rooms it imports; for types alone does not count."""
    needs: dict[str, set[str]] = {}
    for path in sources():
        parts = path.relative_to(ROOT).with_suffix("").parts
        if parts[0] != package:
            continue
        tree = ast.parse(path.read_text())
        tree.body = [
            node
            for node in tree.body
            if not (isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test))
        ]
        named = {one.split(".")[1] for one in ours(path, tree) if one.startswith(f"{package}.")}
        needs.setdefault(parts[1], set()).update(named - {parts[1]})
    return needs


@pytest.mark.parametrize("package", PACKAGES)
def test_no_arrow_runs_back_between_the_rooms_of_a_package(package: str) -> None:
    TopologicalSorter(rooms_needed(package)).prepare()  # CycleError names the circle


def test_nobody_imports_a_study() -> None:
    """An experiment is one file, or one folder; what two of them need is a design. The catalog loads it by its name."""
    wrong = []
    for path, tree in sources().items():
        parts = path.relative_to(ROOT).with_suffix("").parts
        own = ".".join(parts[:3]) if parts[:2] == ("experiments", "studies") else None
        for module in ours(path, tree):
            names = module.split(".")
            if names[:2] == ["experiments", "studies"] and ".".join(names[:3]) != own:
                wrong.append(f"{name_of(path)} imports {module}")
    assert wrong == []


def test_mobility_knows_only_the_client_side_of_the_controller() -> None:
    wrong = [
        f"{name_of(path)} imports {module}"
        for path, tree in sources().items()
        if path.relative_to(ROOT).parts[0] == "mobility"
        for module in ours(path, tree)
        if module.startswith("controller") and ".".join(module.split(".")[:2]) not in OF_CONTROLLER
    ]
    assert wrong == []


def test_design_md_says_the_same() -> None:
    """The table's second column names the packages in backticks; a dash stands for none."""
    rows = dict(re.findall(r"^\| `(\w+)` \| (.*) \|$", (ROOT / "DESIGN.md").read_text(), re.MULTILINE))
    assert set(rows) >= set(PACKAGES)
    for package, allowed in ALLOWED.items():
        if rows[package] != "all":
            assert set(re.findall(r"`(\w+)`", rows[package])) & set(PACKAGES) == allowed, package


def test_one_file_names_the_openflow_framework() -> None:
    naming = {
        name_of(path)
        for path, tree in sources().items()
        for module in imported(path, tree)
        if module.partition(".")[0] in ("os_ken", "ryu")
    }
    assert naming <= {"controller/framework.py"}
    text = {name_of(path) for path in sources() if re.search(r"os_ken|\bryu\.", path.read_text())}
    assert text == {"controller/framework.py"}


def test_what_the_client_loads_is_free_of_the_framework() -> None:
    program = f"import sys, {', '.join(sorted(OF_CONTROLLER))}; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert {name.partition(".")[0] for name in done.stdout.split()} & {"os_ken", "ryu", "eventlet"} == set()


def test_commands_run_through_one_door() -> None:
    using = {
        name_of(path)
        for path, tree in sources().items()
        for module in imported(path, tree)
        if module.partition(".")[0] == "subprocess"
    }
    assert using - set(SUBPROCESS) == set()
    assert {name for name in SUBPROCESS if not (ROOT / name).exists()} == set()


def calls() -> Iterator[tuple[str, ast.Call]]:
    for path, tree in sources().items():
        for node in ast.walk(tree):
            if isinstance(node, ast.Call):
                yield name_of(path), node


def test_nothing_is_given_to_a_shell() -> None:
    for name, call in calls():
        where = f"{name}:{call.lineno}"
        assert not any(
            keyword.arg == "shell" and getattr(keyword.value, "value", True) for keyword in call.keywords
        ), where
        if isinstance(call.func, ast.Attribute):
            owner = getattr(call.func.value, "id", "")
            assert (owner, call.func.attr) not in {
                ("os", "system"),
                ("os", "popen"),
                ("subprocess", "getoutput"),
            }, where


def test_mininets_cmd_is_not_used() -> None:
    """It returns text and hides the exit status; a person's own command, which is shown, has none to be looked at."""
    verbs = {"cmd", "cmdPrint", "sendCmd", "waitOutput"}
    assert [
        f"{name}:{call.lineno}"
        for name, call in calls()
        if isinstance(call.func, ast.Attribute) and call.func.attr in verbs
        if name != "experiments/console/at_node.py"
    ] == []


def test_raw_netlink_is_in_three_files() -> None:
    text = {name_of(path) for path in sources() if "AF_NETLINK" in path.read_text()}
    assert text == {
        "emulation/netlink.py",  # tc
        "emulation/link_monitor.py",  # listens only
        "experiments/probes/tcp_info.py",  # sock_diag of a probe
    }


def test_nothing_is_killed_by_name() -> None:
    text = {
        name_of(path)
        for path in sources()
        if re.search(r"\b(pkill|killall)\b|[\"']mn[\"'], [\"']-c[\"']", path.read_text())
    }
    assert text == set()


def test_who_talks_to_people_catches_one_class() -> None:
    """Every error that is told by its text alone has the same base; what is no such answer keeps its traceback."""
    told = {
        f"{name_of(path)}:{node.name}"
        for path, tree in sources().items()
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef)
        and any(isinstance(base, ast.Name) and base.id == "OverlandError" for base in node.bases)
    }
    assert len(told) >= 13
    catching = {
        name_of(path)
        for path, tree in sources().items()
        for node in ast.walk(tree)
        if isinstance(node, ast.ExceptHandler) and node.type and "OverlandError" in ast.dump(node.type)
    }
    assert (
        catching
        == {
            "experiments/running/command_line.py",  # every command of `python -m experiments` and `python -m image`
            "experiments/console/mininet_console.py",  # a command of a session
            "experiments/console/session.py",  # its start
        }
    )
