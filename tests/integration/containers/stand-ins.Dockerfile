# Debian's PostgreSQL and Prometheus in place of the official images of compose.yaml, where no image registry is
# reachable. Versions differ; users, folders, environment and commands are those of the official images.
ARG BASE=docker.io/library/debian:bookworm-20251229-slim

FROM ${BASE} AS postgres
RUN groupadd --system --gid 999 postgres && useradd --system --uid 999 --gid 999 --no-create-home postgres \
 && apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends postgresql-15 \
 && rm -rf /var/lib/apt/lists/* /var/lib/postgresql/15 /etc/postgresql \
 && install -d -o postgres -g postgres -m 0700 /var/lib/postgresql/data
COPY tests/integration/containers/stand-in-postgres /usr/local/bin/docker-entrypoint.sh
ENV PGDATA=/var/lib/postgresql/data PATH=/usr/lib/postgresql/15/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
USER 999:999
CMD ["docker-entrypoint.sh"]

FROM ${BASE} AS prometheus
RUN apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends prometheus \
 && rm -rf /var/lib/apt/lists/* /etc/prometheus/* && install -d -o 65534 -g 65534 /prometheus
USER 65534:65534
ENTRYPOINT ["prometheus"]

# A host with the Debian packages that the systemd units rely on. `script/images boot` adds the rest as docs/ says.
FROM ${BASE} AS host
RUN apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends \
      dbus dns-root-data freeradius freeradius-python3 logrotate procps python3 systemd systemd-sysv unbound \
 && rm -rf /var/lib/apt/lists/*
CMD ["/lib/systemd/systemd"]
