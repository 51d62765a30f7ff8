"""DANE authorization for EAP-TLS: does the DNS vouch for this client certificate, and what may it do?"""

__version__ = "0.1.0"
