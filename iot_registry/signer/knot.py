"""Knot DNS as the signer, controlled by its tools `knotc` and `keymgr`."""

from __future__ import annotations

import json
import re
import subprocess
import time
from pathlib import Path
from typing import Any

from iot_registry.signer import config_files
from iot_registry.signer.base import SignerError
from web_service.local import write_private

COMMAND_SECONDS = 120
# A zone is ready once it is signed; a small one takes well under a second.
READY_SECONDS = 30


def _yes(value: bool) -> str:
    return "yes" if value else "no"


class KnotSigner:
    """See `iot_registry.signer.base.DnsSigner`. conf: path of knot.conf, which includes `zones_dir`/*.conf."""

    def __init__(self, conf: Path, zones_dir: Path, address: str) -> None:
        # knotd changes its working directory, so that it would resolve a relative path differently.
        self._conf = conf.absolute()
        self._zones_dir = zones_dir.absolute()
        self._address = address

    def add_zone(self, zone: str) -> None:
        self._zones_dir.mkdir(parents=True, exist_ok=True)
        contents = self._zones_dir / f"{zone}.zone"
        if not contents.exists():
            write_private(contents, config_files.zone_file(zone, self._address).encode(), 0o644)
        block = config_files.knot_zone_conf(zone, self._zones_dir)
        write_private(self._zones_dir / f"{zone}.conf", block.encode(), 0o644)
        self._run("knotc", "reload")
        deadline = time.monotonic() + READY_SECONDS
        while not self._signed(zone):
            if time.monotonic() > deadline:
                raise SignerError(f"Knot has not signed zone {zone} within {READY_SECONDS} s; its log says why")
            time.sleep(0.1)

    def _signed(self, zone: str) -> bool:
        try:
            return bool(self._run("knotc", "zone-read", f"{zone}.", "@", "RRSIG").strip())
        except SignerError:
            return False

    def ds(self, zone: str) -> list[str]:
        lines = self._run("keymgr", f"{zone}.", "ds").splitlines()
        # Knot prints SHA-256 and SHA-384. RFC 8624 section 3.3 requires every validator to support SHA-256.
        return [line for line in lines if re.search(r"\sDS\s+\d+\s+\d+\s+2\s", line)]

    def present_keys(self, zone: str) -> list[str]:
        # The state "active" does not tell: a first KSK signs in state "ready" until the parent has its DS record.
        return [str(key["id"]) for key in self._keys(zone) if not key["remove"]]

    def _keys(self, zone: str) -> list[dict[str, Any]]:
        """All keys of the zone: `id`, the roles `ksk` and `zsk`, and times (0: not set)."""
        text = self._run("keymgr", "-j", f"{zone}.", "list")
        try:
            keys: list[dict[str, Any]] = json.loads(text) if text.strip() else []
        except ValueError:
            raise SignerError(f"keymgr -j {zone}. list: found {text[:80]!r}, expected JSON") from None
        return keys

    def generate_keys(self, zone: str, old: set[str]) -> None:
        keys = self._keys(zone)
        single = any(key["ksk"] and key["zsk"] for key in keys)
        made = {(key["ksk"], key["zsk"]) for key in keys if key["id"] not in old}
        now = ("created=+0", "publish=+0", "ready=+0", "active=+0")
        for ksk, zsk in [(True, True)] if single else [(True, False), (False, True)]:
            if (ksk, zsk) not in made:
                roles = (f"ksk={_yes(ksk)}", f"zsk={_yes(zsk)}")
                self._run("keymgr", f"{zone}.", "generate", "algorithm=ECDSAP256SHA256", *roles, *now)

    def remove_keys(self, zone: str, keys: list[str]) -> None:
        present = {key["id"] for key in self._keys(zone)}
        for key in keys:
            if key in present:
                # Deleted at once, because the key may be compromised. keymgr would also refuse timers for a key that is
                # not in state "active" yet.
                self._run("keymgr", f"{zone}.", "delete", key)

    def sign(self, zone: str) -> None:
        self._run("knotc", "-b", "zone-sign", f"{zone}.")

    def process_updates(self, zone: str) -> None:
        # Any event makes Knot apply the queued updates. An additional NOTIFY does no harm.
        self._run("knotc", "zone-notify", f"{zone}.")

    def _run(self, tool: str, *arguments: str) -> str:
        command = [tool, "-c", str(self._conf), *arguments]
        try:
            done = subprocess.run(
                command,
                capture_output=True,
                text=True,
                timeout=COMMAND_SECONDS,
                check=False,
                stdin=subprocess.DEVNULL,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise SignerError(f"{tool} {arguments[0]}: {error}") from None
        if done.returncode != 0:
            output = (done.stderr or done.stdout).strip()[-400:]
            raise SignerError(f"{' '.join(command)}: code {done.returncode}: {output}")
        return done.stdout
