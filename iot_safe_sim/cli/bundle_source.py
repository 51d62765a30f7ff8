"""The options of `iot-safe-sim enroll` that give an enrollment bundle."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import click

from iot_safe_sim.device import Bundle, BundleError, identity_domain


@dataclass(frozen=True)
class BundleSource:
    """The options that give a bundle: --bundle, or --registry with the others."""

    bundle: str | None
    registry: str | None
    token: str | None
    name: str | None
    ca: Path | None
    domain: str | None

    def read(self) -> Bundle:
        """The bundle. Raises BundleError, and click.UsageError when the options are neither form."""
        parts = (self.registry, self.token, self.name, self.ca)
        if self.bundle is not None and not any(parts):
            return Bundle.parse(_argument(self.bundle))
        if self.bundle is None and self.registry and self.token and self.name and self.ca:
            base, domain = self.registry.rstrip("/"), self.domain or identity_domain(self.name)
            return Bundle.from_parts(
                est=f"{base}/.well-known/est/{domain}",
                provisioning=f"{base}/v1/domains/{domain}/provisioning",
                ca=_read(self.ca),
                name=self.name,
                token=_argument(self.token),
            )
        raise click.UsageError("give either --bundle, or --registry with --token, --name and --ca")


def _argument(value: str) -> str:
    """A value itself, or from a file (@FILE) or standard input (-), so that no secret is in the process list."""
    if value == "-":
        return sys.stdin.read().strip()
    return _read(Path(value[1:])).strip() if value.startswith("@") else value


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise BundleError(f"{path}: {error}") from error
