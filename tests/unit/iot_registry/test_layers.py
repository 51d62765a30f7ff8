"""Which package may import which: a change that turns a dependency round fails here."""

from __future__ import annotations

import ast
from pathlib import Path

ROOT = Path(__file__).parents[3] / "iot_registry"
# Inner to outer; each may import those before it.
LAYERS = [
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
]


def rank(module: str) -> int:
    name = module.removeprefix("iot_registry").lstrip(".")
    candidates = [i for i, layer in enumerate(LAYERS) for part in layer if name == part or name.startswith(part + ".")]
    # The longest match wins: publication.profile is inside publication.
    exact = [i for i, layer in enumerate(LAYERS) if name in layer]
    return exact[0] if exact else max(candidates, default=0)


def imports(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {f"{node.module}.{alias.name}" for alias in node.names} | {node.module}
    return found


def module_of(path: Path) -> str:
    parts = path.relative_to(ROOT.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def test_dependencies_point_inwards() -> None:
    checked = 0
    for path in ROOT.rglob("*.py"):
        module = module_of(path)
        if module.startswith("iot_registry.migrations") or module == "iot_registry":
            continue
        for imported in imports(path):
            if (
                imported.startswith("iot_registry.")
                and (ROOT.parent / Path(*imported.split("."))).with_suffix(".py").exists()
            ):
                assert rank(imported) <= rank(module), f"{module} imports {imported}"
                checked += 1
    assert checked > 100


def test_the_package_stands_alone() -> None:
    others = ("dane_radius", "trust_sync", "policy", "iot_safe_sim", "freeradius", "tests", "pyrad")
    for path in ROOT.rglob("*.py"):
        for imported in imports(path):
            assert imported.split(".")[0] not in others, f"{path.name} imports {imported}"


def test_certificate_and_name_logic_does_no_io() -> None:
    doing_io = {"socket", "subprocess", "sqlalchemy", "aiohttp", "dns", "asyncio", "time", "requests", "urllib"}
    pure = [ROOT / "names.py", ROOT / "publication" / "profile.py", ROOT / "signer" / "knot_text.py"]
    pure += [path for path in (ROOT / "pki").glob("*.py") if path.name != "keys.py"]
    for path in pure:
        assert not {name.split(".")[0] for name in imports(path)} & doing_io, path
