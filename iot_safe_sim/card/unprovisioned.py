"""The objects of a new card: every container of the layout, all of them empty."""

from __future__ import annotations

from iot_safe_sim.card.object_store import ObjectStore
from iot_safe_sim.card.objects import (
    FILE_USAGE_X509,
    KEY_TYPE_P256_VOLATILE,
    Access,
    AnyObject,
    File,
    Function,
    PrivateKey,
    PublicKey,
)
from iot_safe_sim.interface import containers

_CONTAINERS: tuple[AnyObject, ...] = (
    PrivateKey(containers.DEVICE_KEY, "DeviceKey", functions=Function.SIGN),
    PrivateKey(containers.PENDING_KEY, "PendingDeviceKey", functions=Function.SIGN),
    PrivateKey(
        containers.EPHEMERAL_KEY,
        "EphemeralKey",
        key_type=KEY_TYPE_P256_VOLATILE,
        functions=Function.GENERATE | Function.AGREE,
        access=Access.READ | Access.UPDATE,
    ),
    PublicKey(containers.PEER_PUBLIC_KEY, "PeerPublicKey", key_type=KEY_TYPE_P256_VOLATILE),
    File(containers.CLIENT_CERTIFICATE, "ClientCertificate", usage=FILE_USAGE_X509),
    File(containers.SERVER_CERTIFICATE, "ServerCertificate", usage=FILE_USAGE_X509),
    File(containers.ROOT_CA, "RootCA", usage=FILE_USAGE_X509),
    File(containers.ISSUING_CA, "IssuingCA", usage=FILE_USAGE_X509),
    File(containers.URL_BLOB, "ServerURL"),
    File(containers.URL_SIGNATURE, "ServerURLSignature"),
    File(containers.SERVER_CERTIFICATE_SIGNATURE, "ServerCertificateSignature"),
    File(containers.PENDING_CERTIFICATE, "PendingCertificate", usage=FILE_USAGE_X509),
    File(containers.REGISTRY_SETTINGS, "RegistrySettings"),
)


def unprovisioned_store() -> ObjectStore:
    """The object store of a card that nobody has provisioned yet."""
    store = ObjectStore()
    for item in _CONTAINERS:
        store = store.with_object(item)
    return store
