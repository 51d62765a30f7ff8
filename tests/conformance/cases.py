"""The conformance table: the TLSA RRset, the anchors and the policy for a chain, and the decision that has to follow.

A record is written `usage selector matching-type role`, where the role is a certificate of the chain, `stranger` (a
certificate of another device), or `=HEX*N` (octets). An anchor is a role, with `@domain` for another identity domain
and `!source` for another source than the registry.
"""

from __future__ import annotations

from dataclasses import dataclass

MATCH, MISMATCH, UNUSABLE, CHAIN = "dane_match", "tlsa_mismatch", "tlsa_unusable", "chain_invalid"
STRENGTH = "policy_strength"


@dataclass(frozen=True)
class Case:
    """One row. `openssl`: None if OpenSSL agrees, "-" if it cannot judge, or else why it differs."""

    id: str
    chain: str
    records: str
    expect: str
    anchors: str = ""
    require: str = "any"
    pkix_cd: bool = False
    openssl: str | None = None


def _matrix() -> list[Case]:
    """Every usage with every selector and matching type: the right certificate, and another device's."""
    cases = []
    for usage, role in ((0, "root"), (1, "leaf"), (2, "root"), (3, "leaf"), (4, "leaf")):
        for selector in (0, 1):
            for matching in (0, 1, 2):
                form = f"{usage} {selector} {matching}"
                wrong = CHAIN if usage == 2 else MISMATCH
                differs = "-" if usage == 4 else None
                cases += [
                    Case(f"right {form}", "plain", f"{form} {role}", MATCH, "root", pkix_cd=True, openssl=differs),
                    Case(f"wrong {form}", "plain", f"{form} stranger", wrong, "root", pkix_cd=True, openssl=differs),
                    # An end-entity record that names the CA, and the other way round.
                    Case(f"swapped {form}", "plain", f"{form} {'leaf' if role == 'root' else 'root'}",
                         wrong, "root", pkix_cd=True, openssl=differs),
                    Case(f"inter {form}", "inter", f"{form} {role}", MATCH, "root inter",
                         pkix_cd=True, openssl=differs),
                ]  # fmt: skip
    return cases


BARE_KEY = "OpenSSL trusts a published bare key; without its certificate it has no dates and no constraints"
ONE_PATH = "OpenSSL follows one path and tries no second issuer of the same name"
IGNORES_STRENGTH = "OpenSSL knows no policy on the strength of a match"
DOMAIN = "OpenSSL knows no bounds on what a held anchor may vouch for"
SOURCE = "OpenSSL does not know where an anchor came from"

CASES: list[Case] = [
    *_matrix(),
    # --- DANE-EE: the key alone, whatever else is wrong with the certificate (RFC 7671 section 5.1) ---
    Case("ee expired", "expired-leaf", "3 1 1 leaf", MATCH),
    Case("ee future", "future-leaf", "3 1 1 leaf", MATCH),
    Case("ee self-signed", "self-signed", "3 1 1 leaf", MATCH),
    Case("ee self-signed cert", "self-signed", "3 0 1 leaf", MATCH),
    Case("ee wrong eku", "eku-server", "3 1 1 leaf", MATCH),
    Case("ee critical extension", "critical-leaf", "3 1 1 leaf", MATCH),
    Case("ee sha1", "sha1-leaf", "3 1 1 leaf", MATCH),
    Case("ee wrong issuer key", "wrong-key", "3 0 1 leaf", MATCH),
    Case("ee p384", "p384", "3 1 1 leaf", MATCH),
    Case("ee ed25519", "ed25519", "3 1 1 leaf", MATCH),
    Case("ee rsa2048", "rsa2048", "3 1 1 leaf", MATCH),
    Case("ee needs no anchor", "inter", "3 1 1 leaf", MATCH),
    Case("ee of another device", "other-device", "3 1 1 b2", MISMATCH),
    Case("ee issuer key", "plain", "3 1 1 root", MISMATCH, "root"),
    # --- several records ---
    Case("second matches", "plain", "3 1 1 stranger; 3 1 1 leaf", MATCH),
    Case("first matches", "plain", "3 1 1 leaf; 3 1 1 stranger", MATCH),
    Case("duplicate", "plain", "3 1 1 leaf; 3 1 1 leaf", MATCH),
    Case("none of three", "plain", "3 1 1 stranger; 3 0 1 stranger; 3 1 1 root", MISMATCH),
    Case("rollover", "plain", "3 1 1 stranger; 3 0 1 leaf", MATCH),
    Case("another usage matches", "plain", "2 0 1 stranger; 3 1 1 leaf", MATCH),
    Case("ta beside ee", "plain", "3 1 1 stranger; 2 0 1 root", MATCH, "root"),
    Case("pkix-ee beside ee", "plain", "3 1 1 stranger; 1 1 1 leaf", MATCH, "root"),
    Case("broken ta path beside ee", "expired-root", "2 0 1 root; 3 1 1 leaf", MATCH, "root"),
    # --- digest agility (RFC 7671 section 9) ---
    Case("agility weak match only", "plain", "3 1 1 leaf; 3 1 2 stranger", MISMATCH),
    Case("agility weak match only, other order", "plain", "3 1 2 stranger; 3 1 1 leaf", MISMATCH),
    Case("agility strong match", "plain", "3 1 1 stranger; 3 1 2 leaf", MATCH),
    Case("agility both", "plain", "3 1 1 leaf; 3 1 2 leaf", MATCH),
    Case("agility per selector", "plain", "3 1 1 leaf; 3 0 2 stranger", MATCH),
    Case("agility per usage", "plain", "3 1 1 leaf; 2 1 2 stranger", MATCH),
    Case("agility full always counts", "plain", "3 1 0 leaf; 3 1 2 stranger", MATCH),
    Case("agility full does not beat", "plain", "3 1 0 stranger; 3 1 1 leaf", MATCH),
    Case("agility unusable strong", "plain", "3 1 1 leaf; 3 1 2 =aa*63", MATCH),
    Case("agility unknown type", "plain", "3 1 1 leaf; 3 1 3 =aa*128", MATCH),
    Case("agility ta", "plain", "2 0 1 root; 2 0 2 stranger", CHAIN, "root"),
    Case("agility ta strong", "plain", "2 0 1 stranger; 2 0 2 root", MATCH, "root"),
    Case("agility pkix-ta", "plain", "0 0 1 root; 0 0 2 stranger", MISMATCH, "root"),
    Case("agility pkix-ee", "plain", "1 1 1 leaf; 1 1 2 stranger", MISMATCH, "root"),
    # --- unusable, one by one (RFC 6698 section 4.1, RFC 7671 section 10.3) ---
    Case("unusable usage 5", "plain", "5 1 1 leaf", UNUSABLE),
    Case("unusable usage 255", "plain", "255 1 1 leaf", UNUSABLE),
    Case("unusable pkix-cd", "plain", "4 1 1 leaf", UNUSABLE, "root"),
    Case("unusable selector 2", "plain", "3 2 1 =aa*32", UNUSABLE),
    Case("unusable selector 255", "plain", "3 255 1 =aa*32", UNUSABLE),
    Case("unusable type 3", "plain", "3 1 3 =aa*32", UNUSABLE),
    Case("unusable type 255", "plain", "3 1 255 =aa*32", UNUSABLE),
    Case("unusable short sha256", "plain", "3 1 1 =aa*31", UNUSABLE),
    Case("unusable sha1 length", "plain", "3 1 1 =aa*20", UNUSABLE),
    Case("unusable long sha256", "plain", "3 1 1 =aa*33", UNUSABLE),
    Case("unusable sha512 of 32", "plain", "3 1 2 =aa*32", UNUSABLE),
    Case("unusable one octet", "plain", "3 1 1 =aa*1", UNUSABLE),
    Case("unusable full garbage", "plain", "3 0 0 =30*200", UNUSABLE),
    Case("unusable full key garbage", "plain", "3 1 0 =30*91", UNUSABLE),
    Case("unusable full of zeros", "plain", "2 0 0 =00*300", UNUSABLE, "root"),
    Case("unusable all sorts", "plain", "5 1 1 leaf; 3 9 1 =aa*32; 3 1 9 =aa*32; 3 1 1 =aa*5", UNUSABLE),
    *[
        Case(f"good beside {bad}", "plain", f"{bad}; 3 1 1 leaf", MATCH)
        for bad in ("5 1 1 leaf", "3 2 1 =aa*32", "3 1 3 =aa*32", "3 1 1 =aa*31", "3 0 0 =30*200", "3 1 0 =00*50")
    ],
    *[
        Case(f"mismatch beside {bad}", "plain", f"{bad}; 3 1 1 stranger", MISMATCH)
        for bad in ("5 1 1 leaf", "3 2 1 =aa*32", "3 1 3 =aa*32")
    ],
    # --- DANE-TA ---
    Case("ta held inter", "inter", "2 0 1 inter", MATCH, "inter"),
    Case("ta root without inter", "inter", "2 0 1 root", CHAIN, "root"),
    Case("ta foreign inter", "inter", "2 0 1 root", CHAIN, "root stranger"),
    Case("ta not held", "plain", "2 0 1 root", CHAIN),
    Case("ta two intermediates", "inter2", "2 1 1 root", MATCH, "root inter inter2"),
    Case("ta middle", "inter2", "2 1 1 inter", MATCH, "inter inter2"),
    Case("ta middle missing", "inter2", "2 1 1 root", CHAIN, "root inter2"),
    Case("ta from dns", "plain", "2 0 0 root", MATCH),
    Case("ta from dns of another", "plain", "2 0 0 stranger", CHAIN),
    Case("ta from dns, with intermediate", "inter", "2 0 0 root; 2 0 0 inter", MATCH),
    Case("ta from dns, intermediate held", "inter", "2 0 0 root", MATCH, "inter"),
    Case("ta from dns, intermediate alone", "inter", "2 0 0 inter", MATCH),
    Case("ta from dns, intermediate missing", "inter", "2 0 0 root", CHAIN),
    Case("ta full key, held", "plain", "2 1 0 root", MATCH, "root"),
    Case("ta full key, not held", "plain", "2 1 0 root", CHAIN, openssl=BARE_KEY),
    Case("ta full key of another", "plain", "2 1 0 stranger", CHAIN, "root"),
    Case("ta is the leaf", "plain", "2 0 0 leaf", CHAIN, "root"),
    Case("ta is the self-signed leaf", "self-signed", "2 0 0 leaf", CHAIN),
    Case("ta digest of the self-signed leaf", "self-signed", "2 0 1 leaf", CHAIN),
    Case("ta expired leaf", "expired-leaf", "2 0 1 root", CHAIN, "root"),
    Case("ta future leaf", "future-leaf", "2 0 1 root", CHAIN, "root"),
    Case("ta expired", "expired-root", "2 0 1 root", CHAIN, "root"),
    Case("ta expired, from dns", "expired-root", "2 0 0 root", CHAIN),
    Case("ta future", "future-root", "2 0 1 root", CHAIN, "root"),
    Case("ta expired intermediate", "expired-inter", "2 0 1 root", CHAIN, "root inter"),
    Case("ta to the last second", "last-second", "2 0 1 root", MATCH, "root",
         openssl="OpenSSL counts the second of notAfter as expired; RFC 5280 section 4.1.2.5 includes it"),
    Case("ta longest path", "long", "2 0 1 root", MATCH, "root c1 c2 c3 c4 c5 c6 c7"),
    Case("ta path too long", "too-long", "2 0 1 root", CHAIN, "root c1 c2 c3 c4 c5 c6 c7 c8 c9",
         openssl="OpenSSL allows 100 certificates; no device has so many"),
    Case("ta not a ca", "not-ca", "2 0 1 root", CHAIN, "root"),
    Case("ta not a ca, from dns", "not-ca", "2 0 0 root", CHAIN),
    Case("ta no basic constraints", "no-constraints", "2 0 1 root", CHAIN, "root"),
    Case("ta intermediate not a ca", "not-ca-inter", "2 0 1 root", CHAIN, "root inter"),
    Case("ta device as a ca", "device-as-ca", "2 0 1 root", CHAIN, "root mallory"),
    Case("ta device as the ta", "device-as-ca", "2 0 0 mallory", CHAIN),
    Case("ta path length 0", "pathlen-0", "2 0 1 root", CHAIN, "root inter"),
    Case("ta path length 0, direct", "pathlen-0-direct", "2 0 1 root", MATCH, "root"),
    Case("ta path length 1", "pathlen-1", "2 0 1 root", MATCH, "root inter"),
    Case("ta path length 1 of 2", "pathlen-1-of-2", "2 0 1 root", CHAIN, "root inter inter2"),
    Case("ta path length of intermediate", "pathlen-inter", "2 0 1 root", CHAIN, "root inter inter2"),
    Case("ta path length, self-issued", "pathlen-self-issued", "2 0 1 root", MATCH, "root inter"),
    Case("ta key usage", "cert-sign", "2 0 1 root", MATCH, "root"),
    Case("ta without keyCertSign", "no-cert-sign", "2 0 1 root", CHAIN, "root"),
    Case("ta intermediate without keyCertSign", "no-cert-sign-inter", "2 0 1 root", CHAIN, "root inter"),
    Case("ta leaf may not sign", "leaf-no-signature", "2 0 1 root", CHAIN, "root"),
    Case("ta leaf for key agreement", "leaf-key-agreement", "2 0 1 root", CHAIN, "root",
         openssl="OpenSSL lets keyAgreement stand in for digitalSignature (static ECDH, which EAP-TLS has not)"),
    Case("ta eku absent", "eku-absent", "2 0 1 root", MATCH, "root"),
    Case("ta eku any", "eku-any", "2 0 1 root", MATCH, "root",
         openssl="OpenSSL 3.0 does not take anyExtendedKeyUsage for clientAuth; RFC 5216 section 5.3 does"),
    Case("ta eku server and client", "eku-both", "2 0 1 root", MATCH, "root"),
    Case("ta eku server", "eku-server", "2 0 1 root", CHAIN, "root"),
    Case("ta eku of intermediate", "eku-server-inter", "2 0 1 root", CHAIN, "root inter"),
    Case("ta eku of intermediate fits", "eku-client-inter", "2 0 1 root", MATCH, "root inter"),
    Case("ta eku of root", "eku-server-root", "2 0 1 root", CHAIN, "root"),
    Case("ta critical extension", "critical-root", "2 0 1 root", CHAIN, "root"),
    Case("ta critical extension in leaf", "critical-leaf", "2 0 1 root", CHAIN, "root"),
    Case("ta wrong signature", "wrong-key", "2 0 1 root", CHAIN, "root"),
    Case("ta wrong signature of intermediate", "wrong-key-inter", "2 0 1 root", CHAIN, "root inter"),
    Case("ta sha1 on leaf", "sha1-leaf", "2 0 1 root", CHAIN, "root"),
    Case("ta sha1 on intermediate", "sha1-inter", "2 0 1 root", CHAIN, "root inter"),
    Case("ta sha1 on self-issued intermediate", "sha1-self-issued", "2 0 1 root", CHAIN, "root inter"),
    Case("ta sha1 on itself", "sha1-root", "2 0 1 root", MATCH, "root"),
    Case("ta rsa 1024 leaf", "rsa1024-leaf", "2 0 1 root", CHAIN, "root"),
    Case("ta rsa 1024 root", "rsa1024-root", "2 0 1 root", CHAIN, "root"),
    Case("ta rsa 2048", "rsa2048", "2 0 1 root", MATCH, "root"),
    Case("ta p384", "p384", "2 0 1 root", MATCH, "root"),
    Case("ta p521", "p521", "2 0 1 root", MATCH, "root"),
    Case("ta p192", "p192-root", "2 0 1 root", CHAIN, "root"),
    Case("ta ed25519", "ed25519", "2 0 1 root", MATCH, "root"),
    Case("ta twin of the same name", "twin", "2 0 1 root", MATCH, "twin root"),
    Case("ta twin without key identifiers", "twin-without-ids", "2 0 1 root", MATCH, "twin root", openssl=ONE_PATH),
    Case("ta twin alone", "twin", "2 0 1 twin", CHAIN, "twin root"),
    Case("ta twin from dns", "twin", "2 0 0 twin", CHAIN),
    Case("ta cross-signed", "cross", "2 0 1 other", MATCH, "cross other"),
    Case("ta cross-signed, both ways held", "cross", "2 0 1 other", MATCH, "root inter cross other", openssl=ONE_PATH),
    Case("ta cross-signed, first way", "cross", "2 0 1 root", MATCH, "cross other inter root", openssl=ONE_PATH),
    Case("ta loop", "loop", "2 0 1 b", MATCH, "a b a-by-b b-by-a", openssl=ONE_PATH),
    Case("ta loop without end", "loop", "2 0 1 stranger", CHAIN, "a-by-b b-by-a"),
    Case("ta renewed root", "same-key-root", "2 0 1 renewed", MATCH, "root renewed", openssl=ONE_PATH),
    Case("ta renewed root by key", "same-key-root", "2 1 1 root", MATCH, "renewed"),
    Case("ta self-issued leaf name", "self-issued", "2 0 1 root", MATCH, "root"),
    Case("ta name in capitals", "uid-names", "2 0 1 root", MATCH, "root"),
    Case("ta no subject", "no-subject", "2 0 1 root", MATCH, "root"),
    Case("ta other names beside", "ip-and-name", "2 0 1 root", MATCH, "root"),
    # --- name constraints (RFC 5280 section 4.2.1.10) ---
    *[
        Case(f"{usage} {chain}", chain, record, expect, anchors)
        for usage, record in (("ta", "2 0 1 root"), ("pkix-ee", "1 1 1 leaf"))
        for chain, expect, anchors in (
            ("permitted", MATCH, "root"),
            ("permitted-exact", MATCH, "root"),
            ("permitted-case", MATCH, "root"),
            ("permitted-other", CHAIN, "root"),
            ("permitted-suffix", CHAIN, "root@some.net"),
            ("permitted-label", CHAIN, "root"),
            ("permitted-dot", CHAIN, "root"),
            ("permitted-dot-below", MATCH, "root"),
            ("permitted-several", MATCH, "root"),
            ("permitted-second-name", CHAIN, "root"),
            ("permitted-ip", MATCH, "root"),
            ("permitted-ip-other", CHAIN, "root"),
            ("permitted-ip-none", MATCH, "root"),
            ("permitted-directory", MATCH, "root"),
            ("permitted-directory-other", CHAIN, "root"),
            ("permitted-mail", CHAIN, "root"),
            ("permitted-inter", CHAIN, "root inter"),
            ("excluded", CHAIN, "root"),
            ("excluded-label", CHAIN, "root"),
            ("excluded-other", MATCH, "root"),
            ("excluded-second-name", CHAIN, "root"),
            ("excluded-beats-permitted", CHAIN, "root"),
            ("excluded-directory", CHAIN, "root"),
        )
    ],
    Case("ta permitted by the wrong side", "permitted-root-inter", "2 0 1 root", CHAIN, "root inter"),
    Case("pkix-ee constraint above the anchor", "permitted-root-inter", "1 1 1 leaf", MATCH, "root inter"),
    # --- PKIX-EE and PKIX-TA: besides the match, a valid chain to an anchor of the network ---
    Case("pkix-ee no anchor", "plain", "1 1 1 leaf", CHAIN),
    Case("pkix-ee expired", "expired-leaf", "1 1 1 leaf", CHAIN, "root"),
    Case("pkix-ee future", "future-leaf", "1 1 1 leaf", CHAIN, "root"),
    Case("pkix-ee expired root", "expired-root", "1 1 1 leaf", CHAIN, "root"),
    Case("pkix-ee wrong eku", "eku-server", "1 1 1 leaf", CHAIN, "root"),
    Case("pkix-ee wrong signature", "wrong-key", "1 1 1 leaf", CHAIN, "root"),
    Case("pkix-ee missing intermediate", "inter", "1 1 1 leaf", CHAIN, "root"),
    Case("pkix-ee intermediate is anchor", "inter", "1 1 1 leaf", MATCH, "inter"),
    Case("pkix-ee self-signed", "self-signed", "1 1 1 leaf", CHAIN),
    Case("pkix-ee self-signed, held", "self-signed", "1 1 1 leaf", MATCH, "leaf"),
    Case("pkix-ee self-signed, held from dns", "self-signed", "1 1 1 leaf", CHAIN, "leaf!leaf", openssl=SOURCE),
    Case("pkix-ee twin", "twin", "1 1 1 leaf", CHAIN, "twin"),
    Case("pkix-ee both twins", "twin", "1 1 1 leaf", MATCH, "twin root"),
    Case("pkix-ee anchor from dns", "plain", "1 1 1 leaf", CHAIN, "root!dane-ta", openssl=SOURCE),
    Case("pkix-ee anchor by hand", "plain", "1 1 1 leaf", MATCH, "root!manual"),
    Case("pkix-ta anchor from dns", "plain", "0 0 1 root", CHAIN, "root!dane-ta", openssl=SOURCE),
    Case("pkix-ta no anchor", "plain", "0 0 1 root", CHAIN),
    Case("pkix-ta published only", "plain", "0 0 0 root", CHAIN),
    Case("pkix-ta intermediate", "inter", "0 0 1 inter", MATCH, "root inter"),
    Case("pkix-ta root above the first anchor", "inter", "0 0 1 root", MATCH, "inter root"),
    Case("pkix-ta beside the way", "cross", "0 0 1 stranger", MISMATCH, "root inter stranger"),
    Case("pkix-ta expired", "expired-leaf", "0 0 1 root", CHAIN, "root"),
    Case("pkix-ta expired root", "expired-root", "0 0 1 root", CHAIN, "root"),
    Case("pkix-ta is the leaf", "self-signed", "0 0 1 leaf", MISMATCH, "leaf"),
    Case("pkix-ta key", "inter", "0 1 1 root", MATCH, "root inter"),
    # --- anchors beyond their domain ---
    Case("ta of another domain", "plain", "2 0 1 root", CHAIN, "root@_device.example.org", openssl=DOMAIN),
    Case("ta of a sibling", "plain", "2 0 1 root", CHAIN, "root@_sensor.example.net", openssl=DOMAIN),
    Case("ta of a deeper domain", "plain", "2 0 1 root", CHAIN, "root@camera._device.example.net", openssl=DOMAIN),
    Case("ta of a look-alike", "plain", "2 0 1 root", CHAIN, "root@ice.example.net", openssl=DOMAIN),
    Case("ta of the parent", "plain", "2 0 1 root", MATCH, "root@example.net"),
    Case("ta of another domain, from dns", "plain", "2 0 0 root", MATCH, "root@_device.example.org"),
    Case("pkix-ee of another domain", "plain", "1 1 1 leaf", CHAIN, "root@_device.example.org", openssl=DOMAIN),
    Case("pkix-ta of another domain", "plain", "0 0 1 root", CHAIN, "root@_device.example.org", openssl=DOMAIN),
    Case("ta intermediate of another domain", "inter", "2 0 1 root", CHAIN, "root inter@example.org", openssl=DOMAIN),
    # --- PKIX-CD, where policy opts in ---
    Case("cd no anchor", "plain", "4 0 0 leaf", CHAIN, pkix_cd=True, openssl="-"),
    Case("cd expired", "expired-leaf", "4 0 0 leaf", CHAIN, "root", pkix_cd=True, openssl="-"),
    Case("cd held from its url", "plain", "4 0 0 leaf", MATCH, "root!pkix-cd", pkix_cd=True, openssl="-"),
    Case("cd another domain", "plain", "4 0 0 leaf", CHAIN, "root@example.org", pkix_cd=True, openssl="-"),
    Case("cd beside ee", "plain", "4 1 1 stranger; 3 1 1 leaf", MATCH, pkix_cd=True),
    Case("cd not opted in, beside ee", "plain", "4 1 1 leaf; 3 1 1 stranger", MISMATCH, "root"),
    # --- the strength that policy requires ---
    Case("require dane_ee", "plain", "3 1 1 leaf", MATCH, require="dane_ee"),
    Case("require dane_ee, ta", "plain", "2 0 1 root", STRENGTH, "root", "dane_ee", openssl=IGNORES_STRENGTH),
    Case("require dane_ee, pkix-ee", "plain", "1 1 1 leaf", STRENGTH, "root", "dane_ee", openssl=IGNORES_STRENGTH),
    Case("require dane_ee, both", "plain", "2 0 1 root; 3 1 1 leaf", MATCH, "root", "dane_ee"),
    Case("require dane_ee, ee does not match", "plain", "2 0 1 root; 3 1 1 stranger", MISMATCH, "root", "dane_ee",
         openssl=IGNORES_STRENGTH),
    Case("require no_ca, ta", "plain", "2 0 1 root", MATCH, "root", "no_ca"),
    Case("require no_ca, pkix-ta", "plain", "0 0 1 root", STRENGTH, "root", "no_ca", openssl=IGNORES_STRENGTH),
    Case("require no_ca, pkix-ee", "plain", "1 1 1 leaf", STRENGTH, "root", "no_ca", openssl=IGNORES_STRENGTH),
    Case("require pkix, pkix-ee", "plain", "1 1 1 leaf", MATCH, "root", "pkix"),
    Case("require pkix, ee", "plain", "3 1 1 leaf", STRENGTH, "root", "pkix", openssl=IGNORES_STRENGTH),
    Case("require pkix, ta", "plain", "2 0 1 root", STRENGTH, "root", "pkix", openssl=IGNORES_STRENGTH),
    Case("require pkix, ee and pkix-ta", "plain", "3 1 1 leaf; 0 0 1 root", MATCH, "root", "pkix"),
    Case("require pkix, cd", "plain", "4 1 1 leaf", STRENGTH, "root", "pkix", True, openssl="-"),
]  # fmt: skip

NO_AGILITY = "libgnutls-dane takes any matching digest, and leaves the digest agility of RFC 7671 section 9 out"
GNUTLS_DIFFERENCES: dict[str, str] = {
    "agility weak match only": NO_AGILITY,
    "agility weak match only, other order": NO_AGILITY,
    "agility pkix-ee": NO_AGILITY,
}
