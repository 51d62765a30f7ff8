"""The commands of GSMA IoT.05. Each takes the card's content, the channel and the command, and returns a response.

A command raises AppletError or TlvError to refuse, and has changed nothing then.
"""

from iot_safe_sim.card.commands.derive import compute_dh, compute_hkdf, compute_prf
from iot_safe_sim.card.commands.public_keys import (
    generate_key_pair,
    put_public_key_init,
    put_public_key_update,
    read_public_key,
)
from iot_safe_sim.card.commands.random_bytes import get_random
from iot_safe_sim.card.commands.retrieve import get_data, read_file
from iot_safe_sim.card.commands.signatures import (
    compute_signature_init,
    compute_signature_update,
    verify_signature_init,
    verify_signature_update,
)

__all__ = [
    "compute_dh",
    "compute_hkdf",
    "compute_prf",
    "compute_signature_init",
    "compute_signature_update",
    "generate_key_pair",
    "get_data",
    "get_random",
    "put_public_key_init",
    "put_public_key_update",
    "read_file",
    "read_public_key",
    "verify_signature_init",
    "verify_signature_update",
]
