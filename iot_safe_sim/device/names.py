"""Device names: DNS names such as `a1b2c3.camera._device.example.net`."""

from __future__ import annotations


def check_device_name(name: str) -> str:
    """The name in lower case. Raises ValueError when it is not a DNS name of two labels or more."""
    labels = name.split(".")
    if len(name) > 253 or len(labels) < 2 or not all(_is_label(label) for label in labels):
        raise ValueError("expected a DNS name")
    return name.lower()


def identity_domain(name: str) -> str:
    """The identity domain of a device name: what follows the label `_device`, or else the first label."""
    _, found, rest = name.lower().partition("._device.")
    return rest if found else name.lower().partition(".")[2]


def _is_label(label: str) -> bool:
    return 1 <= len(label) <= 63 and label.isascii() and label.replace("-", "").replace("_", "").isalnum()
