"""Expected failures of a command: one line on standard error and exit code 1, never a traceback."""

from __future__ import annotations

from typing import Any, ClassVar

import click
from sqlalchemy.exc import DBAPIError

from web_service.cli.json_client import RemoteError
from web_service.core import ConfigurationError, Refused


class CommandFailed(click.ClickException):
    """Ends the command with this message and exit code 1."""

    exit_code = 1


class CommandGroup(click.Group):
    """A group whose commands end with `CommandFailed` on every expected failure.

    expected: further exceptions whose text explains the failure.
    """

    expected: ClassVar[tuple[type[Exception], ...]] = ()

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except Refused as refused:
            field = f" (field {refused.field})" if refused.field else ""
            raise CommandFailed(f"refused, {refused.reason}: {refused.detail}{field}") from None
        except (ConfigurationError, RemoteError) as error:
            raise CommandFailed(str(error)) from None
        except self.expected as error:
            raise CommandFailed(str(error)) from None
        except DBAPIError as error:
            raise CommandFailed(f"the database reports an error: {error.orig}") from None
        except OSError as error:
            raise CommandFailed(f"{error.strerror}: {error.filename}" if error.filename else str(error)) from None
