"""Members of other YANG modules: legal if the file declares the extension (RFC 8520 section 3.9), never understood."""

from __future__ import annotations

from typing import Any

from mud.limits import MAX_EXTENSIONS

KNOWN_MODULES = frozenset({"ietf-mud", "ietf-access-control-list", "ietf-acldns", "ietf-acl-tls", "ietf-mud-tls"})


def declared_modules(extensions: object) -> frozenset[str]:
    """The modules that a list of extension names covers. IANA's names are modules, or their last part."""
    names = extensions[:MAX_EXTENSIONS] if isinstance(extensions, list) else []
    prefixes = ("", "ietf-", "ietf-mud-")
    return frozenset(f"{prefix}{name}" for prefix in prefixes for name in names if isinstance(name, str))


Path = tuple[str | int, ...]


def take_out(value: Any, declared: frozenset[str], *, only_declared: bool, path: Path = ()) -> list[tuple[Path, bool]]:
    """Remove the members of unknown modules from `value`, at any depth.

    Returns the path of each, and whether its module is `declared`. With `only_declared`, the others stay.
    """
    taken: list[tuple[Path, bool]] = []
    if isinstance(value, list):
        for position, inner in enumerate(value):
            taken += take_out(inner, declared, only_declared=only_declared, path=(*path, position))
    elif isinstance(value, dict):
        for name in list(value):
            module, separator, _ = name.partition(":")
            if not separator or module in KNOWN_MODULES:
                taken += take_out(value[name], declared, only_declared=only_declared, path=(*path, name))
                continue
            if module in declared or not only_declared:
                del value[name]
                taken.append(((*path, name), module in declared))
    return taken


def in_words(path: Path) -> str:
    """As in `ietf-mud:mud.vendor:x` or `a.b[3].c`."""
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path).removeprefix(".")
