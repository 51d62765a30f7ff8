"""The modem in front of a card: AT commands, the serial port on which they arrive, and a trace of the APDUs.

Imports `card` and `interface`. `PtyPort` does the I/O; `Modem` and `Tracer` do none.
"""

from iot_safe_sim.modem.at_interpreter import Modem
from iot_safe_sim.modem.errors import PortError
from iot_safe_sim.modem.pty_port import LONGEST_SAFE_PATH, PtyPort
from iot_safe_sim.modem.trace import Tracer

__all__ = ["LONGEST_SAFE_PATH", "Modem", "PortError", "PtyPort", "Tracer"]
