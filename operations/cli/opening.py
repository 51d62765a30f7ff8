"""Opening the service of this machine."""

from __future__ import annotations

import contextlib
import getpass
from collections.abc import Iterator

from operations.cli.local_administration import LocalAdministration
from operations.local.config import Settings
from operations.service import restores
from operations.service.access import local_principal
from operations.store import migrate
from web_service.core import ConfigurationError
from web_service.local import configure_log, utc_now
from web_service.store import Database


@contextlib.contextmanager
def opened(settings: Settings, *, create: bool = False) -> Iterator[LocalAdministration]:
    """The service of these settings, migrated to this version's schema.

    create: make the state directory if there is none. Raises ConfigurationError.
    """
    configure_log(settings.operations.log)
    prepare_state_dir(settings, create=create)
    database = Database(settings.database_url)
    try:
        migrate.upgrade(database)
        restores.check_position(database, settings.state_dir, utc_now())
        yield LocalAdministration(settings, database, local_principal(getpass.getuser()))
    finally:
        database.close()


def prepare_state_dir(settings: Settings, *, create: bool) -> None:
    """Check that only its owner can change the state directory. Raises ConfigurationError."""
    path = settings.state_dir
    if not path.exists():
        if not create:
            raise ConfigurationError(f"{path}: no service here; make one with `dane-operations init`")
        path.mkdir(mode=0o700, parents=True)
    mode = path.stat().st_mode & 0o777
    if mode & 0o027:
        raise ConfigurationError(
            f"{path}: mode is {mode:04o}, expected 0700 or 0750: it holds a private key; `chmod 700` it"
        )
