"""The device side: a simulated IoT SAFE (e)SIM, its modem, and a device that enrolls and joins networks with it.

Rooms, from the bottom up; each imports only rooms above it in this list, and only through their `__init__`:

- `interface`: what both ends of a card's interface agree on (APDUs, TLV, identifiers). No I/O.
- `keystore`: where private keys live (SoftHSM2, or files).
- `card`: the applet, its objects, and the directory that keeps them.
- `modem`: the AT commands and the serial port in front of a card. Imports `card`.
- `middleware`: a client of any IoT SAFE card, simulated or real. Does not import `card`.
- `device`: enrollment, renewal, and joining a network. Imports `card` and `middleware`.
- `cli`: the command `iot-safe-sim`.

`durable_file` stands below all rooms but `interface`: it writes files that survive a crash.
"""
