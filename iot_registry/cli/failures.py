"""Expected failures of a command: one line on standard error and exit code 1, never a traceback."""

from __future__ import annotations

from typing import Any

import click
from sqlalchemy.exc import DBAPIError

from iot_registry.cli.remote_administration import RemoteError
from iot_registry.core.errors import ConfigurationError, Refused
from iot_registry.signer.base import SignerError


class CommandFailed(click.ClickException):
    """Ends the command with this message and exit code 1."""

    exit_code = 1


class CommandGroup(click.Group):
    """A group whose commands end with `CommandFailed` on every expected failure."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except Refused as refused:
            field = f" (field {refused.field})" if refused.field else ""
            raise CommandFailed(f"refused, {refused.reason}: {refused.detail}{field}") from None
        except (ConfigurationError, SignerError, RemoteError) as error:
            raise CommandFailed(str(error)) from None
        except DBAPIError as error:
            raise CommandFailed(f"the database reports an error: {error.orig}") from None
        except OSError as error:
            raise CommandFailed(f"{error.strerror}: {error.filename}" if error.filename else str(error)) from None
