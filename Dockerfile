# The RADIUS node: FreeRADIUS with the dane_radius module, and trust-sync beside it.
#
#   docker build -t dane-radius .
#   docker run -p 1812:1812/udp -p 1813:1813/udp -p 9812:9812 -v ./etc:/etc/dane-radius dane-radius
#
# It needs a validating resolver on its own loopback: Unbound is installed and started with the settings that
# DNSSEC-bound access control needs. Mount /etc/dane-radius to bring your own policy; with a trust-sync.toml in it,
# trust-sync runs, too. NASes belong into /etc/freeradius/3.0/clients.conf.
FROM docker.io/library/debian:bookworm-slim

ARG PIP_INDEX_URL
RUN apt-get update \
 && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends \
      ca-certificates freeradius freeradius-python3 freeradius-utils openssl \
      python3-venv ssl-cert tini unbound dns-root-data \
 && rm -rf /var/lib/apt/lists/*

COPY setup.cfg pyproject.toml README.md LICENSE /usr/src/dane-radius/
COPY dane_radius /usr/src/dane-radius/dane_radius
COPY policy /usr/src/dane-radius/policy
COPY trust_sync /usr/src/dane-radius/trust_sync
COPY freeradius /usr/src/dane-radius/freeradius
RUN --mount=type=secret,id=pip,target=/etc/pip.conf,required=false \
    /usr/bin/python3 -m venv /opt/dane-radius \
 && /opt/dane-radius/bin/pip install --no-cache-dir --disable-pip-version-check /usr/src/dane-radius \
 && ln -s /opt/dane-radius/bin/dane-radius /opt/dane-radius/bin/trust-sync /usr/local/bin/

COPY containers/unbound.conf /etc/unbound/unbound.conf.d/dane-radius.conf
COPY containers/start-node /usr/local/sbin/start-node
RUN mkdir -p /run/freeradius /var/lib/dane-radius/trust-sync \
 && chown freerad:freerad /run/freeradius \
 && useradd --system --no-create-home --shell /usr/sbin/nologin --gid freerad trust-sync \
 && dane-radius install --hint-socket /run/trust-sync/trust-sync.sock --accounting sqlite \
 && chown -R trust-sync:freerad /var/lib/dane-radius/anchors /var/lib/dane-radius/trust-sync

EXPOSE 1812/udp 1813/udp 9812 9813
ENTRYPOINT ["/usr/bin/tini", "--"]
CMD ["/usr/local/sbin/start-node"]
