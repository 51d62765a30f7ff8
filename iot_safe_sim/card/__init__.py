"""The card: the IoT SAFE applet, its objects, and the state directory in which a process keeps them.

Imports `interface` and `keystore`. The modem and the device import it; it imports neither, nor the middleware.

Inside, from the bottom up: objects and the object store; sessions and channels; `content`, which makes each change
durable before it is visible; the commands and the administration; the applet; and `Card`, which opens all of it.
"""

from iot_safe_sim.card.applet import Applet
from iot_safe_sim.card.card import Card
from iot_safe_sim.card.object_store import ObjectStore
from iot_safe_sim.card.objects import Access, File, Function, PrivateKey, PublicKey, Secret
from iot_safe_sim.card.signature_format import SignatureFormat
from iot_safe_sim.card.state_directory import StateDirectory, key_store_of
from iot_safe_sim.card.state_file import StateError
from iot_safe_sim.card.unprovisioned import unprovisioned_store

__all__ = [
    "Access",
    "Applet",
    "Card",
    "File",
    "Function",
    "ObjectStore",
    "PrivateKey",
    "PublicKey",
    "Secret",
    "SignatureFormat",
    "StateDirectory",
    "StateError",
    "key_store_of",
    "unprovisioned_store",
]
