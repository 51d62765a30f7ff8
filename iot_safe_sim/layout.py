"""The container layout: which identifier holds what.

It is the layout that CIRA's provisioning and wolfSSL's raspberry example share, so one store serves both. The
last group is used while a new certificate is on its way: the pending key and certificate become the current
ones in one step.
"""

from __future__ import annotations

from iot_safe_sim.objects import (
    FILE_USAGE_X509,
    KEY_TYPE_P256_VOLATILE,
    Access,
    File,
    Function,
    PrivateKey,
    PublicKey,
    Store,
)

#: AID of GSMA IoT.05, used by wolfSSL, Orange and others: signatures carry a 16-bit length.
GSMA_AID = bytes.fromhex("A0000005590010")
#: AIDs of the Thales middleware, as CIRA forked it and as published since: signatures carry an 8-bit length.
THALES_AID = bytes.fromhex("A0000002480400")
THALES_AID_2025 = bytes.fromhex("A00000003053F12401770101495341")

DEVICE_KEY = b"\x01"
CLIENT_CERTIFICATE = b"\x02"
SERVER_CERTIFICATE = b"\x03"
EPHEMERAL_KEY = b"\x04"
PEER_PUBLIC_KEY = b"\x05"
ROOT_CA = b"\x06"
ISSUING_CA = b"\x07"
URL_BLOB = b"\x08"
URL_SIGNATURE = b"\x09"
SERVER_CERTIFICATE_SIGNATURE = b"\x0a"

# Below 10: a PKCS#11 library keeps a table of 16 containers, and writes past its end for higher identifiers.
PENDING_KEY = b"\x0b"
PENDING_CERTIFICATE = b"\x0c"
#: Where the registry is (no secret): what re-enrollment needs.
REGISTRY_SETTINGS = b"\x0d"

CSR_FILE = bytes.fromhex("80000000")
CSR_LABEL = "CertificateSigningRequest"


def new_store() -> Store:
    """An unprovisioned card: every container there, all of them empty."""
    store = Store()
    for item in (
        PrivateKey(DEVICE_KEY, "DeviceKey", functions=Function.SIGN),
        PrivateKey(PENDING_KEY, "PendingDeviceKey", functions=Function.SIGN),
        PrivateKey(
            EPHEMERAL_KEY,
            "EphemeralKey",
            key_type=KEY_TYPE_P256_VOLATILE,
            functions=Function.GENERATE | Function.AGREE,
            access=Access.READ | Access.UPDATE,
        ),
        PublicKey(PEER_PUBLIC_KEY, "PeerPublicKey", key_type=KEY_TYPE_P256_VOLATILE),
        File(CLIENT_CERTIFICATE, "ClientCertificate", usage=FILE_USAGE_X509),
        File(SERVER_CERTIFICATE, "ServerCertificate", usage=FILE_USAGE_X509),
        File(ROOT_CA, "RootCA", usage=FILE_USAGE_X509),
        File(ISSUING_CA, "IssuingCA", usage=FILE_USAGE_X509),
        File(URL_BLOB, "ServerURL"),
        File(URL_SIGNATURE, "ServerURLSignature"),
        File(SERVER_CERTIFICATE_SIGNATURE, "ServerCertificateSignature"),
        File(PENDING_CERTIFICATE, "PendingCertificate", usage=FILE_USAGE_X509),
        File(REGISTRY_SETTINGS, "RegistrySettings"),
    ):
        store = store.with_object(item)
    return store
