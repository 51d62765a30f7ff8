"""Zones that are broken on purpose."""

from __future__ import annotations

import re
from pathlib import Path

from tests.harness.process import run


def tampered_zone(folder: Path, zone: str, records: str) -> tuple[str, str]:
    """A signed zone whose TLSA data was changed after signing: its text, and the trust anchor that exposes it."""
    folder.mkdir(parents=True, exist_ok=True)
    keys = [
        run(["sh", "-c", f"cd {folder} && ldns-keygen -a ECDSAP256SHA256 {flag} {zone}"]).strip() for flag in ("-k", "")
    ]
    source = folder / f"{zone}.txt"
    source.write_text(
        f"$ORIGIN {zone}.\n$TTL 60\n@ SOA ns.{zone}. hostmaster.{zone}. 1 3600 600 86400 1\n"
        f"@ NS ns.{zone}.\nns A 127.0.0.1\n{records}\n"
    )
    signed = folder / f"{zone}.signed"
    run(["sh", "-c", f"cd {folder} && ldns-signzone -f {signed} {source} {' '.join(keys)}"])
    text = signed.read_text()
    tampered = re.sub(r"(\bTLSA\s+\d+ \d+ \d+ )([0-9a-f]{2})", lambda m: m[1] + f"{int(m[2], 16) ^ 1:02x}", text)
    if tampered == text:
        raise RuntimeError("the signed zone holds no TLSA record to tamper with")
    return tampered, (folder / f"{keys[0]}.key").read_text()
