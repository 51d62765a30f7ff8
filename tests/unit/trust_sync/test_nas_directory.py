"""The NAS directory: which secret is for which address."""

from __future__ import annotations

from trust_sync.sessions.nas_directory import NasDirectory
from trust_sync.shared import NasConfig


def test_the_longest_prefix_has_the_secret() -> None:
    entries = [NasConfig(address=a, secret=a) for a in ("10.0.0.0/8", "10.1.0.0/16", "10.1.2.3")]
    directory = NasDirectory.from_config(entries, [("10.1.2.4", "row"), ("nas.example", "x")])
    found = [directory.find(a) for a in ("10.1.2.3", "10.1.2.4", "10.1.9.9", "10.9.9.9", "11.0.0.1", "nas.example")]
    assert [nas.secret.decode() if nas else None for nas in found] == [
        "10.1.2.3", "row", "10.1.0.0/16", "10.0.0.0/8", None, None,
    ]  # fmt: skip
    assert "row" not in repr(found)
