"""The folder of session files: which files are removed, and which are kept."""

from __future__ import annotations

import os
import time
from pathlib import Path

from dane_radius.server.session_folder import remove_session, sweep_sessions


def test_files_that_cannot_be_resumed_are_removed_earlier(tmp_path: Path) -> None:
    """FreeRADIUS writes no `.vps` file for a session that was itself resumed, and cannot resume it."""
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
    # Without resumption, the limit is short for all files.
    assert sweep_sessions(str(tmp_path), 30) == 3
    remove_session(str(tmp_path / "never.asn1"))


def test_both_files_of_a_session_are_removed(tmp_path: Path) -> None:
    for name in ("a.asn1", "a.vps", "b.asn1"):
        (tmp_path / name).touch()
    remove_session(str(tmp_path / "a.asn1"))
    assert [path.name for path in tmp_path.iterdir()] == ["b.asn1"]
