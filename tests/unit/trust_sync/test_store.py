"""The anchor store: what the module's reader makes of it after each change, and what it refuses."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime
from pathlib import Path

import pytest

from dane_radius.core import AnchorSource
from dane_radius.local import AnchorDirectory
from tests.harness.pki import Authority, authority, new_key, self_signed
from trust_sync.anchors import AnchorStore, ShadowError, StoreError, TooManyDomainsError, parse_certificate
from trust_sync.anchors.store import MAX_DOMAINS

NOW = datetime(2026, 5, 1, tzinfo=UTC)
DOMAIN = "_device.example.net"


def put(store: AnchorStore, ca: Authority, *domains: str, source: AnchorSource = AnchorSource.PKIX_CD) -> bool:
    return store.add(parse_certificate(ca.der), domains or (DOMAIN,), source, NOW) is not None


def seen(path: Path) -> dict[str, tuple[str, ...]]:
    """The anchors whose certificates the module can load: domains by fingerprint."""
    reader = AnchorDirectory(path)
    reader.refresh()
    assert reader.last_error is None
    found = {}
    for record in list(reader._records.values()):
        for domain in record.domains:
            for anchor in reader.for_name(f"a1.{domain}"):
                found[anchor.record.fingerprint] = anchor.record.domains
    assert reader.last_error is None
    return found


def links(path: Path) -> dict[str, str]:
    return {entry.name: os.readlink(entry.path) for entry in os.scandir(path / "ca") if entry.is_symlink()}


def test_what_is_added_is_read_by_the_module_and_by_openssl(tmp_path: Path) -> None:
    ca = authority("One")
    with AnchorStore(tmp_path) as store:
        assert put(store, ca)
        assert not put(store, ca)
    assert seen(tmp_path) == {ca.fingerprint: (DOMAIN,)}
    expected = f"{parse_certificate(ca.der).subject_hash}.0"
    assert links(tmp_path) == {expected: f"anchor-{ca.fingerprint}.pem"}
    assert (tmp_path / "ca" / expected).read_bytes() == ca.pem
    assert (tmp_path / "ca" / expected).stat().st_mode & 0o777 == 0o644
    assert (tmp_path / "index.jsonl").stat().st_mode & 0o777 == 0o644


def test_a_reader_follows_the_changes_of_an_open_store(tmp_path: Path) -> None:
    reader = AnchorDirectory(tmp_path)
    one, two = authority("One"), authority("Two")
    with AnchorStore(tmp_path) as store:
        put(store, one)
        reader.refresh()
        assert len(reader) == 1
        put(store, two)
        reader.refresh()
        assert len(reader) == 2
        assert store.remove(one.fingerprint)
        assert not store.remove(one.fingerprint)
        reader.refresh()
        assert [a.der for a in reader.for_name(f"a1.{DOMAIN}")] == [two.der]
    assert not (tmp_path / "ca" / f"anchor-{one.fingerprint}.pem").exists()
    assert set(links(tmp_path).values()) == {f"anchor-{two.fingerprint}.pem"}


def test_an_anchor_can_serve_more_domains_and_fewer(tmp_path: Path) -> None:
    ca = authority("Vendor")
    with AnchorStore(tmp_path) as store:
        put(store, ca, "_device.one.example")
        assert put(store, ca, "_device.two.example")
        assert seen(tmp_path) == {ca.fingerprint: ("_device.one.example", "_device.two.example")}
        assert store.withdraw(ca.fingerprint, ["_device.one.example"])
        assert not store.withdraw(ca.fingerprint, ["_device.one.example"])
        assert seen(tmp_path) == {ca.fingerprint: ("_device.two.example",)}
        assert store.withdraw(ca.fingerprint, ["_device.two.example"])
    assert seen(tmp_path) == {}


def test_removal_leaves_no_gap_in_the_numbers_that_openssl_walks(tmp_path: Path) -> None:
    key = new_key()
    renewals = [authority("Renewed", key=key) for _ in range(4)]
    with AnchorStore(tmp_path) as store:
        for ca in renewals:
            put(store, ca)
        for gone in range(4):
            store.remove(renewals[gone].fingerprint)
            found = links(tmp_path)
            assert sorted(name[-1] for name in found) == [str(n) for n in range(3 - gone)]
            assert set(found.values()) == {f"anchor-{ca.fingerprint}.pem" for ca in renewals[gone + 1 :]}


@pytest.mark.parametrize("same", ["subject", "ski"])
def test_an_anchor_that_would_shadow_another_is_refused(tmp_path: Path, same: str) -> None:
    victim = authority("Victim CA")
    attacker = authority("victim  ca") if same == "subject" else authority("Other", ski=victim.ski)
    with AnchorStore(tmp_path) as store:
        put(store, victim)
        before = (tmp_path / "index.jsonl").read_bytes()
        with pytest.raises(ShadowError, match="would shadow"):
            put(store, attacker, "_device.attacker.example")
        assert (tmp_path / "index.jsonl").read_bytes() == before
        # After the removal of the first one, nothing is shadowed.
        store.remove(victim.fingerprint)
        assert put(store, attacker, "_device.attacker.example")


def test_a_certificate_put_there_by_hand_is_not_shadowed_either(tmp_path: Path) -> None:
    by_hand = authority("Hand-made")
    (tmp_path / "ca").mkdir()
    (tmp_path / "ca" / "by-hand.pem").write_bytes(by_hand.pem)
    with AnchorStore(tmp_path) as store, pytest.raises(ShadowError, match=r"by-hand\.pem"):
        put(store, authority("Hand-made"), source=AnchorSource.REGISTRY)
    assert (tmp_path / "ca" / "by-hand.pem").read_bytes() == by_hand.pem


def test_a_configured_source_drives_out_what_was_only_found_in_passing(tmp_path: Path) -> None:
    squatter, real = authority("Vendor CA"), authority("Vendor CA")
    with AnchorStore(tmp_path) as store:
        put(store, squatter, "_device.squatter.example", source=AnchorSource.DANE_TA)
        assert put(store, real, source=AnchorSource.REGISTRY)
        with pytest.raises(ShadowError):
            put(store, authority("Vendor CA"), source=AnchorSource.REGISTRY)
    assert seen(tmp_path) == {real.fingerprint: (DOMAIN,)}


def test_a_torn_last_line_is_cut_off(tmp_path: Path) -> None:
    one, two = authority("One"), authority("Two")
    with AnchorStore(tmp_path) as store:
        put(store, one)
        put(store, two)
    index = tmp_path / "index.jsonl"
    whole = index.read_bytes()
    last = whole.rstrip(b"\n").rpartition(b"\n")[2]
    for cut in range(1, len(last) + 1, 7):
        index.write_bytes(whole[: len(whole) - 1 - cut])
        with AnchorStore(tmp_path) as store:
            assert set(store.held.records) == {one.fingerprint}
        assert seen(tmp_path) == {one.fingerprint: (DOMAIN,)}
        assert put_again(tmp_path, two)
    assert set(seen(tmp_path)) == {one.fingerprint, two.fingerprint}


def put_again(path: Path, ca: Authority) -> bool:
    with AnchorStore(path) as store:
        return put(store, ca)


def test_a_damaged_journal_is_an_error_that_names_the_line(tmp_path: Path) -> None:
    put_again(tmp_path, authority("One"))
    with (tmp_path / "index.jsonl").open("ab") as file:
        file.write(b'{"op":"add"}\n')
    with pytest.raises(StoreError, match=r"index\.jsonl line 3: anchor record without 'fingerprint'"):
        AnchorStore(tmp_path)


def test_a_certificate_that_is_damaged_on_disk_stops_vouching_and_is_reported(tmp_path: Path) -> None:
    ca = authority("One")
    put_again(tmp_path, ca)
    (tmp_path / "ca" / f"anchor-{ca.fingerprint}.pem").write_bytes(b"-----BEGIN CERT")
    with AnchorStore(tmp_path) as store:
        assert [record.fingerprint for record in store.damaged] == [ca.fingerprint]
        assert put(store, ca)
    assert set(seen(tmp_path)) == {ca.fingerprint}


def test_strays_go_and_missing_links_come_back(tmp_path: Path) -> None:
    ca, stray = authority("One"), authority("Stray")
    put_again(tmp_path, ca)
    folder = tmp_path / "ca"
    expected = links(tmp_path)
    for name in expected:
        (folder / name).unlink()
    (folder / f"anchor-{stray.fingerprint}.pem").write_bytes(stray.pem)
    (folder / f"{parse_certificate(stray.der).subject_hash}.0").symlink_to(f"anchor-{stray.fingerprint}.pem")
    (folder / f".anchor-{stray.fingerprint}.pem.tmp").write_bytes(b"half")
    AnchorStore(tmp_path).close()
    assert links(tmp_path) == expected
    assert sorted(path.name for path in folder.iterdir()) == sorted([*expected, *expected.values()])


def test_only_one_writer(tmp_path: Path) -> None:
    with AnchorStore(tmp_path), pytest.raises(StoreError, match="only one may"):
        AnchorStore(tmp_path)
    AnchorStore(tmp_path).close()


def test_the_journal_stays_short(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trust_sync.anchors.journal._COMPACT_SLACK", 10)
    reader = AnchorDirectory(tmp_path)
    ca = authority("Comes and goes")
    with AnchorStore(tmp_path) as store:
        for _ in range(40):
            put(store, ca)
            reader.refresh()
            assert len(reader) == 1
            store.remove(ca.fingerprint)
            reader.refresh()
            assert (len(reader), reader.last_error) == (0, None)
        lines = (tmp_path / "index.jsonl").read_bytes().splitlines()
        assert len(lines) <= 14
        assert json.loads(lines[0])["format"] == "dane-radius-anchors"
    put_again(tmp_path, ca)
    assert set(seen(tmp_path)) == {ca.fingerprint}


def test_an_end_entity_certificate_can_be_kept_too(tmp_path: Path) -> None:
    device = self_signed("a1.camera._device.example.net")
    with AnchorStore(tmp_path) as store:
        record = store.add(parse_certificate(device.der), ["a1.camera._device.example.net"], AnchorSource.LEAF, NOW)
    assert record is not None
    assert record.source is AnchorSource.LEAF


def test_a_well_known_ca_does_not_take_on_domains_without_end(tmp_path: Path) -> None:
    with AnchorStore(tmp_path) as store:
        certificate = parse_certificate(authority("Well-known").der)
        for number in range(MAX_DOMAINS):
            store.add(certificate, [f"_x{number}.evil.example"], AnchorSource.DANE_TA, NOW)
        with pytest.raises(TooManyDomainsError):
            store.add(certificate, ["_one.more.example"], AnchorSource.DANE_TA, NOW)
        assert store.add(certificate, ["example.net"], AnchorSource.REGISTRY, NOW)
