"""Readers follow the pages, on a machine for each journey. Each page's every command runs, in the page's order."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.harness.deploy import REPOSITORY
from tests.integration.documentation.machine import BrokenPromise, Machine
from tests.integration.documentation.page import blocks

DOCS = REPOSITORY / "docs"

# What the reader of a how-to page has, beside what the tutorial before it has left: the camera's record again, a device
# of a second domain, and a device that no rule covers.
_OTHER_DEVICES = r"""
set -e
cd /root/dane-radius/maker
cp camera.pem ../device.pem
dane-radius tlsa camera.pem --ttl 10 >>/var/lib/knot/maker.example.zone
for name in lamp7.lamp._device.city.example x1._device.unknown.example; do
  openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=device -addext "subjectAltName=DNS:$name" \
    -keyout "${name%%.*}.key" -out request.csr
  openssl x509 -req -in request.csr -CA ca.pem -CAkey ca.key -copy_extensions copyall -days 9 -out "${name%%.*}.pem"
done
cp lamp7.pem ..
sed "s/camera\.\(pem\|key\)/x1.\1/" /root/camera.conf >/root/stranger.conf
{ printf '@ 9 SOA ns h 1 9 9 9 1\n@ 9 NS ns\nns 9 A 127.0.0.1\n'; dane-radius tlsa lamp7.pem; } \
  >/var/lib/knot/city.example.zone
chown knot:knot /var/lib/knot/city.example.zone
printf '  - domain: city.example\n    storage: /var/lib/knot\n    file: city.example.zone\n    dnssec-signing: on\n' \
  >>/etc/knot/knot.conf
systemctl restart knot
{
  echo "server:"
  keymgr city.example ds | grep ' 13 2 ' | sed 's/.*/  trust-anchor: "&"/'
  printf 'stub-zone:\n  name: city.example\n  stub-addr: 127.0.0.1@5300\n'
} >/etc/unbound/unbound.conf.d/city.conf
systemctl restart unbound
"""

# The commands of all parts without a path, and the registry's state where it is by default.
_ONE_MACHINE = r"""
set -e
ln -s -t /usr/local/bin /opt/dane-radius/bin/{dane-radius,iot-registry,iot-safe-sim}
ln -s /srv/registry /var/lib/iot-registry
"""

# Pages by their paths below docs/, and commands that prepare the page behind them.
JOURNEYS = {
    "network operator": (
        "tutorials/network-operator.md",
        _OTHER_DEVICES,
        "how-to/add-a-network.md",
        "how-to/add-a-domain.md",
        "how-to/monitor-first.md",
        "how-to/move-from-crl-ocsp.md",
        "how-to/roaming-partners.md",
        "how-to/radsec.md",
    ),
    "identity operator": ("tutorials/identity-operator.md",),
    "device maker": (
        "tutorials/device-maker.md",
        _ONE_MACHINE,
        "how-to/compromised-device.md",
        "how-to/roll-keys.md",
    ),
}


def follow(machine: Machine, steps: tuple[str, ...]) -> None:
    for step in steps:
        if step.endswith(".md"):
            machine.follow(DOCS / step)
        else:
            done = machine.run("bash", "-c", step)
            assert done.returncode == 0, done.stderr


@pytest.mark.daemons
@pytest.mark.timeout(900)
@pytest.mark.parametrize("journey", JOURNEYS)
def test_a_reader_follows_the_pages(journey: str) -> None:
    with Machine() as machine:
        follow(machine, JOURNEYS[journey])


@pytest.mark.daemons
def test_a_page_that_is_wrong_is_found(tmp_path: Path) -> None:
    """The control: a command that fails, another exit code, another output, and a block that waits for input."""
    pages = {
        "fails": ("```sh\ntrue\nfalse\necho on\n```\n", "the commands failed"),
        "fails in a pipe": ("```sh\nfalse | true\n```\n", "the commands failed"),
        "succeeds": ("<!-- exit code 1 -->\n\n```sh\ntrue\n```\n", "exit code 1 expected, 0 found"),
        "says something else": ("```sh\nhostname\n```\n\n```text\nfedora\n```\n", "printed\ndebian"),
        "a file that nobody may write": ('```text title="/proc/version"\n```\n\n```sh\ntrue\n```\n', "commands failed"),
    }
    with Machine() as machine:
        for name, (text, problem) in pages.items():
            page = tmp_path / f"{name}.md"
            page.write_text(text)
            with pytest.raises(BrokenPromise, match=problem):
                machine.follow(page)
        right = tmp_path / "right.md"
        right.write_text(
            '```ini title="/srv/a"\nthe file\n```\n\n```sh\nx=1\ncat\ncat /srv/a\n```\n\n```text\nthe …\n```\n\n'
            "<!-- exit code 3 -->\n\n```sh\nsh -c 'exit 3'\n```\n\n"
            "```sh\necho $x; systemctl is-active systemd-journald\n```\n\n```text\n1\nactive\n```\n"
        )
        machine.follow(right)


def test_every_page_with_commands_is_in_a_journey() -> None:
    known = {step for steps in JOURNEYS.values() for step in steps if step.endswith(".md")}
    found = {
        str(path.relative_to(DOCS))
        for folder in ("tutorials", "how-to")
        for path in (DOCS / folder).glob("*.md")
        if blocks(path)
    }
    assert found == known
