"""Examines a registry: gathers facts, and judges them. It changes nothing.

`gather` is the only part that does I/O. `checks` are pure functions from `facts` to `findings`. May import all but
`https`, `web` and `cli`.
"""

from iot_registry.doctor.checks import all_findings
from iot_registry.doctor.facts import Subject
from iot_registry.doctor.findings import Check, Finding
from iot_registry.doctor.gather import gather

__all__ = ["Check", "Finding", "Subject", "all_findings", "gather"]
