"""The configuration: one TOML file, checked when it is loaded. Every key is optional.

Precedence: command-line option, then the file, then the default here.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from web_service.core import ConfigurationError
from web_service.local import ConnectionsSection, Listen, Section, load_settings

DEFAULT_STATE_DIR = Path("/var/lib/dane-operations")
DEFAULT_CONFIG = Path("/etc/dane-operations/dane-operations.toml")


class OperationsSection(Section):
    """Where the service keeps its state, and how it is reached.

    state_dir: directory of TLS files and the default database; mode 0700.
    listen: address and port of the HTTPS server.
    database_url: SQLAlchemy URL of the database; default: SQLite in the state directory. Several instances may share
    one on PostgreSQL.
    policy: the policy file of the RADIUS nodes. Its zones are the ones that a change may name, and its section
    `standing` has the rules; default: no file, so that no zone can be named, and no rule applies.
    log: "auto" writes text on a terminal and JSON elsewhere.
    """

    state_dir: Path = DEFAULT_STATE_DIR
    listen: Listen = "127.0.0.1:8444"
    database_url: str | None = None
    policy: Path | None = None
    log: Literal["auto", "json", "text"] = "auto"


class TlsSection(Section):
    """The server's certificate. If the section is empty, the service makes one under a CA of its own.

    certificate, key: PEM files of the operator; both or none. A change of the files is noticed within a minute.
    names: further host names and addresses for the certificate that the service makes.
    """

    certificate: Path | None = None
    key: Path | None = None
    names: tuple[str, ...] = ()


class FeedSection(Section):
    """The change feed. retention_days: age after which events are deleted; followers take the snapshot then."""

    retention_days: Annotated[float, Field(gt=0)] = 30


class InventorySection(Section):
    """What is kept of devices.

    unproven: names that no device has proven to hold, the latest ones: anyone can present any name. Further ones are
    forgotten, the oldest first.
    open_questions: approvals of unproven names that wait for an answer at a time. Further ones are not asked.
    """

    unproven: Annotated[int, Field(ge=0, le=1_000_000)] = 10_000
    open_questions: Annotated[int, Field(ge=0, le=10_000)] = 20


class Settings(Section):
    """The whole configuration."""

    operations: OperationsSection = OperationsSection()
    connections: ConnectionsSection = ConnectionsSection()
    tls: TlsSection = TlsSection()
    feed: FeedSection = FeedSection()
    inventory: InventorySection = InventorySection()

    @property
    def state_dir(self) -> Path:
        return self.operations.state_dir

    @property
    def database_url(self) -> str:
        return self.operations.database_url or f"sqlite:///{self.state_dir / 'operations.db'}"


def load(path: Path | None, overrides: dict[str, dict[str, Any]] | None = None) -> Settings:
    """Read and check the configuration. Raises ConfigurationError with file, key, what was found and what is expected.

    overrides: values from the command line, by section; None: not given.
    """
    settings = load_settings(Settings, path, overrides)
    if (settings.tls.certificate is None) != (settings.tls.key is None):
        where = str(path) if path else "defaults"
        raise ConfigurationError(f"{where}: tls: certificate and key belong together: give both or none")
    return settings
