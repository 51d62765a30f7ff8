"""The running worker on a full disk: it keeps its state, reports the problem, and continues once there is space."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.harness.pki import authority
from tests.harness.process import run, wait_for
from tests.harness.trust_sync import TrustSync, WebServer, anchor_json
from tests.integration.trust_sync.test_feed import DOMAIN, Setting

pytestmark = pytest.mark.daemons


class SmallDisks:
    """Two file systems of 256 KiB, for the anchors and for the state file."""

    def __init__(self, *paths: Path) -> None:
        self.paths = paths

    def fill(self) -> None:
        for path in self.paths:
            with (path / "filler").open("wb", buffering=0) as file, contextlib.suppress(OSError):
                while True:
                    file.write(bytes(4096))

    def empty(self) -> None:
        for path in self.paths:
            (path / "filler").unlink()


@pytest.fixture
def disks(tmp_path: Path) -> Iterator[SmallDisks]:
    paths = tmp_path / "anchors", tmp_path / "sync" / "state"
    with contextlib.ExitStack() as stack:
        for path in paths:
            path.mkdir(parents=True)
            run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", path])
            stack.callback(run, ["umount", path])
        yield SmallDisks(*paths)


def test_a_full_disk_under_the_running_worker(disks: SmallDisks, tmp_path: Path) -> None:
    first, second, third = (authority(f"CA {n}") for n in range(3))
    with WebServer(tmp_path / "web", ["localhost"]) as registry:
        setting = Setting(tmp_path, registry)
        registry.anchors.append(anchor_json(first, DOMAIN))
        with setting.sync as sync:
            setting.wait_for(first)
            wait_for(sync.state_file.exists, "the state file")
            wait_for(lambda: _saved_seq(sync) == 0, "the state to be saved")
            saved = sync.state_file.read_bytes()
            index = (tmp_path / "anchors" / "index.jsonl").read_bytes()

            disks.fill()
            registry.announce("anchor.added", domain=DOMAIN, anchor=second)
            wait_for(lambda: sync.status()["registries"]["home"]["error"], "the error")
            status = sync.status()
            assert "No space left" in status["registries"]["home"]["error"]
            assert status["registries"]["home"]["retry_in_seconds"] is not None
            assert setting.metric('trust_sync_source_failures_total{reason="store",source="home"}') >= 1
            assert setting.metric("trust_sync_store_failures_total") >= 1
            wait_for(lambda: "No space left" in str(sync.status()["state_error"]), "the state's error")
            assert setting.anchors() == {first.fingerprint}
            assert (tmp_path / "anchors" / "index.jsonl").read_bytes() == index
            assert sync.state_file.read_bytes() == saved
            before = setting.metric("trust_sync_store_failures_total")
            wait_for(lambda: setting.metric("trust_sync_store_failures_total") > before + 1, "more attempts")
            # The log has one line, not one for each second.
            assert len(sync.events("state not saved; retrying")) == 1
            assert sync.daemon is not None
            sync.daemon.kill()

        # It also starts on a full disk, with its saved state.
        again = TrustSync(sync.folder, sync.dane_radius, sync.settings)
        with again:
            assert setting.anchors() == {first.fingerprint}
            assert again.status()["anchor_count"] == 1
            wait_for(lambda: "No space left" in str(again.status()["registries"]["home"]["error"]), "the error")
            disks.empty()
            setting.wait_for(first, second)
            registry.announce("anchor.added", domain=DOMAIN, anchor=third)
            setting.wait_for(first, second, third)
            wait_for(lambda: _saved_seq(again) == 2, "the state to be saved")
            assert again.status()["state_error"] is None
            assert again.status()["registries"]["home"]["error"] is None


def _saved_seq(sync: TrustSync) -> int | None:
    seq: int | None = json.loads(sync.state_file.read_text())["feeds"]["home"]["seq"]
    return seq
