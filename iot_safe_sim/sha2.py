"""SHA-2 continued from an intermediate value (FIPS 180-4), for the applet's "last block" signature mode.

The client has hashed all but the last block itself and sends the chaining value; hashlib cannot start from
one. Everything else in this package hashes with hashlib.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from math import isqrt


def _primes(count: int) -> Iterator[int]:
    found: list[int] = []
    candidate = 2
    while len(found) < count:
        if all(candidate % prime for prime in found):
            found.append(candidate)
            yield candidate
        candidate += 1


def _cube_root_fraction(number: int, bits: int) -> int:
    """The first `bits` bits of the fractional part of the cube root."""
    target = number << (3 * bits)
    low, high = 0, 1 << (bits + 4)
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if middle**3 <= target else (low, middle - 1)
    return low & ((1 << bits) - 1)


@dataclass(frozen=True)
class _Variant:
    word_bits: int
    rounds: int
    big0: tuple[int, int, int]
    big1: tuple[int, int, int]
    small0: tuple[int, int, int]
    small1: tuple[int, int, int]

    @property
    def block_size(self) -> int:
        return self.word_bits * 2


# Rotation amounts of FIPS 180-4 sections 4.1.2 and 4.1.3; the third of a "small" triple is a shift.
_SHA256 = _Variant(32, 64, (2, 13, 22), (6, 11, 25), (7, 18, 3), (17, 19, 10))
_SHA512 = _Variant(64, 80, (28, 34, 39), (14, 18, 41), (1, 8, 7), (19, 61, 6))
# Section 4.2: the constants are the fractional parts of the cube roots of the first primes.
_CONSTANTS = {
    variant.word_bits: [_cube_root_fraction(prime, variant.word_bits) for prime in _primes(variant.rounds)]
    for variant in (_SHA256, _SHA512)
}
_VARIANTS = {"sha256": (_SHA256, 32), "sha384": (_SHA512, 48), "sha512": (_SHA512, 64)}


def initial_value(name: str) -> bytes:
    """The chaining value before the first block (section 5.3); for tests and for messages of one block.

    SHA-256 and SHA-512 use square roots of the first eight primes, SHA-384 of the ninth to the sixteenth.
    """
    variant, _ = _VARIANTS[name]
    primes = list(_primes(16))[8:] if name == "sha384" else list(_primes(8))
    bits = variant.word_bits
    words = [isqrt(prime << (2 * bits)) & ((1 << bits) - 1) for prime in primes]
    return b"".join(word.to_bytes(bits // 8, "big") for word in words)


def state_size(name: str) -> int:
    """Bytes of the chaining value: 32 for SHA-256, 64 for SHA-384 and SHA-512."""
    return _VARIANTS[name][0].word_bits


def block_size(name: str) -> int:
    """Bytes of a block: 64 for SHA-256, 128 for SHA-384 and SHA-512."""
    return _VARIANTS[name][0].block_size


def compress(name: str, state: bytes, block: bytes) -> bytes:
    """One block into the chaining value (section 6.2.2 and 6.4.2)."""
    variant, _ = _VARIANTS[name]
    bits, mask = variant.word_bits, (1 << variant.word_bits) - 1

    def rotated(value: int, count: int) -> int:
        return ((value >> count) | (value << (bits - count))) & mask

    def big(value: int, counts: tuple[int, int, int]) -> int:
        return rotated(value, counts[0]) ^ rotated(value, counts[1]) ^ rotated(value, counts[2])

    def small(value: int, counts: tuple[int, int, int]) -> int:
        return rotated(value, counts[0]) ^ rotated(value, counts[1]) ^ (value >> counts[2])

    letter = "I" if bits == 32 else "Q"
    words = list(struct.unpack(f">16{letter}", block))
    for index in range(16, variant.rounds):
        schedule = small(words[index - 2], variant.small1) + words[index - 7]
        schedule += small(words[index - 15], variant.small0) + words[index - 16]
        words.append(schedule & mask)

    before = struct.unpack(f">8{letter}", state)
    a, b, c, d, e, f, g, h = before
    for word, constant in zip(words, _CONSTANTS[bits], strict=True):
        first = h + big(e, variant.big1) + ((e & f) ^ (~e & mask & g)) + constant + word
        second = big(a, variant.big0) + ((a & b) ^ (a & c) ^ (b & c))
        h, g, f, e, d, c, b, a = g, f, e, (d + first) & mask, c, b, a, (first + second) & mask
    after = [(old + new) & mask for old, new in zip(before, (a, b, c, d, e, f, g, h), strict=True)]
    return struct.pack(f">8{letter}", *after)


def finish(name: str, state: bytes, hashed: int, tail: bytes) -> bytes:
    """The digest of a message of which `hashed` bytes went into `state` already and `tail` is the rest.

    Raises ValueError when `state` has the wrong size or `hashed` is not a whole number of blocks.
    """
    variant, digest_size = _VARIANTS[name]
    if len(state) != variant.word_bits:
        raise ValueError(f"intermediate hash of {len(state)} bytes, {name} has {variant.word_bits}")
    if hashed % variant.block_size:
        raise ValueError(f"{hashed} bytes hashed is not a multiple of the block size {variant.block_size}")
    length_field = variant.word_bits // 4
    message = tail + b"\x80"
    message += bytes(-(len(message) + length_field) % variant.block_size)
    message += (8 * (hashed + len(tail))).to_bytes(length_field, "big")
    for start in range(0, len(message), variant.block_size):
        state = compress(name, state, message[start : start + variant.block_size])
    return state[:digest_size]
