"""One authentication, from its TLS session to its decision: the I/O around the pure functions of `dane_radius.core`.

Nothing here waits. While the DNS has not answered, the result is `NotYet`, and FreeRADIUS calls again later.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache

from dane_radius.core.anchor_record import Anchor
from dane_radius.core.answers import Answer, Secure, Unavailable
from dane_radius.core.certificate import Leaf, parse_leaf
from dane_radius.core.decision import (
    MAX_CACHED_OCTETS,
    Prepared,
    StandingOf,
    admit,
    nothing_known,
    rule_by_answer,
    rule_by_path,
)
from dane_radius.core.first_pass import FirstPass, still_holds
from dane_radius.core.reasons import ReasonCode, Refused, Verdict
from dane_radius.core.ruling import Decision, Ruling, refuse
from dane_radius.dns.background import Cause
from dane_radius.dns.lookups import Lookup, Lookups
from dane_radius.local.anchor_directory import AnchorDirectory
from dane_radius.server.config import SessionConfig
from dane_radius.server.resumption import read_resumed
from dane_radius.server.session_file import read_session_file
from dane_radius.server.waits import Wait, Waits
from policy import Policy, PolicyStore, RequestFacts

# Handshakes between their last challenge and their decision. Newer entries displace those of abandoned handshakes.
_MAX_PREPARED = 4096
# All other devices wait while a decision is computed. The limit allows for interruptions on a busy machine.
_MAX_DECISION_SECONDS = 0.25

# A device that authenticates again presents the same certificate, usually at the same network.
_parse_leaf_cached = lru_cache(maxsize=8192)(parse_leaf)


def _parse_leaf(data: bytes) -> Leaf:
    return _parse_leaf_cached(data) if len(data) <= MAX_CACHED_OCTETS else parse_leaf(data)


@dataclass(frozen=True, slots=True)
class NotYet:
    """There is no DNS answer yet. `wait` tells FreeRADIUS what to wait for: see `dane_radius.server.waits`."""

    wait: str


@dataclass(slots=True)
class Authentication:
    """What a request contains that its decision and the report of it need.

    `session_path`: FreeRADIUS's TLS-Cache-Filename. `outer_identity`: the User-Name, for the log. `session_reference`:
    the text stored with a resumed TLS session (see `dane_radius.server.resumption`).
    """

    session_path: str
    request: RequestFacts
    outer_identity: str | None = None
    session_reference: str | None = None
    began: float = field(default_factory=time.perf_counter)
    prepared: Prepared | None = None


class Authenticator:
    """Decides about client certificates."""

    def __init__(
        self,
        session: SessionConfig,
        policies: PolicyStore,
        anchors: AnchorDirectory,
        lookups: Lookups,
        waits: Waits[Authentication],
        cui_key: bytes | None,
        clock: Callable[[], float],
        standing_of: StandingOf = nothing_known,
    ) -> None:
        """`clock`: seconds since 1970. `standing_of`: what is known of a device; it may raise Refused."""
        self._session, self._policies, self._anchors = session, policies, anchors
        self._lookups, self._waits, self._cui_key, self._clock = lookups, waits, cui_key, clock
        self._first_pass, self._standing_of = FirstPass(), standing_of
        # By session path.
        self._early_prepared: OrderedDict[str, Prepared] = OrderedDict()

    def look_ahead(self, session_path: str, request: RequestFacts) -> NotYet | None:
        """Start the DNS lookup for a certificate whose decision is next.

        `NotYet` is the wait that should precede the call of `decide`, which takes it as `early`. Raises Refused if
        there is no certificate, or an invalid one.
        """
        prepared = self._prepare(self._leaf(session_path, None), self._policies.current, request)
        if isinstance(prepared, Prepared):
            self._early_prepared[session_path] = prepared
            if len(self._early_prepared) > _MAX_PREPARED:
                self._early_prepared.popitem(last=False)
            lookup = self._lookups.start_lookup(prepared.name, Cause.CERTIFICATE)
            if isinstance(lookup, Lookup):
                wait = self._waits.start_early_wait(lookup, Authentication(session_path, request, prepared=prepared))
                if wait is not None:
                    return NotYet(wait.text)
        return None

    def decide(self, authentication: Authentication, early: str | None = None) -> Decision | NotYet:
        """The decision about the certificate of a finished handshake.

        `early` is the wait that `look_ahead` returned, if FreeRADIUS has waited for it.
        """
        answer = self._early_answer(early, authentication.session_path) if early else None
        policy = self._policies.current
        try:
            prepared = self._first_pass_of(authentication, policy)
        except Refused as refusal:
            return Decision(refuse(refusal, policy))
        if isinstance(prepared, Ruling):
            return Decision(prepared)
        cached = answer is None
        answer = answer or self._lookups.find(prepared.name)
        if answer is not None:
            return self._conclude(prepared, answer, cached=cached)
        authentication.prepared = prepared
        outcome = self._waits.start_wait(prepared.name, authentication)
        if isinstance(outcome, Wait):
            return NotYet(outcome.text)
        return self._conclude(prepared, outcome, cached=False)

    def decide_after(self, wait: Wait[Authentication]) -> Decision:
        """The decision after a wait, by the policy and the standing in force at that time."""
        prepared = wait.subject.prepared
        assert prepared is not None
        answer = self._waits.answer(wait)
        policy = self._policies.current
        if not self._still_holds(prepared, policy):
            anew = self._prepare(prepared.leaf, policy, wait.subject.request)
            if isinstance(anew, Ruling):
                return Decision(anew)
            if anew.name != prepared.name:
                answer = self._lookups.find(anew.name) or Unavailable("the policy changed while the DNS was asked")
            prepared = anew
        return self._conclude(prepared, answer, cached=False)

    def _early_answer(self, wait: str, session_path: str) -> Answer | None:
        """The answer of the lookup that `look_ahead` started for this session; None if there is none yet."""
        found = self._waits.end_wait(wait)
        if found is None or found.subject.session_path != session_path or found.awaited.answer is None:
            return None
        return self._waits.answer(found)

    def _first_pass_of(self, authentication: Authentication, policy: Policy) -> Prepared | Ruling:
        """The first pass of policy over the certificate. Raises Refused if there is no valid certificate.

        The result of `look_ahead` is used again if the request, the policy and the standing are the same.
        """
        request = authentication.request
        if self._early_prepared:
            prepared = self._early_prepared.pop(authentication.session_path, None)
            if prepared is not None and prepared.request == request and self._still_holds(prepared, policy):
                return prepared
        leaf = self._leaf(authentication.session_path, authentication.session_reference)
        return self._prepare(leaf, policy, request)

    def _prepare(self, leaf: Leaf, policy: Policy, request: RequestFacts) -> Prepared | Ruling:
        return self._first_pass.prepare(leaf, policy, request, self._standing_of, now=self._clock())

    def _still_holds(self, prepared: Prepared, policy: Policy) -> bool:
        """Whether policy and standing are what they were in the first pass."""
        try:
            return still_holds(prepared, policy, self._standing_of, self._clock())
        except Refused:
            return False

    def _leaf(self, session_path: str, session_reference: str | None) -> Leaf:
        directory = self._session.directory
        if session_path or session_reference is None or not self._session.resumption:
            return _parse_leaf(read_session_file(session_path, directory=directory))
        return _parse_leaf(read_resumed(session_reference, directory=directory))

    def _conclude(self, prepared: Prepared, answer: Answer, *, cached: bool) -> Decision:
        now = self._clock()
        ruling = rule_by_answer(prepared, answer, self._cui_key)
        if ruling is None:
            assert isinstance(answer, Secure)
            ends = time.perf_counter() + _MAX_DECISION_SECONDS
            ruling = rule_by_path(
                prepared,
                answer,
                self._anchors_of(prepared.name),
                datetime.fromtimestamp(now, UTC),
                self._cui_key,
                lambda: time.perf_counter() > ends,
            )
        return admit(ruling, answer, now, cached=cached)

    def _anchors_of(self, name: str) -> Sequence[Anchor]:
        """The current anchors for a name: one may have been removed, or discovered for this device, a moment ago."""
        self._anchors.refresh()
        return self._anchors.for_name(name)


def internal_error(error: Exception) -> Decision:
    """The reject after an unexpected exception. It carries a reason code, as every other reject does."""
    return Decision(Ruling(Verdict.REJECT, ReasonCode.INTERNAL_ERROR, f"{type(error).__name__}: {error}"))
