"""What compose.yaml may say here: a strict model of the part of the Compose Specification that this project uses.

The schema of the specification allows much that would weaken a service. This model allows only what a reader has
agreed to, so that a new key is a decision.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from tests.harness.deploy import REPOSITORY

COMPOSE_FILE = REPOSITORY / "containers" / "compose" / "compose.yaml"
_VARIABLE = re.compile(r"\$\{([A-Z0-9_]+)(?::-([^}]*))?\}")


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Healthcheck(_Part):
    """A command, in the form that needs no shell. Durations as the specification writes them."""

    test: list[str] = []
    interval: str = "30s"
    timeout: str = "30s"
    retries: int = 3
    start_period: str = "0s"
    disable: bool = False


class Build(_Part):
    """How `docker compose build` makes the image."""

    context: Literal["../.."]
    dockerfile: Literal["containers/images/Dockerfile"]
    target: str


class Dependency(_Part):
    """What must be true of another service first."""

    condition: Literal["service_healthy", "service_completed_successfully"]


class Limits(_Part):
    """All three are given, so that no service can take what the others need."""

    cpus: str
    memory: Annotated[str, Field(pattern=r"^\d+[MG]$")]
    pids: int


class Resources(_Part):
    """Only limits."""

    limits: Limits


class Deploy(_Part):
    """Only resources."""

    resources: Resources


class Attachment(_Part):
    """A fixed address, for servers that DNS configuration names by their address."""

    ipv4_address: str | None = None


class Logging(_Part):
    """A log that cannot fill the disk."""

    driver: Literal["json-file"]
    options: dict[Literal["max-size", "max-file"], str]


def _attachments(value: Any) -> Any:
    return {key: {} for key in value} if isinstance(value, list) else value


class Service(_Part):
    """One service. The Literal types are the hardening that every service has."""

    image: Annotated[str, Field(pattern=r"^[\w./-]+:[\w.-]+$")]
    build: Build | None = None
    command: list[str] | None = None
    user: Annotated[str, Field(pattern=r"^[1-9]\d*:\d+$")]
    group_add: list[str] = []
    environment: dict[str, str] = {}
    init: Literal[False]
    restart: Literal["unless-stopped", "no"]
    read_only: Literal[True]
    cap_drop: list[Literal["ALL"]]
    security_opt: list[Literal["no-new-privileges:true"]]
    stop_grace_period: Literal["30s"]
    logging: Logging
    networks: Annotated[dict[str, Attachment], BeforeValidator(_attachments)] = {}
    network_mode: Literal["none"] | None = None
    ports: list[str] = []
    volumes: list[str] = []
    tmpfs: list[str]
    secrets: list[str] = []
    healthcheck: Healthcheck | None = None
    depends_on: dict[str, Dependency] = {}
    deploy: Deploy
    profiles: list[Literal["demo"]] = []
    stdin_open: bool = False
    shm_size: str | None = None
    ulimits: dict[Literal["nofile"], int] = {}

    @property
    def is_job(self) -> bool:
        """Whether it is expected to end by itself."""
        return self.restart == "no"


class Subnet(_Part):
    """Addresses of a network in which some service has a fixed one."""

    subnet: str


class Ipam(_Part):
    """Only subnets."""

    config: list[Subnet]


class Network(_Part):
    """internal: without a way out."""

    internal: bool = False
    ipam: Ipam | None = None


class Nothing(_Part):
    """A named volume with the engine's defaults."""


class Secret(_Part):
    """A secret in a file of the folder secrets/, which make-secrets writes."""

    file: Annotated[str, Field(pattern=r"^secrets/[\w.-]+$")]


class Compose(BaseModel):
    """The file. Top-level keys that begin with x- are fragments for anchors."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    services: dict[str, Service]
    networks: dict[str, Network]
    volumes: dict[str, Nothing]
    secrets: dict[str, Secret]


def interpolate(text: str, settings: dict[str, str]) -> str:
    """Put settings, or the defaults in the text, where `${NAME:-default}` stands. Raises KeyError for neither."""

    def value(match: re.Match[str]) -> str:
        name, default = match.groups()
        if settings.get(name):
            return settings[name]
        if default is None:
            raise KeyError(f"{name} has neither a value nor a default")
        return str(default)

    return _VARIABLE.sub(value, text)


def load_compose(settings: dict[str, str] | None = None, text: str | None = None) -> Compose:
    """Read compose.yaml (or `text`). Raises pydantic.ValidationError for anything that the model does not know."""
    text = COMPOSE_FILE.read_text() if text is None else text
    data = yaml.safe_load(interpolate(text, settings or {}))
    return Compose.model_validate({key: value for key, value in data.items() if not key.startswith("x-")})


def read_settings(path: Path) -> dict[str, str]:
    """The lines NAME=value of a .env file."""
    lines = (line.strip() for line in path.read_text().splitlines())
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))
