"""TLS and DTLS profiles of a device as a client (RFC 9761), and their description for a person.

A packet filter cannot enforce a profile, because it sees no ClientHello. So a profile is shown, and
monitors may use it.
"""

from __future__ import annotations

import base64
import hashlib
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from mud.document.yang_types import ListedName, Text, Uint8, Uint16, YangModel, _base64, listing, unique
from mud.limits import MAX_TLS_PROFILES, MAX_TLS_VALUES, MAX_TRUST_ANCHOR_CHARACTERS

_VERSIONS = {"tls12": "TLS 1.2", "tls13": "TLS 1.3", "dtls12": "DTLS 1.2", "dtls13": "DTLS 1.3"}
_CIPHER_SUITES = {
    0x1301: "TLS_AES_128_GCM_SHA256",
    0x1302: "TLS_AES_256_GCM_SHA384",
    0x1303: "TLS_CHACHA20_POLY1305_SHA256",
    0x1304: "TLS_AES_128_CCM_SHA256",
    0x1305: "TLS_AES_128_CCM_8_SHA256",
    0xC02B: "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
    0xC02C: "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
    0xC02F: "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
    0xC030: "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
    0xC0AC: "TLS_ECDHE_ECDSA_WITH_AES_128_CCM",
    0xC0AE: "TLS_ECDHE_ECDSA_WITH_AES_128_CCM_8",
}
_GROUPS = {23: "secp256r1", 24: "secp384r1", 25: "secp521r1", 29: "x25519", 30: "x448"}
_SIGNATURES = {
    0x0401: "rsa_pkcs1_sha256",
    0x0403: "ecdsa_secp256r1_sha256",
    0x0503: "ecdsa_secp384r1_sha384",
    0x0804: "rsa_pss_rsae_sha256",
    0x0805: "rsa_pss_rsae_sha384",
    0x0806: "rsa_pss_rsae_sha512",
    0x0807: "ed25519",
}
_PSK_MODES = {0: "psk_ke", 1: "psk_dhe_ke"}

TrustAnchors = Annotated[str, Field(max_length=MAX_TRUST_ANCHOR_CHARACTERS), AfterValidator(_base64)]
Uint16List = Annotated[tuple[Uint16, ...], listing(max_length=MAX_TLS_VALUES), AfterValidator(unique)]


class TlsProfile(YangModel):
    """One profile. An empty list says nothing about its parameter."""

    name: ListedName
    supported_tls_version: Annotated[
        tuple[Literal["tls12", "tls13"], ...], listing(max_length=2), AfterValidator(unique)
    ] = ()
    supported_dtls_version: Annotated[
        tuple[Literal["dtls12", "dtls13"], ...], listing(max_length=2), AfterValidator(unique)
    ] = ()
    cipher_suite: Uint16List = ()
    extension_type: Uint16List = ()
    accept_list_ta_cert: Annotated[tuple[TrustAnchors, ...], listing(max_length=MAX_TLS_PROFILES)] = ()
    psk_key_exchange_mode: Annotated[tuple[Uint8, ...], listing(max_length=MAX_TLS_VALUES), AfterValidator(unique)] = ()
    supported_group: Uint16List = ()
    signature_algorithm_cert: Uint16List = ()
    signature_algorithm: Uint16List = ()
    application_protocol: Annotated[tuple[Text, ...], listing(max_length=MAX_TLS_VALUES), AfterValidator(unique)] = ()
    cert_compression_algorithm: Uint16List = ()
    certificate_authorities: Annotated[
        tuple[Text, ...], listing(max_length=MAX_TLS_VALUES), AfterValidator(unique)
    ] = ()

    def describe(self) -> tuple[str, ...]:
        """One line for each parameter that the profile restricts."""
        versions = [_VERSIONS[name] for name in (*self.supported_tls_version, *self.supported_dtls_version)]
        anchors = [hashlib.sha256(base64.b64decode(text)).hexdigest()[:16] for text in self.accept_list_ta_cert]
        lines = (
            ("versions", versions),
            ("cipher suites", _named(self.cipher_suite, _CIPHER_SUITES)),
            ("extensions", [str(number) for number in self.extension_type]),
            ("key exchange with PSK", _named(self.psk_key_exchange_mode, _PSK_MODES)),
            ("groups", _named(self.supported_group, _GROUPS)),
            ("signatures", _named(self.signature_algorithm, _SIGNATURES)),
            ("signatures in certificates", _named(self.signature_algorithm_cert, _SIGNATURES)),
            ("application protocols", list(self.application_protocol)),
            ("certificate compression", [str(number) for number in self.cert_compression_algorithm]),
            ("certificate authorities", list(self.certificate_authorities)),
            ("trust anchors, by the start of their SHA-256", anchors),
        )
        return tuple(f"{label}: {', '.join(values)}" for label, values in lines if values)


class ClientProfiles(YangModel):
    """The profiles that an access control entry names. A connection fits if one of them does."""

    tls_dtls_profile: Annotated[tuple[TlsProfile, ...], listing(max_length=MAX_TLS_PROFILES)] = ()


def _named(numbers: tuple[int, ...], names: dict[int, str]) -> list[str]:
    return [names.get(number, f"0x{number:04x}") for number in numbers]
