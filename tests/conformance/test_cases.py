"""The conformance table, decided by this project and by OpenSSL; every difference is known and explained."""

from __future__ import annotations

from functools import lru_cache

import pytest

from dane_radius.core.anchor_record import Anchor, AnchorSource
from dane_radius.core.answers import Secure
from dane_radius.core.certificate import candidate_names, parse_leaf
from dane_radius.core.decision import Decision, Prepared, conclude, prepare
from dane_radius.core.names import identity_domain
from dane_radius.core.reasons import ReasonCode
from dane_radius.core.tlsa import TlsaRecord, association, first_match, select
from policy import Grant, Policy, RequestFacts, Rule, Strength
from tests.conformance import gnutls
from tests.conformance.cases import CASES, GNUTLS_DIFFERENCES, Case
from tests.conformance.chains import CHAINS
from tests.conformance.openssl import Judgement, judge
from tests.conformance.world import NOW, Spec, anchor, build
from tests.harness.pki import Identity

IDS = [case.id for case in CASES]


@lru_cache(maxsize=1)
def stranger() -> Identity:
    return build((Spec("stranger", None, "stranger", ca=True, names=("s.example.org",)),))["stranger"]


@lru_cache(maxsize=256)
def chain(name: str) -> dict[str, Identity]:
    return {**build(CHAINS[name]), "stranger": stranger()}


def records(case: Case) -> list[TlsaRecord]:
    found = []
    for text in case.records.split("; "):
        usage, selector, matching, what = text.split()
        if what.startswith("="):
            octet, _, times = what[1:].partition("*")
            data = bytes.fromhex(octet) * int(times)
        else:
            identity = chain(case.chain)[what]
            data = association(identity.der, parse_leaf(identity.der).spki, int(selector), int(matching))
        found.append(TlsaRecord(int(usage), int(selector), int(matching), data))
    return found


def leaf_name(case: Case) -> str:
    names = candidate_names(parse_leaf(chain(case.chain)["leaf"].der))
    return next(name for name in names if name.endswith(".net"))


def anchors(case: Case) -> list[Anchor]:
    held = []
    for text in case.anchors.split():
        role, _, source = text.partition("!")
        role, _, domain = role.partition("@")
        identity = chain(case.chain)[role]
        held.append(anchor(identity, domain or identity_domain(leaf_name(case)), AnchorSource(source or "registry")))
    return held


def decide(case: Case) -> Decision:
    rule = Rule(
        "devices",
        ("**.net",),
        None,
        Strength(case.require),
        allow_pkix_cd=case.pkix_cd,
        monitor=False,
        grant=Grant(vlan=7),
    )
    prepared = prepare(parse_leaf(chain(case.chain)["leaf"].der), Policy((rule,)), RequestFacts(), now=NOW.timestamp())
    assert isinstance(prepared, Prepared)
    return conclude(prepared, Secure(tuple(records(case)), 300), anchors(case), NOW)


def openssl(case: Case) -> Judgement:
    """OpenSSL's verdict. The anchors are its store for the PKIX usages; for the others, they came with the leaf."""
    held = [held.der for held in anchors(case)]
    identity = chain(case.chain)["leaf"]
    return judge(identity.der, leaf_name(case), records(case), held, held, NOW)


def test_the_table_is_large_and_each_row_is_its_own() -> None:
    assert len(CASES) >= 150
    assert len(set(IDS)) == len(IDS)
    assert {case.chain for case in CASES} == set(CHAINS)


@pytest.mark.parametrize("case", CASES, ids=IDS)
def test_decision(case: Case) -> None:
    decision = decide(case)
    assert decision.ruling.reason == ReasonCode(case.expect), decision.ruling.detail
    assert decision.accepted is (case.expect == "dane_match")
    assert bool(decision.attributes) is decision.accepted
    assert (decision.ruling.evidence.matched is not None) is decision.accepted


@pytest.mark.parametrize("case", CASES, ids=IDS)
def test_openssl_agrees_or_the_difference_is_explained(case: Case) -> None:
    if case.openssl == "-":
        # Usage 4 is not assigned: to OpenSSL such a record does not exist.
        assert openssl(case).usable == 0
        return
    theirs, ours = openssl(case), decide(case)
    assert (theirs.accepted != ours.accepted) is (case.openssl is not None), (
        f"OpenSSL: {theirs}; ours: {ours.ruling.reason} {ours.ruling.detail} {ours.ruling.evidence.chain_failures}"
    )


@pytest.mark.parametrize("case", [c for c in CASES if c.expect == "tlsa_unusable"], ids=lambda case: str(case.id))
def test_openssl_finds_the_same_records_unusable(case: Case) -> None:
    assert openssl(case).usable == 0


END_ENTITY = [case for case in CASES if all(text[:2] in ("1 ", "3 ") for text in case.records.split("; "))]


@pytest.mark.parametrize("case", END_ENTITY, ids=lambda case: str(case.id))
def test_gnutls_finds_the_same_match_or_the_difference_is_explained(case: Case) -> None:
    leaf = parse_leaf(chain(case.chain)["leaf"].der)
    ours = first_match(select(records(case)).usable, leaf.der, leaf.spki) is not None
    assert (gnutls.matches([leaf.der], records(case)) != ours) is (case.id in GNUTLS_DIFFERENCES)


def test_every_explained_difference_is_a_case() -> None:
    assert set(GNUTLS_DIFFERENCES) <= {case.id for case in END_ENTITY}
    assert len(END_ENTITY) > 100
