"""Whether GnuTLS (libgnutls-dane, the library of danetool) finds a match in a TLSA RRset, offline.

For the usages that name the device's own certificate or key (1 and 3), it compares octets only. For those that name a
CA, it verifies a signature at the current time, so it cannot judge cases that have a fixed time.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence

from dane_radius.core.tlsa import TlsaRecord

_X509 = 1
_P = ctypes.c_void_p


class _Datum(ctypes.Structure):
    _fields_ = (("data", ctypes.c_char_p), ("size", ctypes.c_uint))


def matches(chain: Sequence[bytes], records: Sequence[TlsaRecord]) -> bool:
    """Whether libgnutls-dane finds any of `records` to match `chain` (the leaf first)."""
    library = ctypes.CDLL("libgnutls-dane.so.0")
    library.dane_state_deinit.argtypes = library.dane_query_deinit.argtypes = [_P]
    state, query, status = _P(), _P(), ctypes.c_uint()
    if library.dane_state_init(ctypes.byref(state), 0) != 0:
        raise RuntimeError("libgnutls-dane does not start")
    try:
        octets = [bytes([r.usage, r.selector, r.matching_type]) + r.data for r in records]
        data = (ctypes.c_char_p * (len(octets) + 1))(*octets, None)
        sizes = (ctypes.c_int * (len(octets) + 1))(*(len(octet) for octet in octets), 0)
        if library.dane_raw_tlsa(state, ctypes.byref(query), data, sizes, 1, 0) != 0:
            raise RuntimeError("libgnutls-dane refuses the records")
        certificates = (_Datum * len(chain))(*(_Datum(der, len(der)) for der in chain))
        library.dane_verify_crt_raw(state, certificates, len(chain), _X509, query, 0, 0, ctypes.byref(status))
        return status.value == 0
    finally:
        if query:
            library.dane_query_deinit(query)
        library.dane_state_deinit(state)
