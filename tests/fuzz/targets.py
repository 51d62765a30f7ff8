"""The targets of the fuzzer. Each one also checks the result for an input that it accepts."""

from __future__ import annotations

import asyncio
import json
import tempfile
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

from cryptography import x509

from dane_radius.core.anchor_record import AnchorError, AnchorRecord, parse_index_line
from dane_radius.core.answers import Secure, SecureAbsent
from dane_radius.core.certificate import candidate_names, parse_leaf
from dane_radius.core.chain import verify_paths
from dane_radius.core.names import identity_domain, is_within, normalize
from dane_radius.core.reasons import Refused
from dane_radius.core.tlsa import TlsaRecord, select
from dane_radius.dns.interpret import interpret
from dane_radius.dns.wire import WireError, decode_name, decode_response, encode_name
from dane_radius.local.control_socket import Handler, answer
from dane_radius.server.config import check_config
from dane_radius.server.service import Service
from dane_radius.server.session_file import leaf_from_session
from mud import (
    Mode,
    MudError,
    SignatureRefused,
    VerifiedSignature,
    compare,
    compile_acl,
    describe_rule,
    parse_mud,
    verify_signature,
    widens,
)
from policy import PolicyError, RequestFacts, parse_policy
from tests.fuzz.engine import CORPUS, Target

SIGNED = Path(__file__).parents[1] / "unit" / "mud" / "published" / "signed"
DNS_NAME, DNS_ID = "a1._device.example.net", 0x1234
NOW = datetime(2026, 6, 1, tzinfo=UTC)
# The CA of the published signature has expired since.
SIGNED_AT = datetime(2018, 9, 19, tzinfo=UTC)


def session(octets: bytes) -> object:
    certificate = leaf_from_session(octets)
    assert certificate in octets
    assert certificate[0] == 0x30
    return certificate


def dns(octets: bytes) -> object:
    answer = interpret(decode_response(octets, DNS_NAME, DNS_ID), DNS_NAME)
    if isinstance(answer, Secure | SecureAbsent):
        assert octets[3] & 0x20, "accepted without AD"
        assert octets[3] & 0x0F in (0, 3), "accepted with another rcode"
        assert 0 <= answer.ttl <= 0x7FFFFFFF
    if isinstance(answer, Secure):
        selection = select(answer.records)
        assert len(selection.usable) + len(selection.set_aside) == len(set(answer.records))
    return answer


def certificate(octets: bytes) -> object:
    leaf = parse_leaf(octets)
    assert leaf.spki in octets
    names = candidate_names(leaf)
    assert names
    assert all(normalize(name.encode()) == name for name in names)
    return names


def chain(octets: bytes) -> object:
    leaf = parse_leaf(octets)
    root = (CORPUS / "chain" / "00-root").read_bytes()
    for trusted in ([root], [octets], [root, octets]):
        paths, failures = verify_paths(leaf, DNS_NAME, trusted, [octets], NOW)
        assert paths or failures
    # As a trust anchor, too: the index may list it.
    verify_paths(parse_leaf((CORPUS / "chain" / "01-leaf").read_bytes()), DNS_NAME, [octets], [octets, root], NOW)
    return leaf


def name(octets: bytes) -> object:
    normal = normalize(octets)
    assert normalize(normal.encode()) == normal
    assert decode_name(encode_name(normal), 0)[0] == normal
    assert is_within(normal, identity_domain(normal))
    return normal


def record(octets: bytes) -> object:
    made = TlsaRecord.from_text(octets.decode("utf-8", "surrogateescape"))
    assert TlsaRecord.from_text(str(made)) == made
    select([made], allow_pkix_cd=True)
    return made


def policy(octets: bytes) -> object:
    made = parse_policy(octets)
    made.match(DNS_NAME, RequestFacts(ssid="iot", nas_address="192.0.2.1"), now=1_800_000_000)
    return made


def index(octets: bytes) -> object:
    records: dict[str, AnchorRecord] = {}
    for line in octets.split(b"\n"):
        parse_index_line(line, records)
    for made in records.values():
        assert AnchorRecord.from_json(json.loads(json.dumps(made.to_json()))).fingerprint == made.fingerprint
    return records


@cache
def _control_handler() -> Handler:
    folder = Path(tempfile.mkdtemp(prefix="fuzz-control-"))
    (folder / "policy.yaml").write_text("version: 1\nrules: []\n")
    settings = {"policy": str(folder / "policy.yaml"), "anchors": str(folder), "log": {"destination": "none"}}
    return Service(check_config(settings, "fuzz")).operations.handle


def control(octets: bytes) -> object:
    reply = asyncio.run(answer(octets.split(b"\n", 1)[0], _control_handler()))
    assert reply["ok"] in (True, False)
    assert reply["ok"] or reply["error"]
    assert json.dumps(reply)
    return reply


def mud(octets: bytes) -> object:
    file = parse_mud(octets, Mode.LENIENT)
    acl = compile_acl(file)
    assert not widens(acl, acl)
    assert not compare(file, file).widens
    texts = [describe_rule(rule) for rule in (*acl.from_device, *acl.to_device)]
    assert all(text.isprintable() for text in (*texts, *map(str, (*file.findings, *acl.findings))))
    try:
        strict = parse_mud(octets)
    except MudError:
        return file
    # What is valid means the same in both modes.
    assert compile_acl(strict) == acl
    return file


@cache
def _signed_mud() -> tuple[bytes, x509.Certificate, VerifiedSignature]:
    content = (SIGNED / "Luminaire_150.json").read_bytes()
    root = x509.load_pem_x509_certificate((SIGNED / "luminaire-cacert.pem").read_bytes())
    return content, root, verify_signature(content, (SIGNED / "Luminaire_150.p7s").read_bytes(), [root], SIGNED_AT)


def mud_signature(octets: bytes) -> object:
    content, root, honest = _signed_mud()
    verified = verify_signature(content, octets, [root], SIGNED_AT)
    # Only what no signature covers may differ.
    assert verified.signer.tbs_certificate_bytes == honest.signer.tbs_certificate_bytes
    return verified


TARGETS = {
    target.name: target
    for target in (
        Target("session", session, (Refused,), 0.18),
        Target("dns", dns, (WireError,), 0.22),
        Target("certificate", certificate, (Refused,), 0.19),
        Target("chain", chain, (Refused,), 0.04),
        Target("name", name, (Refused,), 0.16),
        Target("record", record, (ValueError,), 0.06),
        Target("policy", policy, (PolicyError,), 0.02),
        Target("index", index, (AnchorError,), 0.03),
        Target("control", control, (), 0.05),
        Target("mud", mud, (MudError,), 0.02),
        Target("mud_signature", mud_signature, (SignatureRefused,), 0.03),
    )
}
