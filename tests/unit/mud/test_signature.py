"""Signatures of MUD files: every vector that must be accepted or refused, with OpenSSL's opinion beside ours."""

from __future__ import annotations

import hashlib
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from asn1crypto import cms
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from mud import (
    MAX_SIGNATURE_OCTETS,
    Mode,
    MudError,
    SignatureReason,
    SignatureRefused,
    VerifiedSignature,
    parse_mud,
    verify_signature,
)
from tests.unit.mud.builders import PUBLISHED
from tests.unit.mud.signers import (
    CODE,
    EMAIL,
    MUDTYPE,
    NOW,
    TLS_SERVER,
    Signer,
    certificate,
    openssl_accepts,
    rsa_key,
    sign,
)

CONTENT = b'{"ietf-mud:mud": {}}\n'
Reason = SignatureReason


@dataclass(frozen=True)
class World:
    """The CA for MUD signers, an intermediate, a stranger's CA, and the usual signer."""

    folder: Path
    root: Signer
    intermediate: Signer
    stranger: Signer
    signer: Signer

    def make(self, label: str, issuer: Signer | None = None, **options: Any) -> Signer:
        return certificate(self.folder, label, issuer or self.root, **options)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    folder = tmp_path_factory.mktemp("signers")
    root = certificate(folder, "root", ca=True, days=(-1000, 1000))
    intermediate = certificate(folder, "intermediate", root, ca=True, days=(-500, 500))
    stranger = certificate(folder, "stranger", ca=True, days=(-1000, 1000))
    return World(folder, root, intermediate, stranger, certificate(folder, "signer", root))


def verify(world: World, signature: bytes, content: bytes = CONTENT, **options: Any) -> VerifiedSignature:
    options.setdefault("roots", [world.root.certificate])
    options.setdefault("now", NOW)
    return verify_signature(content, signature, **options)


def refusal(world: World, signature: bytes, content: bytes = CONTENT, **options: Any) -> SignatureReason:
    with pytest.raises(SignatureRefused) as refused:
        verify(world, signature, content, **options)
    assert refused.value.detail
    return refused.value.reason


ACCEPTED: dict[str, Callable[[World], bytes]] = {
    "P-256": lambda w: sign(CONTENT, w.signer),
    "P-384": lambda w: sign(
        CONTENT, w.make("p384", key=ec.generate_private_key(ec.SECP384R1())), options=["-md", "sha384"]
    ),
    "P-521": lambda w: sign(
        CONTENT, w.make("p521", key=ec.generate_private_key(ec.SECP521R1())), options=["-md", "sha512"]
    ),
    "RSA-2048": lambda w: sign(CONTENT, w.make("rsa", key=rsa_key(2048))),
    "the MUD content type": lambda w: sign(CONTENT, w.signer, options=["-econtent_type", MUDTYPE]),
    "no attributes": lambda w: sign(CONTENT, w.signer, options=["-noattr"]),
    "key identifier": lambda w: sign(CONTENT, w.signer, options=["-keyid"]),
    "intermediate inside": lambda w: sign(CONTENT, w.make("below", w.intermediate), chain=[w.intermediate]),
    "a certificate too many": lambda w: sign(CONTENT, w.signer, chain=[w.stranger]),
    "email purpose": lambda w: sign(CONTENT, w.make("email", purposes=[EMAIL])),
}
REFUSED: dict[str, tuple[Callable[[World], bytes], SignatureReason]] = {
    "CRLF content": (lambda w: sign(CONTENT, w.signer, options=["text-mode"]), Reason.CONTENT_CHANGED),
    "another file": (lambda w: sign(CONTENT + b" ", w.signer), Reason.CONTENT_CHANGED),
    "another file, no attributes": (lambda w: sign(CONTENT + b" ", w.signer, options=["-noattr"]), Reason.SIGNATURE),
    "another root": (lambda w: sign(CONTENT, w.make("foreign", w.stranger)), Reason.CHAIN),
    "another root, inside": (lambda w: sign(CONTENT, w.make("foreign2", w.stranger), chain=[w.stranger]), Reason.CHAIN),
    "self-signed": (lambda w: sign(CONTENT, certificate(w.folder, "self")), Reason.CHAIN),
    "missing intermediate": (lambda w: sign(CONTENT, w.make("below2", w.intermediate)), Reason.CHAIN),
    "a signer as CA": (lambda w: sign(CONTENT, w.make("leaf2", w.signer), chain=[w.signer]), Reason.CHAIN),
    "not yet valid": (lambda w: sign(CONTENT, w.make("future", days=(1, 9))), Reason.CHAIN),
    "expired": (lambda w: sign(CONTENT, w.make("expired", days=(-9, -1))), Reason.EXPIRED),
    "expired, another root": (lambda w: sign(CONTENT, w.make("both", w.stranger, days=(-9, -1))), Reason.CHAIN),
    "another key usage": (lambda w: sign(CONTENT, w.make("usage", usage=False)), Reason.KEY_USAGE),
    "no key usage": (lambda w: sign(CONTENT, w.make("nousage", usage=None)), Reason.KEY_USAGE),
    "purpose of TLS only": (lambda w: sign(CONTENT, w.make("tls", purposes=[TLS_SERVER])), Reason.PURPOSE),
    "two signers": (lambda w: sign(CONTENT, w.signer, w.make("second")), Reason.SIGNERS),
    "attached": (lambda w: sign(CONTENT, w.signer, options=["-nodetach"]), Reason.ATTACHED),
    "SHA-1": (lambda w: sign(CONTENT, w.signer, options=["-md", "sha1"]), Reason.DIGEST),
    "SHA-224": (lambda w: sign(CONTENT, w.signer, options=["-md", "sha224"]), Reason.DIGEST),
    "no certificates": (lambda w: sign(CONTENT, w.signer, options=["-nocerts"]), Reason.NO_CERTIFICATE),
    "no certificates, key identifier": (
        lambda w: sign(CONTENT, w.signer, options=["-nocerts", "-keyid"]),
        Reason.NO_CERTIFICATE,
    ),
    "another content type": (
        lambda w: sign(CONTENT, w.signer, options=["-econtent_type", "1.2.3"]),
        Reason.CONTENT_TYPE,
    ),
    "RSA-1024": (lambda w: sign(CONTENT, w.make("rsa1024", key=rsa_key(1024))), Reason.ALGORITHM),
    "RSA-PSS": (
        lambda w: sign(CONTENT, w.make("pss", key=rsa_key(2048)), options=["-keyopt", "rsa_padding_mode:pss"]),
        Reason.ALGORITHM,
    ),
    "secp256k1": (lambda w: sign(CONTENT, w.make("k1", key=ec.generate_private_key(ec.SECP256K1()))), Reason.ALGORITHM),
    "many certificates": (
        lambda w: sign(CONTENT, w.signer, chain=[w.make(f"x{n}") for n in range(8)]),
        Reason.TOO_LARGE,
    ),
}
# What `openssl cms -verify` accepts all the same: it has no opinion about these.
OPENSSL_ACCEPTS = {
    "two signers",
    "attached",
    "SHA-1",
    "SHA-224",
    "another content type",
    "RSA-PSS",
    "many certificates",
    "RSA-1024",
    "secp256k1",
    "no key usage",
    "another key usage",
}
OPENSSL_ACCEPTS_ANY_PURPOSE = OPENSSL_ACCEPTS | {"purpose of TLS only"}


@pytest.mark.parametrize("label", ACCEPTED)
def test_accepted(world: World, label: str) -> None:
    signature = ACCEPTED[label](world)
    verified = verify(world, signature)
    assert verified.expires == min(NOW + timedelta(days=100), verified.signer.not_valid_after_utc)
    # Bytes count, all of them.
    for other in (CONTENT.replace(b"\n", b"\r\n"), CONTENT[:-1], CONTENT + b"\n", b""):
        expected = Reason.SIGNATURE if label == "no attributes" else Reason.CONTENT_CHANGED
        assert refusal(world, signature, other) is expected
    assert refusal(world, signature, roots=[world.stranger.certificate]) is Reason.CHAIN
    assert refusal(world, signature, roots=[]) is Reason.CHAIN
    assert openssl_accepts(CONTENT, signature, world.root.pem, world.folder)
    assert not openssl_accepts(CONTENT + b" ", signature, world.root.pem, world.folder)


@pytest.mark.parametrize("label", REFUSED)
def test_refused(world: World, label: str) -> None:
    make, reason = REFUSED[label]
    signature = make(world)
    assert refusal(world, signature) is reason
    accepted = openssl_accepts(CONTENT, signature, world.root.pem, world.folder)
    assert accepted == (label in OPENSSL_ACCEPTS)
    accepted = openssl_accepts(CONTENT, signature, world.root.pem, world.folder, "-purpose", "any")
    assert accepted == (label in OPENSSL_ACCEPTS_ANY_PURPOSE)


def test_an_honest_code_signing_purpose_is_accepted(world: World) -> None:
    """OpenSSL's default purpose is that of S/MIME. So it refuses this one, unless told otherwise."""
    signature = sign(CONTENT, world.make("code", purposes=[CODE]))
    verify(world, signature)
    assert openssl_accepts(CONTENT, signature, world.root.pem, world.folder, "-purpose", "any")


def test_pinning_one_signer(world: World) -> None:
    signature = sign(CONTENT, world.signer)
    verify(world, signature, roots=[world.signer.certificate])
    other = world.make("another")
    assert refusal(world, signature, roots=[other.certificate]) is Reason.CHAIN


def test_expiry_is_told_apart_from_everything_else(world: World) -> None:
    signature = sign(CONTENT, world.signer)
    late = NOW + timedelta(days=101)
    assert refusal(world, signature, now=late) is Reason.EXPIRED
    assert refusal(world, signature, now=late, roots=[world.stranger.certificate]) is Reason.CHAIN
    assert refusal(world, signature, now=late, mudsigner=world.root.subject) is Reason.MUDSIGNER
    assert refusal(world, signature, CONTENT + b" ", now=late) is Reason.CONTENT_CHANGED
    assert refusal(world, signature, now=NOW - timedelta(days=101)) is Reason.CHAIN
    # An intermediate CA that expired, with a signer that did not.
    short = certificate(world.folder, "short", world.root, ca=True, days=(-50, 10))
    below = world.make("below-short", short)
    signature = sign(CONTENT, below, chain=[short])
    assert verify(world, signature).expires == NOW + timedelta(days=10)
    assert refusal(world, signature, now=NOW + timedelta(days=20)) is Reason.EXPIRED


def name(*attributes: tuple[Any, str, Any]) -> bytes:
    return x509.Name([x509.NameAttribute(oid, text, kind) for oid, text, kind in attributes]).public_bytes()


def test_mudsigner(world: World) -> None:
    signature = sign(CONTENT, world.signer)
    utf8, printable = x509.name._ASN1Type.UTF8String, x509.name._ASN1Type.PrintableString
    organization, common = NameOID.ORGANIZATION_NAME, NameOID.COMMON_NAME
    verify(world, signature, mudsigner=world.signer.subject)
    # RFC 5280 section 7.1: the same name in another string type, in other case, with other spaces.
    verify(world, signature, mudsigner=name((organization, "Maker", printable), (common, "MUD signer", printable)))
    verify(world, signature, mudsigner=name((organization, "MAKER", utf8), (common, "mud  Signer ", utf8)))
    for other in (
        world.root.subject,
        name((organization, "Maker", utf8)),
        name((organization, "Maker", utf8), (common, "MUD signer2", utf8)),
        name((common, "MUD signer", utf8), (organization, "Maker", utf8)),
        b"",
        b"\x30\x00",
        b"\x30",
        world.signer.subject + b"\0",
        world.signer.subject[:-1],
    ):
        assert refusal(world, signature, mudsigner=other) is Reason.MUDSIGNER


def test_an_attacker_with_a_valid_certificate_cannot_use_the_name_of_another(world: World) -> None:
    """A copy of the certificate of the real signer stands beside the attacker's signature."""
    attacker = world.make("attacker")
    signature = sign(CONTENT, attacker, chain=[world.signer])
    assert verify(world, signature).signer == attacker.certificate
    assert refusal(world, signature, mudsigner=world.signer.subject) is Reason.MUDSIGNER


@pytest.mark.parametrize(
    "junk",
    [
        b"",
        b"0",
        b"\x30\x80",
        b"\x30\x84\xff\xff\xff\xff",
        b"\x00" * 100,
        b"{}",
        b"-----BEGIN CMS-----\n",
        b"\x30" * 1000,
    ],
)
def test_no_message_at_all(world: World, junk: bytes) -> None:
    assert refusal(world, junk) is Reason.MALFORMED


def test_truncation_and_trailing_octets(world: World) -> None:
    signature = sign(CONTENT, world.signer)
    for length in range(0, len(signature), 13):
        assert refusal(world, signature[:length]) is Reason.MALFORMED
    for tail in (b"\0", b"\n", signature):
        assert refusal(world, signature + tail) is Reason.MALFORMED
    assert refusal(world, signature + b"\0" * MAX_SIGNATURE_OCTETS) is Reason.TOO_LARGE
    pem = subprocess.run(
        ["openssl", "cms", "-cmsout", "-inform", "DER", "-outform", "PEM", "-in", "made.p7s"],
        cwd=world.folder, check=True, capture_output=True,
    ).stdout  # fmt: skip
    assert refusal(world, pem) is Reason.MALFORMED


def test_a_malformed_certificate_that_is_parsed_late(world: World) -> None:
    """A wrong tag in the subject. cryptography reads the subject only when somebody asks for it."""
    signature = sign(CONTENT, world.signer)
    head, text, tail = signature.partition(b"\x0c\x0aMUD signer")
    assert text
    assert refusal(world, head + b"\x0d" + text[1:] + tail) is Reason.MALFORMED


def test_other_messages(world: World) -> None:
    (world.folder / "content").write_bytes(CONTENT)
    command = ["openssl", "cms", "-encrypt", "-in", "content", "-outform", "DER", "-out", "enc.p7m", "signer.pem"]
    subprocess.run(command, cwd=world.folder, check=True, capture_output=True)
    assert refusal(world, (world.folder / "enc.p7m").read_bytes()) is Reason.CONTENT_TYPE


def test_each_flipped_octet_is_refused_or_changes_nothing(world: World) -> None:
    """What verifies all the same differs in fields that no signature covers, and names the same signer."""
    signature = sign(CONTENT, world.signer, options=["-econtent_type", MUDTYPE])
    accepted = 0
    for position in range(len(signature)):
        for bit in (0x01, 0x80):
            damaged = bytearray(signature)
            damaged[position] ^= bit
            try:
                verified = verify(world, bytes(damaged))
            except SignatureRefused:
                continue
            accepted += 1
            assert verified.signer.tbs_certificate_bytes == world.signer.certificate.tbs_certificate_bytes
    assert accepted < len(signature) // 20


def resigned(world: World, change: Callable[[Any], None]) -> bytes:
    """A message whose signed attributes are changed, and which the honest signer signs again."""
    message = cms.ContentInfo.load(sign(CONTENT, world.signer))
    info = message["content"]["signer_infos"][0]
    attributes = list(info["signed_attrs"])
    change(attributes)
    made = cms.CMSAttributes(attributes)
    info["signed_attrs"] = made
    info["signature"] = world.signer.key.sign(made.dump(), ec.ECDSA(hashes.SHA256()))
    return bytes(message.dump(force=True))


def attribute(kind: str, *values: Any) -> Any:
    return cms.CMSAttribute({"type": kind, "values": list(values)})


def without(kind: str, *more: Any) -> Callable[[Any], None]:
    def change(attributes: list[Any]) -> None:
        attributes[:] = [one for one in attributes if one["type"].native != kind] + list(more)

    return change


DIGEST = hashlib.sha256(CONTENT).digest()
OTHER_DIGEST = hashlib.sha256(b"another file").digest()


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (without("signing_time"), None),
        (without("message_digest"), Reason.ATTRIBUTES),
        (without("content_type"), Reason.ATTRIBUTES),
        (without("content_type", attribute("content_type", "signed_data")), Reason.ATTRIBUTES),
        (without("content_type", attribute("content_type", MUDTYPE)), Reason.ATTRIBUTES),
        (without("message_digest", attribute("message_digest", OTHER_DIGEST)), Reason.CONTENT_CHANGED),
        (without("message_digest", attribute("message_digest", b"")), Reason.CONTENT_CHANGED),
        (without("message_digest", attribute("message_digest", DIGEST, OTHER_DIGEST)), Reason.ATTRIBUTES),
        (without("message_digest", attribute("message_digest")), Reason.ATTRIBUTES),
        (without("", attribute("message_digest", OTHER_DIGEST)), Reason.ATTRIBUTES),
        (without("", attribute("message_digest", DIGEST)), Reason.ATTRIBUTES),
    ],
)
def test_signed_attributes(world: World, change: Callable[[Any], None], reason: SignatureReason | None) -> None:
    """RFC 5652 sections 5.3 and 11: contentType and messageDigest are there, once, with one value."""
    signature = resigned(world, change)
    if reason is None:
        verify(world, signature)
    else:
        assert refusal(world, signature) is reason


def test_the_two_digests_must_be_one(world: World) -> None:
    """The algorithm of the signature names a digest, too. No signature covers that field."""
    signature = sign(CONTENT, world.signer)
    sha256, sha384 = bytes.fromhex("06082a8648ce3d040302"), bytes.fromhex("06082a8648ce3d040303")
    head, _, tail = signature.rpartition(sha256)
    assert refusal(world, head + sha384 + tail) is Reason.ALGORITHM


def test_signed_attributes_of_one_file_are_not_the_signature_of_another(world: World) -> None:
    """The signature covers the attributes. As a file without attributes, they would verify (RFC 8933)."""
    message = cms.ContentInfo.load(sign(CONTENT, world.signer))
    info = message["content"]["signer_infos"][0]
    attributes = info["signed_attrs"].untag().dump(force=True)
    del info["signed_attrs"]
    signature = message.dump(force=True)
    # So the file that would verify is DER and not JSON. Its reader refuses it.
    verify(world, signature, attributes)
    with pytest.raises(MudError):
        parse_mud(attributes, Mode.LENIENT)


def test_the_published_signature() -> None:
    """Its CA expired in 2019. So it is valid only at a time before."""
    folder = PUBLISHED / "signed"
    content, signature = (folder / "Luminaire_150.json").read_bytes(), (folder / "Luminaire_150.p7s").read_bytes()
    roots = [x509.load_pem_x509_certificate((folder / "luminaire-cacert.pem").read_bytes())]
    then = datetime(2018, 9, 19, tzinfo=UTC)
    verified = verify_signature(content, signature, roots, then)
    assert "luminaire.example.com" in verified.signer.subject.rfc4514_string()
    with pytest.raises(SignatureRefused) as refused:
        verify_signature(content, signature, roots, NOW)
    assert refused.value.reason is Reason.EXPIRED
    with pytest.raises(SignatureRefused) as refused:
        verify_signature(content.replace(b"443", b"444"), signature, roots, then)
    assert refused.value.reason is Reason.CONTENT_CHANGED


@pytest.mark.parametrize(
    ("label", "options", "depth_ok"),
    [
        ("plain", {"critical": False, "usage": None}, True),
        ("no CA", {"ca": False, "usage": None}, False),
        ("usage without certificates", {"usage": False}, False),
        ("path length", {"path_length": 0}, False),
    ],
)
def test_which_issuers_count(world: World, label: str, options: dict[str, Any], depth_ok: bool) -> None:
    """By RFC 5280 section 6.1. A signer two levels below, so that the path length counts, too."""
    middle = certificate(world.folder, "middle", world.root, **{"ca": True, **options})
    lower = certificate(world.folder, "lower", middle, ca=True)
    for signer, chain, good in (
        (world.make("under", middle), [middle], depth_ok or label == "path length"),
        (world.make("lowest", lower), [middle, lower], depth_ok),
    ):
        signature = sign(CONTENT, signer, chain=chain)
        if good:
            verify(world, signature)
        else:
            assert refusal(world, signature) is Reason.CHAIN
        assert openssl_accepts(CONTENT, signature, world.root.pem, world.folder) is good


def test_a_chain_that_is_too_long(world: World) -> None:
    chain = [world.root]
    for level in range(5):
        chain.append(certificate(world.folder, f"level{level}", chain[-1], ca=True))
    verify(world, sign(CONTENT, world.make("third", chain[3]), chain=chain[1:4]))
    assert refusal(world, sign(CONTENT, world.make("fifth", chain[5]), chain=chain[1:])) is Reason.CHAIN
