"""A client of any IoT SAFE card, simulated or real: transports, the applet's commands, and TLS with the card's key.

Imports `interface` only, so that nothing here depends on the simulated card.
"""

from iot_safe_sim.middleware.client import FileInfo, IoTSafeClient
from iot_safe_sim.middleware.errors import (
    CardError,
    CardTlsBrokenError,
    CardTlsError,
    CommandFailedError,
    TransportError,
)
from iot_safe_sim.middleware.private_key import CardPrivateKey
from iot_safe_sim.middleware.serial_transport import SerialTransport
from iot_safe_sim.middleware.tls import CardIdentity, CardTlsSocket
from iot_safe_sim.middleware.transport import MemoryTransport, Transport

__all__ = [
    "CardError",
    "CardIdentity",
    "CardPrivateKey",
    "CardTlsBrokenError",
    "CardTlsError",
    "CardTlsSocket",
    "CommandFailedError",
    "FileInfo",
    "IoTSafeClient",
    "MemoryTransport",
    "SerialTransport",
    "Transport",
    "TransportError",
]
