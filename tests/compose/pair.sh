#!/bin/bash
# Brings docs/deploy/compose up with podman, in namespaces of its own, and asks from inside the agent's container.
#
# pair.sh REPOSITORY BINARIES ROOTFS SDK: the clone, the folder of tollgate and provider, Debian's files, and the
# packages of the Python SDK. Prints one line `NAME: …` for each thing it found out.
set -euo pipefail
repository=$1 binaries=$2 rootfs=$3 sdk=$4
here=$PWD

# Bridges, addresses and mounts end with this process; nothing of the machine is changed.
mount --make-rprivate /
ip link set lo up
export CONTAINERS_STORAGE_CONF=$here/storage.conf CONTAINERS_CONF=$here/containers.conf
cat >storage.conf <<STORAGE
[storage]
driver = "overlay"
graphroot = "$here/graph"
runroot = "$here/run"
STORAGE
cat >containers.conf <<CONTAINERS
[containers]
default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]
log_driver = "k8s-file"
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
[network]
network_backend = "netavark"
network_config_dir = "$here/networks"
CONTAINERS
mkdir -p project image networks
cp -r "$repository"/docs/deploy/compose/. project
install -t image "$binaries/tollgate"
provider= service=

end() {
  podman logs pair_gate_1 >"$here/gate.log" 2>&1 || true
  podman ps --all --quiet | xargs --no-run-if-empty podman rm --force --time 5 >/dev/null 2>&1 || true
  for started in $provider $service; do kill "$started" || true; done
}
trap end EXIT

# The images: Debian as the agent's own, and the gate's from its Containerfile, without a network (the host is this namespace).
tar --directory "$rootfs" --create . | podman import --quiet - localhost/agent >/dev/null
podman build --quiet --network host --isolation chroot --build-arg BASE=localhost/agent \
  --tag localhost/tollgate --file "$repository/deploy/image/Containerfile" image >/dev/null
echo "image: built"

# What stands for the internet: the provider, at an address that the networks of the containers are no part of.
cat >project/test.yaml <<'OVER'
services:
  gate:
    volumes: ["./provider-ca.pem:/etc/tollgate/provider-ca.pem:ro"]
  agent:
    command: [sleep, infinity]
    volumes: ["SDK:/sdk:ro"]
OVER
sed -i "s|SDK|$sdk|" project/test.yaml
cat >>project/tollgate.yaml <<'UPSTREAM'

upstream:
  ca: [provider-ca.pem]
  connect_to: ["api.openai.com:443:192.0.2.7:443"]
UPSTREAM
ip address add 192.0.2.7/32 dev lo
"$binaries/provider" --listen 192.0.2.7:443 --dir "$here" >provider.json &
provider=$!
for _ in $(seq 100); do [ -s provider.json ] && break; sleep 0.1; done
key=$(grep -o '"openai_key":"[^"]*"' provider.json | cut -d'"' -f4)
cp provider-ca.pem project/

cd project
podman system service --time 0 "unix://$here/podman.sock" 2>"$here/service.log" &
service=$!
for _ in $(seq 100); do [ -S "$here/podman.sock" ] && break; sleep 0.1; done
export DOCKER_HOST=unix://$here/podman.sock
compose() { TOLLGATE_KEY=${TOLLGATE_KEY-} docker-compose --project-name pair --file compose.yaml --file test.yaml "$@" 2>>"$here/compose.log"; }
in_gate() { podman exec -i pair_gate_1 tollgate "$@"; }
in_agent() { podman exec pair_agent_1 "$@"; }

compose up -d gate >/dev/null
for _ in $(seq 100); do in_gate metrics >/dev/null 2>&1 && break; sleep 0.1; done
printf %s "$key" | in_gate credential add openai --provider openai >/dev/null
in_gate ca >tollgate-ca.pem
TOLLGATE_KEY=$(in_gate key create agent --agent agent --credential openai --from address:10.231.7.0/24)
compose up -d agent >/dev/null
echo "up: $(podman ps --format '{{.Names}}' | sort | xargs)"
