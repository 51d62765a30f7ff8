"""The key store interface: the same tests for both implementations."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from iot_safe_sim.interface import public_key
from iot_safe_sim.keystore import KEY_STORE_NAMES, KeyStore, KeyStoreError, UnknownKeyError, open_key_store
from tests.unit.iot_safe_sim.support import key_pair, signature_is_valid

Opener = Callable[[], KeyStore]


@pytest.fixture(params=KEY_STORE_NAMES)
def opener(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Opener]:
    opened: list[KeyStore] = []

    def again() -> KeyStore:
        for store in opened:
            store.close()
        opened.append(open_key_store(request.param, tmp_path))
        return opened[-1]

    yield again
    for store in opened:
        store.close()


@pytest.fixture
def keys(opener: Opener) -> KeyStore:
    return opener()


@pytest.mark.parametrize("size", [32, 48, 64])
@pytest.mark.parametrize("persistent", [True, False])
def test_signatures_verify(keys: KeyStore, size: int, persistent: bool) -> None:
    handle, point = keys.generate(persistent=persistent)
    digest = bytes(range(size))
    assert signature_is_valid(point, digest, keys.sign(handle, digest))


def test_keys_differ(keys: KeyStore) -> None:
    made = [keys.generate(persistent=index % 2 == 0) for index in range(8)]
    assert len({handle for handle, _ in made}) == 8
    assert len({point for _, point in made}) == 8


def test_agreement_matches_a_peer(keys: KeyStore) -> None:
    peer, peer_point = key_pair()
    for persistent in (True, False):
        handle, point = keys.generate(persistent=persistent)
        assert keys.agree(handle, peer_point) == peer.exchange(ec.ECDH(), public_key(point))


@pytest.mark.parametrize(
    "point",
    [b"", b"\x04" + bytes(64), b"\x02" + bytes(32), key_pair()[1][:-1] + b"\x00", key_pair()[1] + b"\x00"],
    ids=["empty", "zero", "compressed", "off the curve", "too long"],
)
def test_bad_points_are_refused(keys: KeyStore, point: bytes) -> None:
    handle, _ = keys.generate(persistent=False)
    with pytest.raises(KeyStoreError):
        keys.agree(handle, point)


@pytest.mark.parametrize("size", [0, 20, 31, 33, 65])
def test_bad_digest_sizes_are_refused(keys: KeyStore, size: int) -> None:
    handle, _ = keys.generate(persistent=False)
    with pytest.raises(KeyStoreError, match=f"digest of {size} bytes"):
        keys.sign(handle, bytes(size))


def test_persistent_keys_outlive_the_process_and_volatile_ones_do_not(opener: Opener) -> None:
    keys = opener()
    lasting, point = keys.generate(persistent=True)
    fleeting, _ = keys.generate(persistent=False)
    secret = keys.store_secret(b"pre-shared")
    assert keys.handles() == {lasting, secret}

    keys = opener()
    assert keys.handles() == {lasting, secret}
    assert signature_is_valid(point, bytes(32), keys.sign(lasting, bytes(32)))
    assert keys.secret(secret) == b"pre-shared"
    with pytest.raises(UnknownKeyError):
        keys.sign(fleeting, bytes(32))


def test_destroyed_is_gone_at_once_and_for_good(opener: Opener) -> None:
    keys = opener()
    handles = [keys.generate(persistent=True)[0], keys.generate(persistent=False)[0], keys.store_secret(b"x")]
    for handle in handles:
        keys.destroy(handle)
        keys.destroy(handle)
    assert keys.handles() == set()
    for handle in handles[:2]:
        with pytest.raises(UnknownKeyError):
            keys.sign(handle, bytes(32))
    with pytest.raises(UnknownKeyError):
        keys.secret(handles[2])
    assert opener().handles() == set()


def test_unknown_handles_and_other_kinds_are_refused(keys: KeyStore) -> None:
    key, secret = keys.generate(persistent=True)[0], keys.store_secret(b"x")
    for handle in ("00" * 16, "", secret):
        with pytest.raises(UnknownKeyError):
            keys.sign(handle, bytes(32))
    with pytest.raises(UnknownKeyError):
        keys.secret(key)


def test_unknown_store_names_the_choices(tmp_path: Path) -> None:
    with pytest.raises(KeyStoreError, match="softhsm, software"):
        open_key_store("tpm", tmp_path)
