"""The key files of the software key store."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization

from iot_safe_sim.keystore import KeyStoreError, open_key_store


def test_software_key_files_are_private_and_a_damaged_one_is_named(tmp_path: Path) -> None:
    store = open_key_store("software", tmp_path)
    handle, _ = store.generate(persistent=True)
    path = tmp_path / "keys" / f"{handle}.pem"
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    serialization.load_pem_private_key(path.read_bytes(), None)
    store.close()
    path.write_bytes(b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n")
    with pytest.raises(KeyStoreError, match=f"{handle}.*damaged"):
        open_key_store("software", tmp_path).sign(handle, bytes(32))
