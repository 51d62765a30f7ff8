"""Examines an installation: gathers facts, and judges them.

`gather` is the only part that does I/O. `checks` are pure functions from `facts` to `findings`. `raddb` parses
FreeRADIUS's configuration files. May import `core`, `dns`, `local` and `server`.
"""

from dane_radius.doctor.checks import all_findings
from dane_radius.doctor.findings import Check, Finding, Severity
from dane_radius.doctor.gather import gather
from dane_radius.doctor.gather.manifest import read_installation
from dane_radius.doctor.installation import Installation, Names

__all__ = ["Check", "Finding", "Installation", "Names", "Severity", "all_findings", "gather", "read_installation"]
