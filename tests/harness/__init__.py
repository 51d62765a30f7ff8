"""Real daemons for tests, the demo and the benchmarks: started in folders of their own, awaited, and ended.

| to have | take | from |
| --- | --- | --- |
| an authoritative server that signs and takes updates | `Knot`, `Zone` | `knot` |
| a zone signed with any algorithm, or changed after it was signed | `signed_zone`, `tampered_zone` | `zones` |
| a validating resolver | `Unbound` | `unbound` |
| a RADIUS server that decides by DANE | `FreeRadius` | `freeradius` |
| a RADIUS server that accepts the certificates of one CA | `EapTlsServer` | `eap_tls_server` |
| a switch with ports, VLANs, and a lossy uplink if wanted | `Switch`, `Cable` | `switch` |
| a device with interfaces of its own, and its wpa_supplicant | `DeviceNetwork` | `device` |
| an EAP peer without an interface, and a network block | `authenticate`, `write_peer_config` | `eap` |
| the trust-sync worker, and a registry's HTTPS side | `TrustSync`, `WebServer` | `trust_sync` |
| Prometheus | `Prometheus` | `prometheus` |
| lost RADIUS packets; a function that sees each packet | `Relay`, `Loss` | `relay` |
| a distant, lossy or silent DNS server | `DnsDelay` | `dns_delay` |
| keys and certificates, honest and dishonest | `authority`, `Authority`, `Identity` | `pki` |
| an SSL_SESSION as FreeRADIUS writes it | `server_session` | `tls_session` |
| another daemon; a condition that becomes true | `start`, `wait_for`, `wait_for_async` | `process` |

The rest serves these: `deploy` puts the packages where the RADIUS server's user can read them, `private_net` hands out
addresses between host and switch, `demonstration` runs the demo's command.
"""
