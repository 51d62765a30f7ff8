"""Searches for the anchors of a name: secure TLSA records, perhaps one HTTPS request, and the installation.

Only anchors to which DNSSEC-validated records lead are installed. The caller limits who may start a search.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

from dane_radius.core import Answer, Secure
from dane_radius.local import RecentlySeen
from trust_sync.anchors import CertificateRefused
from trust_sync.discovery.candidates import (
    AuthorityUrl,
    Candidate,
    CandidateAnchor,
    UnusableRecord,
    check_fetched,
    find_candidates,
)
from trust_sync.discovery.context import DiscoveryContext
from trust_sync.discovery.fetch import Fetcher, FetchFailed
from trust_sync.discovery.installer import Installer
from trust_sync.discovery.outcome import Outcome, SearchLog
from trust_sync.discovery.reasons import (
    DiscoveryStatus,
    Reason,
    reason_of_answer,
    reason_of_certificate,
    reason_of_fetch,
)

# The most certificates of one name's records that are installed. A rollover needs two.
MAX_ANCHORS_PER_NAME = 4


class AnchorSearch:
    """Searches for anchors, one name at a time. clock: seconds of a monotonic clock."""

    def __init__(
        self,
        context: DiscoveryContext,
        fetcher: Fetcher,
        installer: Installer,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._context, self._fetcher, self._installer, self._clock = context, fetcher, installer, clock
        self._failed_urls = RecentlySeen(context.config.negative_ttl)

    async def find(self, name: str) -> Outcome:
        """Search for the anchors of a normalized name. URLs that failed recently are not fetched."""
        return await self._search(name, await self._context.dns.tlsa(name), self._failed_recently)

    async def find_again(self, name: str, answer: Answer) -> Outcome:
        """Search again, given the DNS answer. URLs that failed recently are fetched, too."""
        return await self._search(name, answer, lambda url: False)

    def _failed_recently(self, url: str) -> bool:
        return (url, self._clock()) in self._failed_urls

    async def _search(self, name: str, answer: Answer, is_avoided: Callable[[str], bool]) -> Outcome:
        """Install all certificates in the records or, if there are none, the first CA that can be fetched.

        The records contain two certificates while a CA is being replaced.
        """
        log = SearchLog(name)
        problem = reason_of_answer(answer)
        if problem or not isinstance(answer, Secure):
            reason, detail = problem or (Reason.INTERNAL_ERROR, "")
            log.fail(reason, detail)
            return log.refused(reason, detail)
        log.note(f"TLSA: secure, {', '.join(record.short for record in answer.records)} (TTL {answer.ttl} s)")
        pkix_cd = self._context.policy().allows_pkix_cd(name)
        outcome: Outcome | None = None
        for candidate in find_candidates(answer.records, name, self._context.now(), pkix_cd=pkix_cd):
            if outcome is not None and not _is_wanted_beside(outcome, candidate):
                break
            another = await self._try(candidate, log, float(answer.ttl), is_avoided)
            if outcome is None:
                outcome = another
            elif another is not None and another.fingerprint is not None:
                outcome = replace(outcome, also=(*outcome.also, another.fingerprint), steps=another.steps)
        if outcome is not None:
            return outcome
        reason, detail = log.problem or (
            Reason.NO_CERTIFICATE_IN_DNS,
            "no TLSA record contains a certificate that is an anchor or leads to one",
        )
        return log.refused(reason, detail)

    async def _try(
        self, candidate: Candidate, log: SearchLog, ttl: float, is_avoided: Callable[[str], bool]
    ) -> Outcome | None:
        """Fetch a candidate if necessary, and install it. None: that failed, as the log says."""
        match candidate:
            case UnusableRecord(reason, detail):
                log.fail(reason, detail)
                return None
            case AuthorityUrl():
                fetched = await self._fetch(candidate, log, is_avoided)
                if fetched is None:
                    return None
                anchor, max_age = fetched
                return self._install(anchor, log, min(ttl, max_age) if max_age is not None else ttl)
            case CandidateAnchor():
                return self._install(candidate, log, ttl)

    async def _fetch(
        self, location: AuthorityUrl, log: SearchLog, is_avoided: Callable[[str], bool]
    ) -> tuple[CandidateAnchor, float | None] | None:
        """Fetch a CA. Returns it with the seconds of its Cache-Control. None: that failed, as the log says."""
        url = f"https://{location.host}{location.path}"
        if is_avoided(url):
            log.fail(Reason.FAILED_RECENTLY, f"{url} failed less than {self._context.config.negative_ttl:g} s ago")
            return None
        log.note(f"PKIX-CD: {url}")
        try:
            fetched = await self._fetcher.get(location.host, location.path)
            return check_fetched(location, fetched.body, log.name, self._context.now()), fetched.max_age
        except FetchFailed as error:
            log.fail(reason_of_fetch(error.problem), str(error))
        except CertificateRefused as error:
            log.fail(reason_of_certificate(error.problem), f"{url}: {error}")
        self._failed_urls.add(url, self._clock())
        return None

    def _install(self, anchor: CandidateAnchor, log: SearchLog, ttl: float) -> Outcome | None:
        if problem := self._installer.install(anchor, log.name):
            log.fail(*problem)
            return None
        subject = anchor.certificate.subject_text or "(empty subject)"
        what = f"{anchor.source}: {subject} for {', '.join(anchor.domains)}"
        log.note(what)
        return Outcome(
            log.name,
            DiscoveryStatus.FOUND,
            Reason.INSTALLED,
            what,
            (*log.steps,),
            anchor.certificate.fingerprint,
            anchor.source,
            ttl,
        )


def _is_wanted_beside(outcome: Outcome, candidate: Candidate) -> bool:
    """Whether a candidate is installed although one was found already. Nothing more is fetched."""
    return isinstance(candidate, CandidateAnchor) and len(outcome.also) + 1 < MAX_ANCHORS_PER_NAME
