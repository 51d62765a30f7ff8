"""Expected failures of a command: one line on standard error and exit code 1, never a traceback."""

from __future__ import annotations

from iot_registry.signer.base import SignerError
from web_service.cli import CommandGroup


class RegistryCommands(CommandGroup):
    """The commands of the registry."""

    expected = (SignerError,)
