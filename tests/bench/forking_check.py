"""What a `verify { client = ... }` program does, started anew for every certificate: import, parse, ask the DNS.

Called with the path of the client certificate in PEM, and the resolver's port. Exit code 0 admits the device.
"""

from __future__ import annotations

import hashlib
import sys

import dns.flags
import dns.message
import dns.query
import dns.rdatatype
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat


def main() -> int:
    with open(sys.argv[1], "rb") as file:
        certificate = x509.load_pem_x509_certificate(file.read())
    san = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    (name,) = san.get_values_for_type(x509.DNSName)
    query = dns.message.make_query(name, "TLSA", use_edns=0)
    query.flags |= dns.flags.AD
    answer = dns.query.udp(query, "127.0.0.1", port=int(sys.argv[2]), timeout=2)
    if not answer.flags & dns.flags.AD:
        return 1
    key = certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    digest = hashlib.sha256(key).digest()
    records = [r for rrset in answer.answer if rrset.rdtype == dns.rdatatype.TLSA for r in rrset]
    return 0 if any((r.usage, r.selector, r.mtype, r.cert) == (3, 1, 1, digest) for r in records) else 1


if __name__ == "__main__":
    sys.exit(main())
