"""Configuration files: reading TOML, validating it, and the sections that several processes share."""

from __future__ import annotations

import ipaddress
import os
import stat
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from dane_radius.dns.resolver import (
    DEFAULT_RETRANSMIT_SECONDS,
    DEFAULT_TIMEOUT_SECONDS,
    LoopbackResolver,
    Resolver,
    TlsResolver,
)


class ConfigError(ValueError):
    """The configuration is unusable. The text has one line per error, each with the file and the key."""


class Section(BaseModel):
    """A table of a configuration file: unknown keys and values of another type are errors, and it is immutable."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class ResolverConfig(Section):
    """The resolver for TLSA records. `dane_radius.dns.resolver` says what makes a resolver trustworthy."""

    # IP address of a validating resolver; with udp, a loopback address.
    address: str = "127.0.0.1"
    # Default: 53, or 853 with tls.
    port: Annotated[int, Field(ge=1, le=65535)] | None = None
    # How the resolver is asked. Plain DNS is possible on this host only.
    transport: Literal["udp", "tls"] = "udp"
    # The name in the resolver's certificate; required with tls.
    server_name: str | None = None
    # PEM file of the CAs for that certificate. Default: those of the system.
    ca_file: str | None = None
    # Seconds that one lookup may take, retransmissions included.
    timeout: Annotated[float, Field(gt=0, le=10)] = DEFAULT_TIMEOUT_SECONDS
    # Seconds until the first retransmission of a question; doubled for each further one.
    retransmit: Annotated[float, Field(gt=0, le=5)] = DEFAULT_RETRANSMIT_SECONDS
    # Whether records whose only signatures use SHA-1 (RSASHA1) count as validated. By RFC 9905, they do not.
    allow_sha1: bool = False

    @model_validator(mode="after")
    def _reachable_safely(self) -> ResolverConfig:
        try:
            address = ipaddress.ip_address(self.address)
        except ValueError as error:
            raise ValueError(f"address {self.address!r}: an IP address is expected") from error
        if self.transport == "tls":
            if not self.server_name:
                raise ValueError("server_name is expected with transport = 'tls'")
        elif not address.is_loopback:
            raise ValueError(
                f"address {self.address}: plain DNS could be forged on the way; "
                "a loopback address, or transport = 'tls', is expected"
            )
        return self

    def build(self) -> Resolver:
        """The resolver that this section describes."""
        if self.transport == "tls":
            return TlsResolver(
                self.address,
                self.server_name or "",
                self.port or 853,
                ca_file=self.ca_file,
                timeout=self.timeout,
                allow_sha1=self.allow_sha1,
            )
        return LoopbackResolver(self.address, self.port or 53, self.timeout, self.retransmit, self.allow_sha1)


class LogConfig(Section):
    """One line per decision. `destination`: a file, `stderr`, or `none`."""

    # A file, `stderr`, or `none`.
    destination: str = "/var/log/freeradius/dane-radius.log"
    # json for machines, text for people.
    format: Literal["json", "text"] = "json"
    # Seconds between two writes. Writing several lines together costs less.
    interval: Annotated[float, Field(gt=0, le=10)] = 0.5


Model = TypeVar("Model", bound=BaseModel)


def read_toml(path: str | Path) -> dict[str, Any]:
    """The parsed content of a TOML file. Raises ConfigError, which names the file and the error."""
    try:
        octets = Path(path).read_bytes()
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
    try:
        return tomllib.loads(octets.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: octet {error.start} is not UTF-8") from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path}: not TOML: {error}") from error


def check_sections(model: type[Model], data: dict[str, Any], source: str) -> Model:
    """`data` as `model`. Raises ConfigError with one line per error, each with `source` as the file's name."""
    try:
        return model.model_validate(data)
    except ValidationError as error:
        raise ConfigError("\n".join(f"{source}: {_problem(item)}" for item in error.errors())) from error


def _problem(error: Any) -> str:
    key = ".".join(str(part) for part in error["loc"])
    if error["type"] == "extra_forbidden":
        return f"{key}: unknown key"
    if error["type"] == "missing":
        return f"{key}: nothing found, this key is expected"
    message = error["msg"].removeprefix("Value error, ")
    if error["type"] == "value_error":
        return f"{key}: {message}" if key else message
    # A secret given as a value of the wrong type must not be logged.
    found = "" if "secret" in key else f"{error['input']!r} found; "
    return f"{key}: {found}{message[:1].lower() + message[1:]}"


def read_secret(path: str, what: str) -> bytes:
    """The secret that a file contains, without surrounding white space. `what`: the setting that names the file.

    Raises ConfigError, also if every user can read the file.
    """
    try:
        mode = os.stat(path).st_mode
        octets = Path(path).read_bytes().strip()
    except OSError as error:
        raise ConfigError(f"{what}: {path}: {error.strerror}") from error
    if mode & stat.S_IRWXO:
        raise ConfigError(f"{what}: {path}: mode {stat.S_IMODE(mode):04o} lets everybody read it; 0640 is expected")
    if not octets:
        raise ConfigError(f"{what}: {path} is empty")
    return octets
