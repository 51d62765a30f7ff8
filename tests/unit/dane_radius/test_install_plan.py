"""Plans as values: the order of steps, their undo, and what is pure."""

from __future__ import annotations

import ast
import os
from dataclasses import replace
from pathlib import Path

import pytest

from dane_radius.install import install_plan, places, policies
from dane_radius.install.builder import Scene
from dane_radius.install.install_plan import Wanted, plan_installation
from dane_radius.install.layout import Layout
from dane_radius.install.manifest import MANIFEST, Manifest
from dane_radius.install.nodes import Absent, File, Folder, Link, Node
from dane_radius.install.steps import Move, Step, reverse
from dane_radius.install.uninstall_plan import plan_removal

RADDB = Path("/raddb")
LAYOUT = Layout(raddb=RADDB, config_dir=Path("/c"), anchors=Path("/a"), python_path="/p")


def stock() -> dict[Path, Node]:
    """What a stock configuration has."""
    nodes: dict[Path, Node] = {RADDB / name: Folder(0o755, 7, 8) for name in places.STOCK_FOLDERS}
    nodes[Path("/")] = Folder(0o755, 0, 0)
    nodes[RADDB] = Folder(0o755, 7, 8)
    nodes[RADDB / "radiusd.conf"] = File(b"max_requests = 1\nthread pool {\n  max_servers = 2\n}\n", 0o640, 7, 8)
    for name in places.DISPLACED:
        nodes[RADDB / name] = Link(f"../{name.replace('enabled', 'available')}", 7, 8)
    return nodes


def wanted(layout: Layout = LAYOUT, version: bytes = b"1") -> Wanted:
    names = [RADDB / name for name in (places.POLICY_FILE, *places.RADDB_FILES)]
    names += [layout.config_dir / name for name in places.SETTINGS]
    texts = dict.fromkeys(names, b"# " + version + b"\n")
    texts[RADDB / places.POLICY_FILE] = b"p" + version + b" {\n\tok\n}\n"
    return Wanted(layout, texts, 7, 8)


def carried_out(steps: list[Step], nodes: dict[Path, Node]) -> dict[Path, Node]:
    """The nodes after these steps. Each step finds what it expects."""
    nodes = dict(nodes)
    for step in steps:
        if isinstance(step, Move):
            assert nodes.get(step.path, Absent()) == Absent()
            assert nodes[step.source] == step.node
            nodes[step.source], nodes[step.path] = Absent(), step.node
        else:
            assert nodes.get(step.path, Absent()).trace() == step.before.trace(), step.path
            nodes[step.path] = step.after
    return {path: node for path, node in nodes.items() if node != Absent()}


def installed(nodes: dict[Path, Node]) -> Manifest:
    node = nodes[RADDB / MANIFEST]
    assert isinstance(node, File)
    return Manifest.model_validate_json(node.octets)


def test_files_precede_the_links_to_them_and_links_are_last() -> None:
    steps = plan_installation(wanted(), Scene(RADDB, stock(), None)).steps
    position = {step.path: number for number, step in enumerate(steps)}
    links = [number for number, step in enumerate(steps) if "enabled" in str(step.path)]
    files = [number for number, step in enumerate(steps) if "available" in str(step.path)]
    assert max(files) < min(links)
    assert position[RADDB / MANIFEST] == len(steps) - 1
    order = [RADDB / name for name in ("mods-enabled/dane", "sites-enabled/dane-check", "mods-enabled/dane_eap")]
    assert sorted(order, key=position.__getitem__) == order


@pytest.mark.parametrize("accounting", ["none", "sqlite"])
@pytest.mark.parametrize("keep_default", [False, True])
def test_the_reverse_of_a_plan_and_the_removal_lead_back(accounting: str, keep_default: bool) -> None:
    layout = replace(LAYOUT, accounting=accounting, keep_default=keep_default)
    before = stock()
    plan = plan_installation(wanted(layout), Scene(RADDB, before, None))
    assert plan.refusals == []
    after = carried_out(plan.steps, before)
    assert carried_out(reverse(plan.steps), after) == before
    again = plan_installation(wanted(layout), Scene(RADDB, after, installed(after)))
    assert again.steps == []
    removal = plan_removal(Scene(RADDB, after, installed(after)))
    assert removal.notes == []
    assert carried_out(removal.steps, after) == before


def test_the_folder_of_the_standing_is_made_where_it_is_wanted_and_goes_with_the_rest() -> None:
    folder, before = Path("/var/standing"), {**stock(), Path("/var"): Folder(0o755, 0, 0)}
    layout = replace(LAYOUT, standing=folder)
    after = carried_out(plan_installation(wanted(layout), Scene(RADDB, before, None)).steps, before)
    # trust-sync writes it, and the server's group reads it.
    assert after[folder] == Folder(0o755, 0, 8)
    assert layout.values()["standing"] == 'standing = "/var/standing"'
    again = plan_installation(wanted(layout), Scene(RADDB, after, installed(after)))
    assert again.steps == []
    removed = carried_out(plan_removal(Scene(RADDB, after, installed(after))).steps, after)
    assert folder not in removed
    assert folder not in carried_out(plan_installation(wanted(), Scene(RADDB, before, None)).steps, before)
    assert LAYOUT.values()["standing"].startswith("# ")


def test_one_of_the_two_sites_is_enabled_in_every_state() -> None:
    nodes = stock()
    for step in plan_installation(wanted(), Scene(RADDB, nodes, None)).steps:
        nodes = carried_out([step], nodes)
        targets = [node.target for path, node in nodes.items() if isinstance(node, Link)]
        assert ("../sites-available/default" in targets) != ("../sites-available/dane" in targets)


def test_the_policies_of_the_previous_version_stay_until_the_sites_are_replaced() -> None:
    before = carried_out(plan_installation(wanted(), Scene(RADDB, stock(), None)).steps, stock())
    steps = plan_installation(wanted(version=b"2"), Scene(RADDB, before, installed(before))).steps
    written = [(step.path.name, step.after.octets) for step in steps if isinstance(step.after, File)]
    policy = [octets for name, octets in written if name == "dane" and octets.startswith(b"p")]
    assert policy == [b"p2 {\n\tok\n}\n\np1 {\n\tok\n}\n", b"p2 {\n\tok\n}\n"]
    names = [step.path.relative_to(RADDB).as_posix() for step in steps if step.path.is_relative_to(RADDB)]
    assert names.index("policy.d/dane") < names.index("sites-available/dane-check")
    assert len(names) - 1 - names[::-1].index("policy.d/dane") > names.index("sites-available/dane-check")


def test_policies_are_found_by_name() -> None:
    old = "# text\na {\n\tif (x) {\n\t\tok\n\t}\n}\n\nb {\n\tok\n}\n"
    assert list(policies.policies_of(old)) == ["a", "b"]
    assert policies.with_missing("b {\n\tnew\n}\n", old) == "b {\n\tnew\n}\n\na {\n\tif (x) {\n\t\tok\n\t}\n}\n"
    assert policies.with_required("c {\n}\n", old, ["\t\ta\n\t\t# b\n"]).startswith("c {\n}\n\na {")
    assert "\nb {" not in policies.with_required("c {\n}\n", old, ["\t\ta\n\t\t# b\n"])


def test_plans_are_pure() -> None:
    forbidden = {"os", "subprocess", "shutil", "socket", "time", "tempfile", "fcntl"}
    pure = ("nodes", "steps", "places", "manifest", "journal", "builder", "install_plan", "uninstall_plan", "policies")
    for name in (*pure, "server_limits", "server_security"):
        module = Path(os.path.dirname(install_plan.__file__)) / f"{name}.py"
        imported = {
            alias.name.split(".")[0]
            for node in ast.walk(ast.parse(module.read_text()))
            if isinstance(node, ast.Import)
            for alias in node.names
        }
        assert not imported & forbidden, module
