"""The command `iot-safe-sim`: it translates arguments to calls, and errors to one line and an exit code.

Imports every other room; none imports it.
"""

from iot_safe_sim.cli.group import main

__all__ = ["main"]
