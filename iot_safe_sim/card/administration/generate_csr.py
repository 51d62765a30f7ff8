"""E2: build and sign a certification request on the card, and store it in a file."""

from __future__ import annotations

import hashlib
from dataclasses import replace

from iot_safe_sim.card.administration import pkcs10
from iot_safe_sim.card.administration.put_object import require_capacity
from iot_safe_sim.card.conditions import require_function, require_handle, require_point
from iot_safe_sim.card.content import CardContent
from iot_safe_sim.card.object_tags import OBJECT_TAGS
from iot_safe_sim.card.objects import File, Function, PrivateKey
from iot_safe_sim.card.references import find_object
from iot_safe_sim.interface import Fields, Tag, TlvError, containers, raw_to_der


def generate_csr(content: CardContent, value: bytes) -> bytes:
    """Returns nothing; the request is read from its file."""
    fields = Fields.parse(value, OBJECT_TAGS[PrivateKey].reference | {Tag.SUBJECT, Tag.ATTRIBUTES})
    key = find_object(content.store, PrivateKey, fields)
    require_function(key, Function.SIGN)
    handle, point = require_handle(key), require_point(key)

    def sign(data: bytes) -> bytes:
        return raw_to_der(content.keys.sign(handle, hashlib.sha256(data).digest()))

    try:
        request = pkcs10.build(fields.require(Tag.SUBJECT), point, fields.get(Tag.ATTRIBUTES) or b"", sign)
    except pkcs10.RequestError as error:
        raise TlvError(str(error)) from error
    file = content.store.files.get(containers.CSR_FILE)
    if file is None:
        require_capacity(content)
        file = File(containers.CSR_FILE, containers.CSR_LABEL)
    content.commit(content.store.with_object(replace(file, content=request)))
    return b""
