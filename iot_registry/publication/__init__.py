"""Publication: the TLSA records that the DNS must serve, the updates that make it serve them, and waiting for that."""
