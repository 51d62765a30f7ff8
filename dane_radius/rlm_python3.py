"""The module that `mods-available/dane` loads: it corrects Python's search path, and then imports `rlm`.

rlm_python3 of FreeRADIUS 3.2 appends `python_path` to Python's default search path. A distribution's
`python3-cryptography` would therefore precede the version that this package was tested with.
"""

from __future__ import annotations

import sys
from pathlib import Path


def prefer_own_libraries(search_path: list[str], own: str) -> list[str]:
    """The search path with `python_path` first, and without the distribution's packages.

    `own`: the folder that contains this package, which is the first one of `python_path`.
    """
    if own not in search_path:
        return search_path
    start = search_path.index(own)
    ordered = dict.fromkeys(search_path[start:] + search_path[:start])
    return [entry for entry in ordered if entry == own or not entry.endswith("dist-packages")]


sys.path[:] = prefer_own_libraries(sys.path, str(Path(__file__).resolve().parent.parent))

# structlog imports rich, if it is installed, to format tracebacks: hundreds of modules that a server does not use, and
# that evict others from the processor's caches.
sys.modules.setdefault("rich", None)  # type: ignore[arg-type]  # None: the import system reports that it is missing

# After the correction of the search path.
from dane_radius.server.rlm import (  # noqa: E402
    authenticate,
    authorize,
    check_configuration,
    detach,
    instantiate,
    only_checks,
    post_auth,
)

__all__ = ["authenticate", "authorize", "detach", "instantiate", "post_auth"]

# `radiusd -C` of FreeRADIUS 3.2.7 imports the module, and does not instantiate it.
if only_checks():
    check_configuration()
