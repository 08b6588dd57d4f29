#!/bin/bash
# Brings docs/deploy/compose up with podman, in namespaces of its own, and asks from inside the agent's container.
#
# pair.sh REPOSITORY BINARIES IMAGES, in a folder of its own, within `unshare --net --mount --pid --fork --mount-proc`.
# Prints one line `NAME: …` for each thing it found out.
set -euo pipefail
repository=$1 binaries=$2 images=$3
here=$PWD
. "$repository/tests/containers/stand.sh"

# Bridges, addresses and mounts end with this process; nothing of the machine is changed.
mount --make-rprivate /
mount -t tmpfs tmpfs /run
mount -t tmpfs tmpfs /dev/shm
ip link set lo up
with_podman
mkdir -p project image
cp -r "$repository"/docs/deploy/compose/. project
install -t image "$binaries/tollgate"

end() {
  podman logs pair_gate_1 >"$here/gate.log" 2>&1 || true
  podman ps --all --quiet | xargs --no-run-if-empty podman rm --force --time 5 >/dev/null 2>&1 || true
  for process in ${started-}; do kill "$process" || true; done
  find /sys/fs/cgroup -depth -path '*/libpod_parent*' -type d -exec rmdir {} + 2>/dev/null || true
}
trap end EXIT

# The images: Debian as the agent's own, and the gate's from its Containerfile, without a network (the host is this namespace).
tar --directory "$images/bookworm" --create . | podman import --quiet - localhost/agent >/dev/null
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
# Compose takes podman's description of a network that it made itself for another network's, so that it is told the
# second time that the networks are there.
cat >project/there.yaml <<'OVER'
networks:
  agents: { external: true, name: pair_agents }
  outside: { external: true, name: pair_outside }
OVER
sed -i "s|SDK|$images/sdk|" project/test.yaml
cat >>project/tollgate.yaml <<'UPSTREAM'

upstream:
  ca: [provider-ca.pem]
  connect_to: ["api.openai.com:443:192.0.2.7:443"]
UPSTREAM
ip address add 192.0.2.7/32 dev lo
provider 192.0.2.7
cp provider-ca.pem project/

cd project
podman system service --time 0 "unix://$here/podman.sock" 2>"$here/service.log" &
started="$started $!"
until_true test -S "$here/podman.sock"
export DOCKER_HOST=unix://$here/podman.sock
compose() { TOLLGATE_KEY=${TOLLGATE_KEY-} docker-compose --project-name pair --file compose.yaml --file test.yaml "$@" 2>>"$here/compose.log"; }
in_gate() { podman exec -i pair_gate_1 tollgate "$@"; }
in_agent() { podman exec pair_agent_1 "$@"; }

compose up -d gate >/dev/null
until_true in_gate metrics
printf %s "$key" | in_gate credential add openai --provider openai >/dev/null
in_gate ca >tollgate-ca.pem
TOLLGATE_KEY=$(in_gate key create agent --agent agent --credential openai --from address:10.231.7.0/24)
compose --file there.yaml up -d agent >/dev/null
echo "up: $(podman ps --format '{{.Names}}' | sort | xargs)"

# Through the gate: a proxy's client, and an official SDK, each as its documentation has it.
said curl "$(in_agent sh -c "curl -sS -m 20 -w ' %{http_code}' -H \"authorization: Bearer \$OPENAI_API_KEY\" -H 'content-type: application/json' -d '$ask' $url" 2>&1)"
said sdk "$(in_agent env PYTHONPATH=/sdk python3 -c "$sdk" 2>&1)"
said base_url "$(in_agent env PYTHONPATH=/sdk OPENAI_BASE_URL=http://gate:16802/openai/v1 python3 -c "$sdk" 2>&1)"
said elsewhere "$(in_agent curl -sS -m 20 https://pastebin.com/ 2>&1 || true)"

# Past the gate: what a program tries that does not heed the variables.
past() { said "$1" "$("${@:2}" 2>&1 && echo reached || echo "not reached")"; }
direct=(env -u HTTPS_PROXY -u https_proxy curl -sS -m 3 -o /dev/null -k --noproxy '*')
past address in_agent "${direct[@]}" --resolve api.openai.com:443:192.0.2.7 https://api.openai.com/
past name in_agent "${direct[@]}" https://api.openai.com/
past udp in_agent python3 -c 'import socket; s = socket.socket(type=socket.SOCK_DGRAM); s.sendto(b"x", ("192.0.2.7", 53))'
past udp6 in_agent python3 -c 'import socket; s = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM); s.sendto(b"x", ("2001:db8::7", 53))'
# The same from the other network: it is the network that holds, not the address.
past outside podman run --rm --network pair_outside --entrypoint curl localhost/agent -sS -m 5 -o /dev/null -k --resolve api.openai.com:443:192.0.2.7 https://api.openai.com/
# And what README.md says is open: the machine itself, at the bridge's address.
python3 -m http.server --bind 0.0.0.0 16899 >/dev/null 2>&1 &
started="$started $!"
until_true curl -s -o /dev/null http://127.0.0.1:16899/
past engine_dns in_agent python3 -c '
import socket
asked = b"\x12\x34\1\0\0\1\0\0\0\0\0\0\4gate\0\0\1\0\1"
s = socket.socket(type=socket.SOCK_DGRAM)
s.settimeout(3)
s.sendto(asked, ("10.231.7.1", 53))
assert s.recv(512)[:2] == asked[:2]'
past machine in_agent "${direct[@]}" http://10.231.7.1:16899/

said tail "$(in_gate tail --json -n 100)"
compose stop --timeout 45 gate >/dev/null
said verify "$(podman run --rm --volumes-from pair_gate_1 --network none localhost/tollgate audit verify --json)"
