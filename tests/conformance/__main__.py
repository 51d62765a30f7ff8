"""Print where this project and OpenSSL decide differently, and why: `python -m tests.conformance`."""

from __future__ import annotations

from tests.conformance.cases import CASES

different = [case for case in CASES if case.openssl not in (None, "-")]
for case in different:
    print(f"{case.id:40} {case.expect:16} {case.openssl}")
unjudged = sum(case.openssl == "-" for case in CASES)
print(f"{len(CASES)} cases, {unjudged} that OpenSSL cannot judge, {len(different)} differences")
