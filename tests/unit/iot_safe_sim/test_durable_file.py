"""A file keeps its old content when writing fails."""

from __future__ import annotations

from pathlib import Path

import pytest

from iot_safe_sim import durable_file


def test_old_content_stays_when_writing_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    durable_file.write_atomically(path, b"old")
    monkeypatch.setattr(durable_file.os, "fsync", lambda descriptor: (_ for _ in ()).throw(OSError(5, "I/O error")))
    with pytest.raises(OSError, match="I/O error"):
        durable_file.write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
