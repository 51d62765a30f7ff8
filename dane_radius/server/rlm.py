"""The entry that FreeRADIUS's rlm_python3 calls: attributes in, attributes out.

rlm_python3 is unforgiving about types. A callback that returns None counts as *ok*; an enum member counts as *fail*; a
list where a tuple is due is dropped in silence. So every path here ends in a plain `int`, or in
`(int, {list name: tuple of (str, str, str)})`, and the access is given by `config:Auth-Type := Accept` alone: whatever
else happens, the virtual server that called us rejects.
"""

from __future__ import annotations

import gc
import getopt
import sys
import traceback
from functools import lru_cache
from pathlib import Path
from typing import Any

from dane_radius.core.ruling import Decision
from dane_radius.local.config import ConfigError
from dane_radius.server.authentication import Authentication, NotYet
from dane_radius.server.config import DEFAULT_CONFIG, load_config
from dane_radius.server.service import Service
from policy import PolicyError, RequestFacts
from policy.matching import ssid_of

# src/include/radiusd.h, rlm_rcode_t. Plain integers: see above.
RLM_MODULE_REJECT = 0
RLM_MODULE_FAIL = 1
RLM_MODULE_OK = 2
RLM_MODULE_NOOP = 7
RLM_MODULE_UPDATED = 8

# src/include/log.h, log_type_t.
_L_INFO, _L_ERR = 3, 4

Pairs = tuple[tuple[str, str], ...]
Update = dict[str, tuple[tuple[str, str, str], ...]]

_ACCEPT = (("Auth-Type", ":=", "Accept"),)
# What the check server is to wait for, and brings back when it calls again: sites-available/dane-check.
_WAIT = "Tmp-String-9"
# The same, but for a wait that the outer server was told of: the check server has waited before its first call.
_EARLY_WAIT = "Tmp-String-7"
# Stands in _WAIT when the outer server refuses a device that was accepted.
_NOT_SENT = "accept-not-sent"

_service: Service | None = None


def _radlog(level: int, message: str) -> None:
    """To the server's own log, where an operator looks first. Outside of the server: to stderr."""
    try:
        import radiusd  # type: ignore[import-not-found]  # exists only inside the server
    except ImportError:
        print(message, file=sys.stderr)
        return
    for line in message.splitlines():
        radiusd.radlog(level, f"dane_radius: {line}")


def _config_path() -> str:
    try:
        import radiusd
    except ImportError:
        return DEFAULT_CONFIG
    return str(getattr(radiusd, "config", {}).get("config_file", DEFAULT_CONFIG))


def is_config_check(command_line: bytes) -> bool:
    """Whether this process only checks its configuration (`radiusd -C`), from /proc/self/cmdline.

    Such a run instantiates every module beside a server that may be running: it must bind nothing.
    """
    arguments = command_line.decode("utf-8", "replace").split("\0")[1:]
    try:
        # The option string of src/main/radiusd.c.
        options, _ = getopt.getopt([a for a in arguments if a], "Cd:D:fhi:l:L:Mmn:p:PstTvxX")
    except getopt.GetoptError:
        return False
    return any(option == "-C" for option, _ in options)


def instantiate(_: Any) -> int:
    """Load configuration and policy; on any mistake the server refuses to start, and its log says why."""
    global _service
    try:
        service = Service(load_config(_config_path()))
        if is_config_check(Path("/proc/self/cmdline").read_bytes()):
            _radlog(_L_INFO, "configuration and policy are good")
        else:
            service.start()
            # What is loaded by now stays for good: the garbage collector need not walk it again and again.
            gc.collect()
            gc.freeze()
        _service = service
    except (ConfigError, PolicyError) as error:
        _radlog(_L_ERR, str(error))
        return -1
    except Exception:
        _radlog(_L_ERR, traceback.format_exc())
        return -1
    return 0


def detach(_: Any) -> int:
    """End threads and sockets when the server goes."""
    global _service
    service, _service = _service, None
    if service is not None:
        try:
            service.stop()
        except Exception:
            _radlog(_L_ERR, traceback.format_exc())
    return RLM_MODULE_OK


def authorize(lists: Any) -> int | tuple[int, Update]:
    """The outer server, on the EAP identity: begin to look for the records and the trust anchor that it will need.

    Decides nothing: the identity is unauthenticated (RFC 9190 section 5.6). *updated* says that the handshake had
    better wait for the anchor, as `authenticate` does with *noop*.
    """
    try:
        service = _service
        if service is None:
            return RLM_MODULE_NOOP
        wait = _pairs(lists, "config").get(_WAIT)
        if wait is not None:
            service.early_work.go_on(wait)
            return RLM_MODULE_NOOP
        pairs = _pairs(lists, "request")
        identity = pairs.get("User-Name")
        not_yet = service.early_work.begin(identity, request_facts(pairs)) if identity else None
        if not_yet is not None:
            return RLM_MODULE_UPDATED, {"config": ((_WAIT, ":=", not_yet.wait),)}
    except Exception:
        _radlog(_L_ERR, traceback.format_exc())
    return RLM_MODULE_NOOP


def post_auth(lists: Any) -> int | tuple[int, Update]:
    """The outer server, on each Access-Challenge once there is a TLS session: look ahead.

    FreeRADIUS has verified the certificate by then; its decision comes with the device's next packet, and the DNS can
    answer meanwhile. Nothing is decided, and nothing is waited for here. `session-state:Tmp-String-7` says what the
    check server had better wait for before it asks for the decision.

    Also called when the outer server refuses a device that was accepted: that is logged and counted.
    """
    try:
        service = _service
        if service is not None and _pairs(lists, "config").get(_WAIT) == _NOT_SENT:
            pairs = _pairs(lists, "request")
            service.accept_not_sent(request_facts(pairs), pairs.get("User-Name"))
            return RLM_MODULE_NOOP
        path = _pairs(lists, "session-state").get("TLS-Cache-Filename")
        if service is not None and path:
            not_yet = service.authenticator.look_ahead(path, request_facts(_pairs(lists, "request")))
            if not_yet is not None:
                return RLM_MODULE_UPDATED, {"session-state": ((_EARLY_WAIT, ":=", not_yet.wait),)}
    except Exception:
        # The decision will see the same problem, and report it.
        return RLM_MODULE_NOOP
    return RLM_MODULE_NOOP


def authenticate(lists: Any) -> int | tuple[int, Update]:
    """The check server, once per handshake: decide about the client certificate.

    An accept sets `config:Auth-Type := Accept` and the reply. A reject says why in `request:Module-Failure-Message`.
    *noop* says "not yet": the server waits for what `config:Tmp-String-9` names, and calls again with it.
    """
    try:
        service = _service
        if service is None:
            _radlog(_L_ERR, "called before it was instantiated")
            return RLM_MODULE_REJECT
        pairs = _pairs(lists, "request")
        session = pairs.get("TLS-Cache-Filename", "")
        control = _pairs(lists, "config")
        wait = control.get(_WAIT)
        outcome: Decision | NotYet
        if wait is not None:
            authentication, outcome = service.resume(wait)
        else:
            authentication = Authentication(
                session, request_facts(pairs), pairs.get("User-Name"), pairs.get("Cached-Session-Policy")
            )
            outcome = service.check(authentication, control.get(_EARLY_WAIT))
        if isinstance(outcome, NotYet):
            return RLM_MODULE_NOOP, {"config": ((_WAIT, ":=", outcome.wait),)}
        try:
            result = to_result(outcome, service.to_keep(outcome, session))
        except Exception as error:
            outcome = service.failed(error)
            result = to_result(outcome)
        # Last: what is logged is what the server is told.
        service.report(authentication, outcome)
        return result
    except Exception:
        _radlog(_L_ERR, traceback.format_exc())
        return RLM_MODULE_REJECT


def _pairs(lists: Any, which: str) -> dict[str, str]:
    """An attribute list as a dictionary; of an attribute that stands twice, the first."""
    return dict(reversed(lists.get(which) or ()))


def request_facts(pairs: dict[str, str]) -> RequestFacts:
    """What the NAS said about the place, from RADIUS attributes by their FreeRADIUS names."""
    return _facts(
        pairs.get("Called-Station-Id"),
        pairs.get("NAS-Identifier"),
        pairs.get("NAS-IP-Address") or pairs.get("NAS-IPv6-Address") or pairs.get("Packet-Src-IP-Address"),
        pairs.get("NAS-Port-Type"),
        pairs.get("Calling-Station-Id"),
        # RFC 4372 section 2.1: a single NUL asks for one.
        "Chargeable-User-Identity" in pairs,
    )


# A device asks again at the same place.
@lru_cache(maxsize=8192)
def _facts(
    called: str | None,
    nas: str | None,
    address: str | None,
    port_type: str | None,
    station: str | None,
    wants_cui: bool,
) -> RequestFacts:
    return RequestFacts(ssid_of(called), nas, address, port_type, station, wants_cui)


def to_result(decision: Decision, stored: str | None = None) -> int | tuple[int, Update]:
    """A decision as rlm_python3 wants it. `stored`: what an accepted session keeps for its resumption."""
    if not decision.accepted:
        summary = f"{decision.ruling.reason.value}: {decision.ruling.detail}"
        return RLM_MODULE_REJECT, {"request": (("Module-Failure-Message", "+=", _attribute_text(summary)),)}
    reply = decision.attributes
    if stored:
        # Never leaves the server: it is no RADIUS attribute.
        reply = (*reply, ("Cached-Session-Policy", ":=", stored))
    return RLM_MODULE_OK, {"reply": reply, "config": _ACCEPT}


def _attribute_text(text: str) -> str:
    """At most what one attribute holds, in printable ASCII: it goes to log files and terminals."""
    return "".join(c if " " <= c <= "~" else "?" for c in text)[:240]
