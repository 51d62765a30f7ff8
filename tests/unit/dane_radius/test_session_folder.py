"""The folder of session files: what is removed from it, and what stays."""

from __future__ import annotations

import os
import time
from pathlib import Path

from dane_radius.server.session_folder import remove_session, sweep_sessions


def test_files_that_nobody_can_resume_go_before_the_others(tmp_path: Path) -> None:
    """FreeRADIUS writes no `.vps` for a session that was itself resumed: its ticket is refused."""
    now = time.time()
    ages = {"pair": 600, "alone": 600, "young": 60, "old": 4000, "strange": 9000}
    for name, age in ages.items():
        suffixes = [".asn1", ".vps"] if name in ("pair", "old") else [".asn1"] if name != "strange" else [".txt"]
        for suffix in suffixes:
            path = tmp_path / f"{name}{suffix}"
            path.touch()
            os.utime(path, (now - age, now - age))
    assert sweep_sessions(str(tmp_path), 3600) == 3
    assert sorted(path.name for path in tmp_path.iterdir()) == ["pair.asn1", "pair.vps", "strange.txt", "young.asn1"]
    # Without resumption, the limit is short for all.
    assert sweep_sessions(str(tmp_path), 30) == 3
    remove_session(str(tmp_path / "never.asn1"))


def test_a_session_is_removed_with_both_its_files(tmp_path: Path) -> None:
    for name in ("a.asn1", "a.vps", "b.asn1"):
        (tmp_path / name).touch()
    remove_session(str(tmp_path / "a.asn1"))
    assert [path.name for path in tmp_path.iterdir()] == ["b.asn1"]
