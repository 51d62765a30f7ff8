"""The ready-made policies that come with the package, in `policy/examples`."""

from __future__ import annotations

from pathlib import Path

# What each is for.
EXAMPLES = {
    "home": "a household: security, multimedia, appliances, guests, and a relative's devices",
    "campus": "a university or company: buildings, laboratories, offices, and visitors",
    "city": "a city: street lights, sensors, and the devices of its contractors",
    "isp": "a provider: customers' devices behind its access points and switches",
}


def example_file(name: str) -> Path:
    """The file of a ready-made policy. Raises KeyError for a name that is not in EXAMPLES."""
    if name not in EXAMPLES:
        raise KeyError(name)
    return Path(__file__).parents[1] / "examples" / f"{name}.yaml"
