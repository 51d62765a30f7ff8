"""The architecture as a test: which package and which room may import which, who does I/O, and no circles.

A room is a sub-package, or a module that stands in a package itself. docs/architecture.md has the map for people.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

# What each package may use of the others, by their public faces: modules whose `__all__` says what is meant for them.
PACKAGES: dict[str, set[str]] = {
    "health_report": set(),
    "policy": set(),
    "dane_radius": {"policy", "policy.analysis", "health_report"},
    "trust_sync": {
        "policy", "dane_radius", "dane_radius.core", "dane_radius.dns", "dane_radius.local", "dane_radius.server",
    },
    "iot_registry": {
        "health_report", "web_service.core", "web_service.local", "web_service.store", "web_service.https",
        "web_service.web", "web_service.cli",
    },
    "web_service": set(),
    "operations": {
        "policy", "web_service.core", "web_service.local", "web_service.store", "web_service.https",
        "web_service.web", "web_service.cli",
    },
    "iot_safe_sim": set(),
    "mud": set(),
    "freeradius": set(),
}  # fmt: skip

# The rooms of each package, and which other rooms each may import.
ARROWS: dict[str, dict[str, set[str]]] = {
    "health_report": {
        "finding": set(),
        "fact": set(),
        "path_facts": set(),
        "path_reading": {"fact", "path_facts"},
        "probe": {"fact"},
        "dns_question": set(),
        "output": {"finding"},
    },
    "policy": {
        "facts": set(),
        "grants": set(),
        "attributes": {"grants"},
        "matching": {"facts", "grants"},
        "model": {"facts", "attributes"},
        "loading": {"facts", "grants", "attributes", "matching", "model"},
        "analysis": {"facts", "grants", "attributes", "matching", "loading"},
        "pace": set(),
        "store": {"loading", "matching", "pace"},
    },
    "dane_radius": {
        "core": set(),
        "dns": {"core"},
        "local": {"core", "dns"},
        "replay": {"core"},
        "server": {"core", "dns", "local"},
        "install": set(),
        "doctor": {"core", "dns", "local", "server"},
        "cli": {"core", "dns", "local", "server", "install", "doctor", "replay"},
        "rlm_python3": {"server"},
    },
    "trust_sync": {
        "shared": set(),
        "anchors": {"shared"},
        "sessions": {"shared"},
        "feeds": {"shared"},
        "registries": {"shared", "feeds", "anchors"},
        "standing": {"shared", "feeds"},
        "reports": {"shared"},
        "discovery": {"shared", "anchors"},
        "worker": {"shared", "anchors", "sessions", "feeds", "registries", "standing", "reports", "discovery"},
        "cli": {"shared", "anchors", "discovery", "standing", "worker"},
    },
    "iot_registry": {
        "core": set(),
        "local": {"core"},
        "store": set(),
        "publication": {"core", "local", "store"},
        "signer": {"core", "local"},
        "service": {"core", "local", "store", "publication", "signer"},
        "https": {"core", "local", "store", "service"},
        "web": {"core", "local", "store", "publication", "signer", "service", "https"},
        "doctor": {"core", "local", "store", "publication", "signer", "service"},
        "cli": {"core", "local", "store", "publication", "signer", "service", "web", "doctor"},
    },
    "operations": {
        "core": set(),
        "local": {"core"},
        "store": set(),
        "service": {"core", "local", "store"},
        "web": {"core", "local", "store", "service"},
        "cli": {"core", "local", "store", "service", "web"},
    },
    "web_service": {
        "core": set(),
        "local": {"core"},
        "store": {"core"},
        "https": {"core", "local"},
        "web": {"core", "local", "store", "https"},
        "cli": {"core", "local"},
    },
    "iot_safe_sim": {
        "interface": set(),
        "durable_file": set(),
        "keystore": {"interface", "durable_file"},
        "middleware": {"interface"},
        "card": {"interface", "keystore", "durable_file"},
        "modem": {"card", "interface"},
        "device": {"middleware", "card", "keystore", "interface", "durable_file"},
        "cli": {"card", "device", "keystore", "middleware", "modem"},
    },
    "mud": {
        "limits": set(),
        "findings": {"limits"},
        "document": {"findings", "limits"},
        "acl": {"document", "findings"},
        "comparison": {"acl", "document"},
        "signature": {"document", "limits"},
    },
}
# Inside these packages, rooms too use each other's faces alone.
STRICT = {"trust_sync", "iot_safe_sim", "mud"}
# A module that is part of a room's face as a whole, and one that stands alone.
WHOLE = {"iot_safe_sim.interface.containers", "iot_safe_sim.durable_file"}

# Neither network, files, processes, databases, threads nor the time of day.
IO_MODULES = {
    "aiohttp", "asyncio", "dns", "http", "multiprocessing", "os", "pkcs11", "random", "requests", "secrets",
    "select", "shutil", "socket", "sqlalchemy", "sqlite3", "ssl", "subprocess", "tempfile", "threading", "time",
    "urllib",
}  # fmt: skip
PURE = {
    "health_report": {"finding", "fact", "path_facts"},
    "policy": {
        "facts", "grants", "model", "matching", "attributes", "analysis.patterns", "analysis.networks",
        "analysis.coverage", "analysis.lints", "analysis.reply_lints", "analysis.explanation", "analysis.cases",
        "analysis.difference", "analysis.samples", "analysis.upgrading", "analysis.source_text", "analysis.null_values",
        "analysis.attribute_values",
    },
    "dane_radius": {
        "replay.logged", "replay.outcome", "replay.changes",
        "core", "dns.wire", "dns.interpret", "dns.cache", "dns.domains", "dns.background", "dns.parent_names",
        "doctor.checks", "doctor.facts", "doctor.findings", "doctor.installation", "doctor.raddb", "install.nodes",
        "install.steps", "install.places", "install.builder", "install.install_plan", "install.uninstall_plan",
        "install.policies", "install.journal",
    },
    "iot_safe_sim": {
        "interface", "card.applet", "card.dispatch", "card.objects", "card.object_store", "card.discovery",
        "card.administration", "card.signature_session", "card.key_derivation", "modem.at_interpreter",
        "middleware.client", "middleware.private_key", "device.names", "device.bundle", "device.certificate",
        "device.certification_request", "device.provisioning", "device.tlsa", "device.wpa_configuration",
    },
    "mud": {"limits", "findings", "document", "acl", "comparison", "signature"},
    "iot_registry": {
        "core", "service.access", "service.bundles", "signer.config_files", "doctor.checks", "doctor.facts",
        "doctor.findings",
    },
    "web_service": {"core"},
    "operations": {"core", "service.access"},
    "trust_sync": {
        "shared.backoff", "shared.notices", "anchors.openssl_name", "anchors.certificate", "anchors.checks",
        "anchors.shadowing", "anchors.held_anchors", "anchors.retirement", "feeds.messages", "feeds.json_stream",
        "feeds.schedule", "feeds.memory_budget", "feeds.state", "feeds.log_limit", "standing.messages",
        "registries.messages", "registries.published_anchor", "registries.changes", "discovery.candidates",
        "discovery.addresses", "discovery.outcome", "discovery.state", "discovery.reasons", "sessions.session",
        "sessions.access", "sessions.state", "sessions.validity", "sessions.watch_list", "sessions.fair_queue",
        "sessions.nas_queue",
        "sessions.registry_map", "sessions.recent_notices", "sessions.radius", "sessions.monitor_mode",
    },
}  # fmt: skip


def module_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@cache
def modules(package: str) -> dict[str, Path]:
    """Every module of a package, migrations apart: those belong to their own time."""
    paths = (path for path in (ROOT / package).rglob("*.py") if "migrations" not in path.parts)
    return {module_of(path): path for path in paths}


@cache
def imports(path: Path) -> frozenset[str]:
    """The modules that a file imports, anywhere in it, `if TYPE_CHECKING:` included."""
    known = {name for package in PACKAGES for name in modules(package)}
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import"
            base = node.module or ""
            for alias in node.names:
                inner = f"{base}.{alias.name}"
                found.add(inner if inner in known else base)
    return frozenset(found)


def inside(module: str, part: str) -> bool:
    return module == part or module.startswith(f"{part}.")


def room_of(package: str, module: str) -> str:
    """The room that a module stands in."""
    room = module.removeprefix(f"{package}.").split(".")[0]
    assert room in ARROWS[package], f"{module} is in no room: add it to ARROWS, and to docs/architecture.md"
    return room


def edges(package: str) -> Iterator[tuple[str, str]]:
    for module, path in modules(package).items():
        for imported in imports(path):
            if inside(imported, package) and imported != module:
                yield module, imported


@pytest.mark.parametrize("package", sorted(PACKAGES))
def test_a_package_uses_the_faces_of_others_alone(package: str) -> None:
    others = set(PACKAGES) - {package} | {"tests"}
    for module, path in modules(package).items():
        for imported in imports(path):
            if imported.split(".")[0] in others:
                assert imported in PACKAGES[package], f"{module} imports {imported}"


@pytest.mark.parametrize("package", sorted(ARROWS))
def test_arrows_are_those_of_the_map(package: str) -> None:
    found: dict[str, set[str]] = {room: set() for room in ARROWS[package]}
    for module, imported in edges(package):
        if package in (module, imported):
            # A package's own face, and its version.
            continue
        here, there = room_of(package, module), room_of(package, imported)
        if here != there:
            assert there in ARROWS[package][here], f"{module} imports {imported}"
            found[here].add(there)
    # What nothing needs any more is not permitted any more.
    assert {room: ARROWS[package][room] - used for room, used in found.items() if ARROWS[package][room] - used} == {}


@pytest.mark.parametrize("package", sorted(STRICT))
def test_rooms_use_the_faces_of_other_rooms_alone(package: str) -> None:
    for module, imported in edges(package):
        if package not in (module, imported) and room_of(package, module) != room_of(package, imported):
            assert imported.count(".") == 1 or imported in WHOLE, f"{module} imports {imported}"


@pytest.mark.parametrize("package", sorted(PACKAGES))
def test_nothing_is_circular(package: str) -> None:
    graph: dict[str, set[str]] = {}
    for module, imported in edges(package):
        # A face imports its room, and the room's modules import each other by their own names.
        if modules(package)[module].name != "__init__.py":
            graph.setdefault(module, set()).add(imported)
    done: set[str] = set()

    def visit(module: str, way: tuple[str, ...]) -> None:
        assert module not in way, f"circular: {' -> '.join((*way[way.index(module) :], module))}"
        if module not in done:
            for imported in sorted(graph.get(module, ())):
                visit(imported, (*way, module))
            done.add(module)

    for module in sorted(graph):
        visit(module, ())


@pytest.mark.parametrize("package", sorted(PURE))
def test_what_is_pure_does_no_io(package: str) -> None:
    checked = 0
    for module, path in modules(package).items():
        if any(inside(module.removeprefix(f"{package}."), part) for part in PURE[package]):
            checked += 1
            found = {name.split(".")[0] for name in imports(path)} & IO_MODULES
            assert not found, f"{module} imports {', '.join(sorted(found))}"
    assert checked >= len(PURE[package])


def face_names(tree: ast.Module) -> set[str]:
    """The names in a module's `__all__`."""
    for node in tree.body:
        match node:
            case ast.Assign(targets=[ast.Name(id="__all__")], value=ast.List(elts=elements)):
                return {str(ast.literal_eval(element)) for element in elements}
    return set()


@pytest.mark.parametrize("face", sorted({face for faces in PACKAGES.values() for face in faces if "." in face}))
def test_a_face_names_what_it_imports(face: str) -> None:
    tree = ast.parse(modules(face.split(".")[0])[face].read_text())
    imported = {
        alias.asname or alias.name for n in ast.walk(tree) if isinstance(n, ast.ImportFrom) for alias in n.names
    }
    assert face_names(tree) == imported
    assert imported
