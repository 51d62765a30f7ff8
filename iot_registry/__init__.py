"""Reference IoT registry: issues device certificates, publishes TLSA records and revokes them."""
