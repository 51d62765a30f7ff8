"""Opening the registry of this machine."""

from __future__ import annotations

import contextlib
import getpass
from collections.abc import Iterator
from pathlib import Path

from iot_registry.cli.local_administration import LocalAdministration
from iot_registry.local.config import Settings
from iot_registry.service import initialization
from iot_registry.service.access import local_principal
from iot_registry.store import migrate
from web_service.core import ConfigurationError
from web_service.local import configure_log
from web_service.store import Database


@contextlib.contextmanager
def opened(settings: Settings, *, root_key: Path | None = None, create: bool = False) -> Iterator[LocalAdministration]:
    """The registry of these settings, migrated to this version's schema.

    create: make the state directory if there is none. Raises ConfigurationError.
    """
    configure_log(settings.registry.log)
    prepare_state_dir(settings, create=create)
    database = Database(settings.database_url)
    try:
        migrate.upgrade(database)
        who = local_principal(getpass.getuser())
        yield LocalAdministration(initialization.with_default_domain(database, settings), database, who, root_key)
    finally:
        database.close()


def prepare_state_dir(settings: Settings, *, create: bool) -> None:
    """Check that only its owner can change the state directory. Raises ConfigurationError."""
    path = settings.state_dir
    if not path.exists():
        if not create:
            raise ConfigurationError(f"{path}: no registry here; make one with `iot-registry init`")
        path.mkdir(mode=0o700, parents=True)
    mode = path.stat().st_mode & 0o777
    if mode & 0o027:
        raise ConfigurationError(
            f"{path}: mode is {mode:04o}, expected 0700 or 0750: it holds private keys; `chmod 700` it"
        )
