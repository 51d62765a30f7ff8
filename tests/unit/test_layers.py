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
    "policy": set(),
    "dane_radius": {"policy"},
    "trust_sync": {
        "policy", "dane_radius", "dane_radius.core", "dane_radius.dns", "dane_radius.local", "dane_radius.server",
    },
    "iot_registry": set(),
    "iot_safe_sim": set(),
    "freeradius": set(),
}  # fmt: skip

# The rooms of each package, inner to outer: each may import itself and those in the lines before it.
LAYERS: dict[str, list[set[str]]] = {
    "policy": [{"model"}, {"matching"}, {"attributes"}, {"loader"}, {"store"}],
    "dane_radius": [{"core"}, {"dns"}, {"local"}, {"server"}, {"install"}, {"cli", "rlm_python3"}],
    "iot_safe_sim": [
        {"interface", "durable_file"},
        {"keystore", "middleware"},
        {"card"},
        {"modem", "device"},
        {"cli"},
    ],
    "iot_registry": [
        {"errors", "names", "metrics", "log"},
        {"pki", "publication.profile"},
        {"config"},
        {"store"},
        {"feed"},
        {"publication"},
        {"signer"},
        {"service"},
        {"web"},
        {"cli"},
    ],
}

# Neither network, files, processes, databases, threads nor the time of day.
IO_MODULES = {
    "aiohttp", "asyncio", "dns", "http", "multiprocessing", "os", "pkcs11", "random", "requests", "secrets",
    "select", "shutil", "socket", "sqlalchemy", "sqlite3", "ssl", "subprocess", "tempfile", "threading", "time",
    "urllib",
}  # fmt: skip
PURE = {
    "policy": {"model", "matching", "attributes"},
    "dane_radius": {"core", "dns.wire", "dns.cache", "dns.domains", "dns.warm"},
    "iot_safe_sim": {
        "interface", "card.applet", "card.dispatch", "card.objects", "card.object_store", "card.discovery",
        "card.administration", "card.signature_session", "card.key_derivation", "modem.at_interpreter",
        "middleware.client", "middleware.private_key", "device.names", "device.bundle", "device.certificate",
        "device.certification_request", "device.provisioning", "device.tlsa", "device.wpa_configuration",
    },
    "iot_registry": {"names", "publication.profile", "signer.knot_text", "pki.authority", "pki.est_codec", "pki.issue",
                     "pki.request"},
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


def rank(package: str, module: str) -> int:
    """The layer that a module belongs to; of several that name it, the most exact one."""
    name = module.removeprefix(f"{package}.")
    places = [(len(part), level) for level, layer in enumerate(LAYERS[package]) for part in layer if inside(name, part)]
    assert places, f"{module} belongs to no layer: add it to LAYERS, and to docs/architecture.md"
    return max(places)[1]


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


@pytest.mark.parametrize("package", sorted(LAYERS))
def test_arrows_point_inwards(package: str) -> None:
    checked = 0
    for module, imported in edges(package):
        if package in (module, imported):
            # A package's own face, and its version.
            continue
        assert rank(package, imported) <= rank(package, module), f"{module} imports {imported}"
        checked += 1
    assert checked > 3


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
