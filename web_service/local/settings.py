"""What the configuration files of services have in common: TOML, checked when it is loaded, every key optional.

Precedence: command-line option, then the file, then the default.
"""

from __future__ import annotations

import ipaddress
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from web_service.core.refusals import ConfigurationError


@dataclass(frozen=True)
class Endpoint:
    """An address and a port. In text form, an IPv6 address is in brackets."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def is_wildcard(self) -> bool:
        """Whether it stands for all addresses of the machine."""
        return self.host in ("0.0.0.0", "::")  # noqa: S104 - recognized here, not bound


def parse_endpoint(text: str) -> Endpoint:
    """`host:port` or `[v6]:port`; raises ValueError."""
    host, separator, port = text.rpartition(":")
    if not separator or not port.isdigit() or not 0 <= int(port) <= 65535:
        raise ValueError(f"found {text!r}, expected host:port with a port of 0 to 65535")
    host = host.removeprefix("[").removesuffix("]")
    if not host:
        raise ValueError(f"found {text!r}, expected a host before the port")
    return Endpoint(host, int(port))


def _check_endpoint(text: str) -> str:
    parse_endpoint(text)
    return text


def _check_network(text: str) -> str:
    try:
        return str(ipaddress.ip_network(text))
    except ValueError as error:
        raise ValueError(f"found {text!r}, expected an address or a network such as 192.0.2.0/28: {error}") from None


Listen = Annotated[str, AfterValidator(_check_endpoint)]
NetworkText = Annotated[str, AfterValidator(_check_network)]
Seconds = Annotated[float, Field(ge=0.1, le=3600)]


class Section(BaseModel):
    """A section of a configuration file."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class ConnectionsSection(Section):
    """Bounds of the HTTPS server: connections at a time, and seconds that each step of a connection may take.

    total: all connections. Each takes 0.3 MB before its first request and at most 0.8 MB: raise `total` together with
    MemoryMax and LimitNOFILE of the unit. Too low: each network that follows the feed occupies one.
    per_address: connections of one address (IPv6: of one /64). Too low: a busy site behind one NAT address is refused.
    Too high: a few addresses occupy all connections until other clients arrive.
    shared_addresses: networks of known proxies and NATs, to which only `total` applies.
    handshake_seconds: from the connection to the end of the TLS handshake. header_seconds: from there to the end of a
    request's header section. body_seconds: from there to the end of its body. idle_seconds: between requests.
    send_seconds: until the client has read pending output. Too low: devices on slow links (modems need some seconds)
    are disconnected. Too high: a slow client occupies a connection for that long.
    """

    total: Annotated[int, Field(ge=10, le=100_000)] = 800
    per_address: Annotated[int, Field(ge=1, le=100_000)] = 250
    shared_addresses: tuple[NetworkText, ...] = ()
    handshake_seconds: Seconds = 10
    header_seconds: Seconds = 10
    body_seconds: Seconds = 10
    idle_seconds: Seconds = 30
    send_seconds: Seconds = 30


Model = TypeVar("Model", bound=BaseModel)


def load_settings(model: type[Model], path: Path | None, overrides: dict[str, dict[str, Any]] | None = None) -> Model:
    """Read and check the configuration. Raises ConfigurationError with file, key, what was found and what is expected.

    overrides: values from the command line, by section; None: not given.
    """
    data: dict[str, Any] = {}
    where = str(path) if path else "defaults"
    if path:
        try:
            data = tomllib.loads(path.read_text())
        except OSError as error:
            raise ConfigurationError(f"{path}: cannot read: {error.strerror}") from None
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise ConfigurationError(f"{path}: not TOML: {error}") from None
    for section, values in (overrides or {}).items():
        given = {key: value for key, value in values.items() if value is not None}
        if given and isinstance(data.setdefault(section, {}), dict):
            data[section].update(given)
    try:
        return model.model_validate(data)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        found = "" if first["type"] == "extra_forbidden" else f", found {first['input']!r}"
        message = first["msg"].removeprefix("Value error, ") if not key else first["msg"]
        raise ConfigurationError(f"{where}: {f'{key}: ' if key else ''}{message}{found if key else ''}") from None
