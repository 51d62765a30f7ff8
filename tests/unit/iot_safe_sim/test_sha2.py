"""SHA-2 continued from an intermediate value, against hashlib."""

from __future__ import annotations

import hashlib

import pytest

from iot_safe_sim import sha2


@pytest.mark.parametrize("name", ["sha256", "sha384", "sha512"])
@pytest.mark.parametrize("length", [0, 1, 55, 56, 63, 64, 65, 111, 112, 127, 128, 129, 300])
def test_split_at_every_block_gives_the_same_digest(name: str, length: int) -> None:
    message = bytes(index & 0xFF for index in range(length))
    expected = hashlib.new(name, message).digest()
    state, size = sha2.initial_value(name), sha2.block_size(name)
    for hashed in range(0, length + 1, size):
        assert sha2.finish(name, state, hashed, message[hashed:]) == expected
        if hashed + size <= length:
            state = sha2.compress(name, state, message[hashed : hashed + size])


def test_wrong_state_size_and_count_are_refused() -> None:
    with pytest.raises(ValueError, match="31 bytes"):
        sha2.finish("sha256", bytes(31), 0, b"")
    with pytest.raises(ValueError, match="multiple"):
        sha2.finish("sha256", bytes(32), 63, b"")
    with pytest.raises(ValueError, match="sha384 has 64"):
        sha2.finish("sha384", bytes(32), 0, b"")
