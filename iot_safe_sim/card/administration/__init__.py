"""Administration by GlobalPlatform STORE DATA: create, update, delete and move objects, and certification requests.

A command is one TLV element, in as many blocks as it needs (P1 80 marks the last block, P2 counts). It takes effect as
a whole, with the last block. Brackets mark what may be left out; an update leaves unchanged what was not sent.

- `E0 { C3 { 83 id [73 label] [60 access] [21 usage] [70 content] } }`: create or update a file.
- `E0 { C1 { 84 id [74 label] [60 access] [4B type] [4E usage] [61 functions] [B9 00] } }`: create or update a key pair
  container; with `B9 00`, generate a key in it.
- `E0 { C2 { 85 id [75 label] [60 access] [4B type] [61 functions] } }`: a container for a peer's public key.
- `E0 { C4 { 86 id [76 label] [60 access] [61 functions] [D1 value] } }`: a shared secret.
- `E1 { 83, 84, 85 or 86 id }`: delete an object.
- `E2 { 84 id or 74 label, 50 subject Name, [51 attributes] }`: sign a PKCS#10 request and store it in file 80000000.
- `E3 { 84 from, 84 to, [83 from, 83 to] }`: move a key, and a file, to another container in one step.
"""

from iot_safe_sim.card.administration.blocks import store_data

__all__ = ["store_data"]
