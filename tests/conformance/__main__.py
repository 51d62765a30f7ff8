"""Print where this project and OpenSSL (or GnuTLS) decide differently, and why: `python -m tests.conformance`."""

from __future__ import annotations

from tests.conformance.cases import CASES, GNUTLS_DIFFERENCES

different = [case for case in CASES if case.openssl not in (None, "-")]
for case in different:
    print(f"{case.id:40} {case.expect:16} {case.openssl}")
for name, why in GNUTLS_DIFFERENCES.items():
    print(f"{name:40} {'tlsa_mismatch':16} {why}")
unjudged = sum(case.openssl == "-" for case in CASES)
print(
    f"{len(CASES)} cases, {unjudged} that OpenSSL cannot judge, {len(different)} differences; "
    f"{len(GNUTLS_DIFFERENCES)} to GnuTLS"
)
