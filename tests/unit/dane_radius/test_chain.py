"""The search for a path: what it costs at most, and that no order of the certificates changes its answer.

What makes a single path valid or not is in the conformance table.
"""

from __future__ import annotations

import dataclasses
import itertools
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import dane_radius.core.chain as chain_module
from dane_radius.core.certificate import parse_leaf
from dane_radius.core.chain import verify_paths
from dane_radius.core.work import TooMuchWork
from tests.conformance.chains import CHAINS
from tests.conformance.world import NAME, NOW, build, ca, leaf
from tests.harness.pki import Identity


def paths(
    made: dict[str, Identity], trusted: list[str], between: list[str], *, name: str = NAME
) -> tuple[list[str], list[str]]:
    found, failures = verify_paths(
        parse_leaf(made["leaf"].der), name, [made[r].der for r in trusted], [made[r].der for r in between], NOW
    )
    return [str(path) for path in found], failures


def test_the_shortest_path_is_first_and_names_its_certificates() -> None:
    made = build((ca("root"), ca("inter", "root"), leaf("inter")))
    found, failures = paths(made, ["root", "inter"], [])
    assert found == ["leaf < CN=CA inter", "leaf < CN=CA inter < CN=CA root"]
    assert failures == []
    verified, _ = verify_paths(parse_leaf(made["leaf"].der), NAME, [made["root"].der], [made["inter"].der], NOW)
    assert [link.der for link in verified[0].links] == [made["inter"].der, made["root"].der]
    assert verified[0].links[0].spki == parse_leaf(made["inter"].der).spki


@pytest.mark.parametrize("order", list(itertools.permutations(["root", "inter", "cross", "other"])))
def test_the_order_of_the_certificates_does_not_matter(order: tuple[str, ...]) -> None:
    made = build(CHAINS["cross"])
    found, _ = paths(made, list(order), [])
    assert sorted(found) == [
        "leaf < CN=CA inter",
        "leaf < CN=CA inter",
        "leaf < CN=CA inter < CN=CA other",
        "leaf < CN=CA inter < CN=CA root",
    ]
    assert paths(made, ["root"], list(order))[0] == ["leaf < CN=CA inter < CN=CA root"]


def test_of_two_cas_with_one_name_only_the_one_that_signed_is_in_the_path() -> None:
    made = build(CHAINS["twin"])
    found, failures = paths(made, ["twin"], [])
    assert found == []
    assert failures == ["CN=CA root: its key did not sign the certificate below it"]
    assert paths(made, ["twin", "root"], [])[0] == ["leaf < CN=CA root"]


def test_a_search_with_loops_ends() -> None:
    made = build(CHAINS["loop"])
    found, _ = paths(made, ["b"], ["a", "a-by-b", "b-by-a"])
    # The second path contains a's self-signed certificate. It is longer, but valid, too.
    assert found == ["leaf < CN=CA a < CN=CA b", "leaf < CN=CA a < CN=CA a < CN=CA b"]
    assert paths(made, [], ["a", "b", "a-by-b", "b-by-a"])[0] == []


def test_the_search_among_many_cross_signatures_is_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    """Six CAs with one name certify each other, and none is trusted: the search stays within its limit."""
    count = 6
    made = build(
        (
            *(ca(f"n{i}", subject="CA x") for i in range(count)),
            *(
                ca(f"n{i}-by-n{j}", f"n{j}", subject="CA x", key_of=f"n{i}")
                for i in range(count)
                for j in range(count)
                if i != j
            ),
            ca("unrelated"),
            leaf("n0"),
        )
    )
    asked = []
    check = chain_module._check_issuer

    def counting(*arguments: object) -> None:
        asked.append(arguments)
        check(*arguments)  # type: ignore[arg-type]  # passed through as they came

    monkeypatch.setattr(chain_module, "_check_issuer", counting)
    with pytest.raises(TooMuchWork, match="more than 16 signatures to verify"):
        paths(made, ["unrelated"], [role for role in made if role not in ("leaf", "unrelated")])
    assert len(asked) <= 64


def test_an_invalid_certificate_does_not_affect_the_others() -> None:
    made = build((ca("root"), leaf()))
    for garbage in (b"", b"\x30\x00", made["root"].der[:-1], made["root"].der + b"\0"):
        found, failures = verify_paths(parse_leaf(made["leaf"].der), NAME, [garbage, made["root"].der], [garbage], NOW)
        assert len(found) == 1
        assert len(failures) == 1
        assert verify_paths(parse_leaf(made["leaf"].der), NAME, [garbage], [], NOW)[0] == []


def test_the_leaf_must_contain_the_name() -> None:
    made = build((ca("root"), leaf()))
    assert paths(made, ["root"], [], name="b2._device.example.net") == (
        [],
        ["leaf: its subjectAltName does not name b2._device.example.net"],
    )


def test_dates_are_inclusive() -> None:
    made = build((ca("root", start=-1, end=1), leaf(start=-1, end=1)))
    device, root = parse_leaf(made["leaf"].der), made["root"].der
    for moment, valid in (
        (NOW - timedelta(days=1, seconds=1), False),
        (NOW - timedelta(days=1), True),
        (NOW + timedelta(days=1), True),
        (NOW + timedelta(days=1, seconds=1), False),
    ):
        assert bool(verify_paths(device, NAME, [root], [], moment)[0]) is valid


ROOT_AND_LEAF = build((ca("root"), leaf()))


@given(st.sampled_from(["leaf", "root"]), st.data())
@settings(max_examples=300, deadline=None)
def test_damaged_certificates_never_verify_and_never_raise(role: str, data: st.DataObject) -> None:
    octets = bytearray(ROOT_AND_LEAF[role].der)
    position = data.draw(st.integers(0, len(octets) - 1))
    octets[position] ^= data.draw(st.integers(1, 255))
    device = parse_leaf(ROOT_AND_LEAF["leaf"].der)
    if role == "root":
        # The signature of a trust anchor does not count. Its key, its name and its constraints do.
        found, _ = verify_paths(device, NAME, [bytes(octets)], [], NOW)
        keys = {link.spki for path in found for link in path.links}
        assert keys <= {parse_leaf(ROOT_AND_LEAF["root"].der).spki}
        return
    # The leaf was parsed from other octets. Whatever cryptography raises for these must become a failure.
    broken = dataclasses.replace(device, der=bytes(octets))
    assert verify_paths(broken, NAME, [ROOT_AND_LEAF["root"].der], [], NOW)[0] == []
