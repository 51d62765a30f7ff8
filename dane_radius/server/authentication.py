"""One authentication, from its TLS session to the decision, around the pure functions of `dane_radius.core`.

Nothing here waits: what the DNS has not answered yet is left to FreeRADIUS, which calls again.
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
from dane_radius.core.decision import Prepared, admit, prepare, rule_by_answer, rule_by_path
from dane_radius.core.reasons import ReasonCode, Refused, Verdict
from dane_radius.core.ruling import Decision, Ruling, refuse
from dane_radius.dns.lookups import Cause, Lookup, Lookups
from dane_radius.local.anchor_directory import AnchorDirectory
from dane_radius.server.config import SessionConfig
from dane_radius.server.resumption import read_resumed
from dane_radius.server.session_file import read_session_file
from dane_radius.server.waits import Wait, Waits
from policy import Policy, PolicyStore, RequestFacts

# Handshakes between their last challenge and their decision; an abandoned one leaves its entry to be pushed out.
_MAX_LOOKED_AHEAD = 4096
# All other devices wait for a decision under way. On a machine that is busy, it may be interrupted meanwhile.
_MAX_DECISION_SECONDS = 0.25

# A device that comes back presents the same certificate, at the same place mostly: what follows from that is kept.
_parse_leaf = lru_cache(maxsize=8192)(parse_leaf)
_prepare = lru_cache(maxsize=8192)(prepare)


@dataclass(frozen=True, slots=True)
class NotYet:
    """The DNS is being asked. `wait` says what to wait for: see `dane_radius.server.waits`."""

    wait: str


@dataclass(slots=True)
class Authentication:
    """What a request has said: enough to decide once the DNS has answered, and to report it.

    `session_path` is FreeRADIUS's TLS-Cache-Filename; `outer_identity` the User-Name, for the log; `stored` what a
    resumed session has kept (see `dane_radius.server.resumption`).
    """

    session_path: str
    request: RequestFacts
    outer_identity: str | None = None
    stored: str | None = None
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
    ) -> None:
        """`clock`: seconds since 1970."""
        self._session, self._policies, self._anchors = session, policies, anchors
        self._lookups, self._waits, self._cui_key, self._clock = lookups, waits, cui_key, clock
        self._looked_ahead: OrderedDict[str, Prepared] = OrderedDict()

    def look_ahead(self, session_path: str, request: RequestFacts) -> NotYet | None:
        """Start the DNS lookup for a certificate whose decision comes next. Raises Refused without a certificate.

        `NotYet` is for the decision: it had better wait for this before it is asked for (`decide`, with `early`).
        """
        prepared = _prepare(self._leaf(session_path, None), self._policies.current, request)
        if isinstance(prepared, Prepared):
            self._looked_ahead[session_path] = prepared
            if len(self._looked_ahead) > _MAX_LOOKED_AHEAD:
                self._looked_ahead.popitem(last=False)
            lookup = self._lookups.start_lookup(prepared.name, Cause.CERTIFICATE)
            if isinstance(lookup, Lookup):
                wait = self._waits.enter_early(lookup, Authentication(session_path, request, prepared=prepared))
                if wait is not None:
                    return NotYet(wait.text)
        return None

    def decide(self, authentication: Authentication, early: str | None = None) -> Decision | NotYet:
        """The decision about the certificate of a finished handshake.

        `early` is the wait that `look_ahead` gave, which is over. `NotYet` while the DNS is being asked.
        """
        answer = self._early_answer(early, authentication.session_path) if early else None
        policy = self._policies.current
        try:
            prepared = self._prepare(authentication, policy)
        except Refused as refusal:
            return Decision(refuse(refusal, policy))
        if isinstance(prepared, Ruling):
            return Decision(prepared)
        cached = answer is None
        answer = answer or self._lookups.find(prepared.name)
        if answer is not None:
            return self._conclude(prepared, answer, cached=cached)
        authentication.prepared = prepared
        outcome = self._waits.enter(prepared.name, authentication)
        if isinstance(outcome, Wait):
            return NotYet(outcome.text)
        return self._conclude(prepared, outcome, cached=False)

    def decide_after(self, wait: Wait[Authentication]) -> Decision:
        """The decision after a wait, by the policy that is in force by now."""
        prepared = wait.subject.prepared
        assert prepared is not None
        answer = self._waits.answer(wait)
        policy = self._policies.current
        if prepared.policy is not policy:
            again = _prepare(prepared.leaf, policy, wait.subject.request)
            if isinstance(again, Ruling):
                return Decision(again)
            if again.name != prepared.name:
                answer = self._lookups.find(again.name) or Unavailable("the policy changed while the DNS was asked")
            prepared = again
        return self._conclude(prepared, answer, cached=False)

    def _early_answer(self, wait: str, session_path: str) -> Answer | None:
        """What the lookup that was started for this session has said by now; None if nothing yet."""
        found = self._waits.leave(wait)
        if found is None or found.subject.session_path != session_path or found.awaited.answer is None:
            return None
        return self._waits.answer(found)

    def _prepare(self, authentication: Authentication, policy: Policy) -> Prepared | Ruling:
        """What policy says of the certificate; from looking ahead, if that was for the same place and policy.

        Raises Refused when there is no certificate.
        """
        request = authentication.request
        if self._looked_ahead:
            prepared = self._looked_ahead.pop(authentication.session_path, None)
            if prepared is not None and prepared.policy is policy and prepared.request == request:
                return prepared
        return _prepare(self._leaf(authentication.session_path, authentication.stored), policy, request)

    def _leaf(self, session_path: str, stored: str | None) -> Leaf:
        directory = self._session.directory
        if session_path or stored is None or not self._session.resumption:
            return _parse_leaf(read_session_file(session_path, directory=directory))
        return _parse_leaf(read_resumed(stored, directory=directory))

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
        """The anchors for a name, as they are now: one may just have been removed, or found for this very device."""
        self._anchors.refresh()
        return self._anchors.for_name(name)


def internal_error(error: Exception) -> Decision:
    """The reject that a mistake of ours comes to: with its reason, where a traceback would have none."""
    return Decision(Ruling(Verdict.REJECT, ReasonCode.INTERNAL_ERROR, f"{type(error).__name__}: {error}"))
