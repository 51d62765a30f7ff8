"""The SoftHSM2 token behind the key store."""

from __future__ import annotations

from pathlib import Path

import pytest

from iot_safe_sim.keystore import open_key_store
from tests.unit.iot_safe_sim.support import signature_is_valid


def test_token_key_is_sensitive_and_never_extractable(tmp_path: Path) -> None:
    import pkcs11
    from pkcs11 import Attribute

    store = open_key_store("softhsm", tmp_path)
    try:
        handle, _ = store.generate(persistent=True)
        token = pkcs11.lib("/usr/lib/softhsm/libsofthsm2.so").get_token(token_label="iot-safe")
        with token.open() as session:
            (key,) = session.get_objects({Attribute.LABEL: handle, Attribute.CLASS: pkcs11.ObjectClass.PRIVATE_KEY})
            assert key[Attribute.ALWAYS_SENSITIVE]
            assert key[Attribute.NEVER_EXTRACTABLE]
            with pytest.raises(pkcs11.AttributeSensitive):
                _ = key[Attribute.VALUE]
    finally:
        store.close()
    assert (tmp_path / "token" / "pin").stat().st_mode & 0o777 == 0o600


def test_interrupted_token_creation_begins_anew(tmp_path: Path) -> None:
    """A token without its PIN file is not usable, so the next start initialises another one."""
    store = open_key_store("softhsm", tmp_path)
    store.close()
    (tmp_path / "token" / "pin").unlink()
    store = open_key_store("softhsm", tmp_path)
    try:
        handle, point = store.generate(persistent=True)
        assert signature_is_valid(point, bytes(32), store.sign(handle, bytes(32)))
    finally:
        store.close()
