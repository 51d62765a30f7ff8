"""Values and decisions without I/O: names, refusals, certificates, certificate requests, TLSA records."""
