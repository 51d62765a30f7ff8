"""The paths and options of an installation, and the values that they give the installed files."""

from __future__ import annotations

import os
import re
import sys
import sysconfig
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dane_radius
from dane_radius.install import server_limits
from dane_radius.install.errors import InstallError
from dane_radius.install.manifest import Options

# Options that an operator chose stay in force at the next installation, after an upgrade for example.
_PATHS = frozenset({"config_dir", "anchors", "server_key", "server_certificate", "hint_socket", "standing"})
_OPTIONS = (*sorted(_PATHS), "user", "keep_default", "resumption", "accounting", "threads")

_STANDING = "/var/lib/dane-radius/standing"
_HINT_SOCKET = "/run/trust-sync/trust-sync.sock"


@dataclass(frozen=True)
class Layout:
    """Where the files are installed, and the settings that are written into them.

    hint_socket: where trust-sync takes hints about unknown identities; None: no hints.
    standing: where trust-sync writes the standing of devices; None: no standing is looked at.
    accounting: "none", or "sqlite" for a database of live sessions, at `accounting_db`, that trust-sync reads.
    threads: the least number of worker threads that radiusd.conf must allow; 0: radiusd.conf stays unchanged.
    python_path: the search path of the embedded interpreter; "": `default_python_path`.
    """

    raddb: Path
    config_dir: Path = Path("/etc/dane-radius")
    anchors: Path = Path("/var/lib/dane-radius/anchors")
    session_dir: Path = Path("/run/freeradius/dane-sessions")
    log: str = "/var/log/freeradius/dane-radius.log"
    control_socket: Path = Path("/run/freeradius/dane-radius.sock")
    server_key: Path = Path("/etc/ssl/private/ssl-cert-snakeoil.key")
    server_certificate: Path = Path("/etc/ssl/certs/ssl-cert-snakeoil.pem")
    resolver_address: str = "127.0.0.1"
    resolver_port: int = 53
    metrics_port: int = 9812
    auth_port: int = 0
    acct_port: int = 0
    user: str = "freerad"
    keep_default: bool = False
    resumption: bool = False
    python_path: str = ""
    hint_socket: Path | None = None
    standing: Path | None = None
    accounting: str = "none"
    accounting_db: Path = Path("/var/lib/dane-radius/accounting/radacct.db")
    threads: int = server_limits.DEFAULT_THREADS

    @classmethod
    def from_options(cls, raddb: Path, given: Mapping[str, object], remembered: Options) -> Layout:
        """A layout from command line options. An option that is None has its value from the last installation.

        An empty `hint_socket` or `standing` means none. Raises InstallError for a value with quotes, backslashes or
        control characters, which do not fit into the configuration files.
        """
        chosen: dict[str, Any] = {}
        for name in _OPTIONS:
            value = given.get(name)
            if value is None:
                value = getattr(remembered, name)
            if value is not None:
                chosen[name] = value
            if re.search(r"[\x00-\x1f\x7f\"'\\]", str(value)):
                raise InstallError(
                    f"--{name.replace('_', '-')} {value!s}: no quotes, backslashes or control characters"
                )
        for name in _PATHS & chosen.keys():
            chosen[name] = Path(chosen[name]).absolute() if chosen[name] else None
        return cls(raddb=raddb, **chosen)

    def options(self) -> dict[str, Any]:
        """The options that `from_options` reads from the manifest."""
        values = {name: getattr(self, name) for name in _OPTIONS}
        return {name: str(value) if isinstance(value, Path) else value for name, value in values.items()}

    def outside_folders(self) -> tuple[Path, ...]:
        """The folders outside of raddb that an installation makes if they are missing."""
        folders = (self.config_dir, self.anchors, self.anchors / "ca", self.session_dir, self.accounting_db.parent)
        return (*folders, self.standing) if self.standing else folders

    def values(self) -> dict[str, str]:
        """The value of each `@name@` in the installed files."""
        return {
            "python_path": self.python_path or default_python_path(),
            "config_file": str(self.config_dir / "dane-radius.toml"),
            "policy": str(self.config_dir / "policy.yaml"),
            "anchors": str(self.anchors),
            "session_dir": str(self.session_dir),
            "log": self.log,
            "control_socket": str(self.control_socket),
            "server_key": str(self.server_key),
            "server_certificate": str(self.server_certificate),
            "resolver_address": self.resolver_address,
            "resolver_port": str(self.resolver_port),
            "metrics_port": str(self.metrics_port),
            "auth_port": str(self.auth_port),
            "acct_port": str(self.acct_port),
            "accounting_db": str(self.accounting_db),
            "max_waiting": str(server_limits.max_waiting(max(self.threads, self._current_threads()))),
            "hints": "yes" if self.hint_socket else "no",
            "hint_socket": f'socket = "{self.hint_socket}"' if self.hint_socket else f'# socket = "{_HINT_SOCKET}"',
            "standing": f'standing = "{self.standing}"' if self.standing else f'# standing = "{_STANDING}"',
            "resumption": "true" if self.resumption else "false",
            "allow_session_resumption": "Yes" if self.resumption else "No",
            # As long as `lifetime` in mods-available/dane_eap; without resumption, until a handshake is certainly over.
            "session_max_age": "3600" if self.resumption else "120",
        }

    def _current_threads(self) -> int:
        try:
            return server_limits.threads_of((self.raddb / "radiusd.conf").read_text(errors="replace")) or 0
        except OSError:
            return 0


def default_python_path() -> str:
    """The search path that the embedded interpreter needs: this package, its libraries, the standard library.

    The folder that contains this package is the first entry: an editable installation has none in site-packages.
    """
    own = str(Path(dane_radius.__file__).resolve().parent.parent)
    wanted = [own, sysconfig.get_path("purelib"), sysconfig.get_path("platlib")]
    wanted += [entry for entry in sys.path if entry.startswith("/usr/lib/python3") and "packages" not in entry]
    return ":".join(dict.fromkeys(entry for entry in wanted if os.path.isdir(entry)))
