"""Functions that several commands share: reading certificates and configurations, resolvers, output, and errors."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, NoReturn

import click

from dane_radius.core.anchor_record import AnchorError, pem_to_der
from dane_radius.core.certificate import MAX_CERTIFICATE_OCTETS
from dane_radius.core.reasons import ReasonCode, Refused
from dane_radius.dns.resolver import Resolver
from dane_radius.local.config import ConfigError
from dane_radius.server.config import DEFAULT_CONFIG, Config, check_config, load_config

REFUSED, USAGE = 1, 2
_PEM_BEGIN = b"-----BEGIN CERTIFICATE-----"
_PEM_END = b"-----END CERTIFICATE-----"


def fail(message: str, code: int = USAGE) -> NoReturn:
    """Print an error to stderr, and exit with `code`."""
    click.echo(f"dane-radius: {message}", err=True)
    sys.exit(code)


def print_json(data: Any) -> None:
    """Print a JSON document to stdout."""
    click.echo(json.dumps(data, indent=2, ensure_ascii=False))


def read_certificate(path: str) -> bytes:
    """The DER of the first certificate in a PEM or DER file; `-` is stdin. Raises Refused (`certificate_malformed`).

    Further certificates are ignored, because the server decides about the leaf alone. If the file cannot be read, the
    command exits with an error.
    """
    try:
        with click.open_file(path, "rb") as file:
            octets: bytes = file.read(2 * MAX_CERTIFICATE_OCTETS)
    except OSError as error:
        fail(f"{path}: {error.strerror}")
    if _PEM_BEGIN not in octets:
        return octets
    first = octets[octets.index(_PEM_BEGIN) :]
    end = first.find(_PEM_END)
    try:
        return pem_to_der(first[: end + len(_PEM_END)] if end >= 0 else first)
    except AnchorError as error:
        raise Refused(ReasonCode.CERTIFICATE_MALFORMED, str(error)) from error


def read_config(path: str | None) -> Config:
    """The configuration at `path`. If that is None: the installed configuration if it exists, or else the defaults."""
    try:
        if path is not None:
            return load_config(path)
        return load_config(DEFAULT_CONFIG) if Path(DEFAULT_CONFIG).exists() else Config()
    except ConfigError as error:
        fail(str(error))


def parse_resolver(text: str) -> Resolver:
    """A resolver from `ADDRESS[:PORT]` (loopback) or `tls://NAME@ADDRESS[:PORT]`. The command exits on an error."""
    section: dict[str, Any] = {}
    rest = text
    if rest.startswith("tls://"):
        section["transport"] = "tls"
        name, at, rest = rest.removeprefix("tls://").rpartition("@")
        if not at:
            fail(f"--resolver {text}: tls://NAME@ADDRESS[:PORT] is expected")
        section["server_name"] = name
    if rest.startswith("["):
        address, _, port = rest[1:].partition("]")
        port = port.removeprefix(":")
    elif rest.count(":") > 1:
        address, port = rest, ""
    else:
        address, _, port = rest.partition(":")
    section["address"] = address
    if port:
        if not port.isdigit():
            fail(f"--resolver {text}: port {port!r} found, a number is expected")
        section["port"] = int(port)
    try:
        return check_config({"resolver": section}, "--resolver").resolver.build()
    except ConfigError as error:
        fail(str(error))
