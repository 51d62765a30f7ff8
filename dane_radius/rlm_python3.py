"""What `mods-available/dane` names as its module: puts the right libraries in reach, then hands over to `rlm`.

rlm_python3 of FreeRADIUS 3.2 appends `python_path` to Python's default search path. A `python3-cryptography` that the
distribution happens to have installed would be taken instead of the version that this package was tested with.
"""

from __future__ import annotations

import sys
from pathlib import Path


def prefer_own_libraries(search_path: list[str], own: str) -> list[str]:
    """The search path with `python_path` in front, and without the distribution's packages.

    `own` is the folder that holds this package, which is the first one of `python_path`.
    """
    if own not in search_path:
        return search_path
    behind = search_path.index(own)
    ordered = dict.fromkeys(search_path[behind:] + search_path[:behind])
    return [entry for entry in ordered if entry == own or not entry.endswith("dist-packages")]


sys.path[:] = prefer_own_libraries(sys.path, str(Path(__file__).resolve().parent.parent))

# structlog draws pretty tracebacks with rich where it finds it: hundreds of modules that a server has no use for, and
# that push more useful things out of the processor's caches.
sys.modules.setdefault("rich", None)  # type: ignore[arg-type]  # None: "not to be found", see importlib

# Only now, with the search path in order.
from dane_radius.server.rlm import authenticate, authorize, detach, instantiate, post_auth  # noqa: E402

__all__ = ["authenticate", "authorize", "detach", "instantiate", "post_auth"]
