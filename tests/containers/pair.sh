#!/bin/bash
# A pod of containers made with podman: installer, gate, validator and an agent whose image nobody changed, in the
# cgroup layout of a node. Prints one line `NAME: …` for each thing it found out.
#
# pair.sh REPOSITORY BINARIES IMAGES, in a folder of its own, within `unshare --net --mount --pid --fork --mount-proc`.
set -euo pipefail
repository=$1 binaries=$2 images=$3
here=$PWD
. "$repository/tests/containers/node.sh"
node
with_podman
POD=5bd8a2f6-8f6c-4a58-9a0e-2f4d4c1c7a10
cgroup=/kubepods/pod$POD

end() {
  podman logs gate >"$here/gate.log" 2>&1 || true
  podman ps --all --quiet | xargs --no-run-if-empty podman rm --force --time 2 >/dev/null 2>&1 || true
  for process in ${started-}; do kill "$process" 2>/dev/null || true; done
  [ -d "/sys/fs/cgroup$cgroup" ] && find "/sys/fs/cgroup$cgroup" -depth -type d -exec rmdir {} + 2>/dev/null || true
}
trap end EXIT

# The pod's network: one wire to the world.
wire=world pod4=10.231.9.2 pod6=fd00:9::2 world4=10.231.9.1 world6=fd00:9::1
ip netns add pod
ip link add world type veth peer name eth0 netns pod
ip address add 10.231.9.1/24 dev world
ip -6 address add fd00:9::1/64 dev world
ip link set world up
ip netns exec pod sh -c 'ip link set lo up; ip link set eth0 up
  ip address add 10.231.9.2/24 dev eth0; ip -6 address add fd00:9::2/64 dev eth0
  ip route add default via 10.231.9.1; ip -6 route add default via fd00:9::1'
world
mkdir -p pod tmp config/policy state ca
cp provider-ca.pem config/
configuration config /var/lib/tollgate
mv config/bot.yaml config/policy/
chown -R 16801:16801 pod
chmod 0755 config config/policy
# As a kubelet makes an emptyDir.
chmod 0777 state

# container NAME CAPABILITIES FLAGS… -- COMMAND…: one of the pod.
container() {
  local name=$1 capabilities=$2 flags=() ; shift 2
  while [ "$1" != -- ]; do flags+=("$1"); shift; done
  shift
  local caps=()
  [ "$capabilities" = default ] || caps=(--cap-drop all)
  [ "$capabilities" = default ] || [ -z "$capabilities" ] || caps+=(--cap-add "$capabilities")
  podman run --name "$name" --cgroup-parent "$cgroup" --network ns:/run/netns/pod --no-hosts "${caps[@]}" \
    -v "$binaries:/opt/bin:ro" "${flags[@]}" --rootfs "$images/bookworm:O" "$@"
}
install() {
  container "install-$1" BPF,NET_ADMIN,CHOWN,DAC_OVERRIDE --rm --security-opt seccomp=unconfined --security-opt no-new-privileges \
    -v /sys/fs/cgroup:/host/sys/fs/cgroup:ro -v /sys/fs/bpf:/sys/fs/bpf -v "$here/pod:/run/tollgate" \
    -v "$here/state:/var/lib/tollgate" \
    -- /opt/bin/tollgate-init install --pod $POD --gate-holds-xdp --inbound 8080 --state /var/lib/tollgate "${@:2}"
}
# It holds the AF_XDP queues, for which it needs this one capability: root in another container has it too by default.
gate() {
  container gate NET_RAW -d --user 16801:16801 --security-opt no-new-privileges --security-opt seccomp=unconfined \
    -v "/sys/fs/bpf/tollgate/$POD/maps:/sys/fs/bpf" -v "$here/pod:/run/tollgate:ro" \
    -v "$here/config:/etc/tollgate:ro" -v "$here/state:/var/lib/tollgate" \
    -- /opt/bin/tollgate serve --config /etc/tollgate/tollgate.yaml >/dev/null
}
ready() { until_true ip netns exec pod curl -sf -o /dev/null "http://127.0.0.1:16815/healthz"; }
healthy() { until_true curl -sf -m 2 -o /dev/null "http://10.231.9.2:16815/healthz"; }
validate() {
  container "validate-$1" NET_ADMIN,DAC_OVERRIDE --rm --security-opt no-new-privileges \
    -v "$here/pod:/run/tollgate:ro" -- /opt/bin/tollgate-init validate "${@:2}"
}
in_gate() { podman exec -i gate /opt/bin/tollgate "$@" --state /var/lib/tollgate; }

# Before: without the gate the agent's image reaches whom it wants.
said before "$(container before default --rm --dns none -- curl -sS -m 5 -k -o /dev/null -w '%{http_code}' \
  --resolve api.openai.com:443:198.51.100.7 https://api.openai.com/ 2>&1 || true)"

catalogue before container techniques default -i --rm -- /opt/bin/techniques

began=$(date +%s%N)
said install "$(install first 2>&1 || echo "exit $?")"
gate
healthy
said validate "$(validate first 2>&1 || echo "exit $?")"
said took "$(( ($(date +%s%N) - began) / 1000000 )) ms"
said again "$(install again 2>&1 || echo "exit $?")"
printf %s "$key" | in_gate credential add openai --provider openai >/dev/null
in_gate ca >ca/tollgate.pem
virtual=$(in_gate key create bot --agent bot --credential openai)

# The agent: an image nobody changed, told whom to trust and given a virtual key, as any program is configured.
agent() {
  container "$1" default "${@:2}" -d --dns 10.0.0.10 -e "OPENAI_API_KEY=$virtual" -e SSL_CERT_FILE=/ca/tollgate.pem \
    -e PYTHONPATH=/sdk -v "$here/ca:/ca:ro" -v "$images/sdk:/sdk:ro" -- sleep 1000 >/dev/null
}
agent root
agent user --user 1000:1000 --cap-drop all --security-opt no-new-privileges
as() { podman exec "$@"; }
for who in root user; do
  said "curl-$who" "$(as $who sh -c "curl -sS -m 20 -w ' %{http_code}' -H \"authorization: Bearer \$OPENAI_API_KEY\" -H 'content-type: application/json' -d '$ask' $url" 2>&1 || true)"
  said "sdk-$who" "$(as $who python3 -c "$sdk" 2>&1 || true)"
  said "elsewhere-$who" "$(as $who curl -sS -m 20 --resolve pastebin.com:443:203.0.113.9 https://pastebin.com/ 2>&1 || true)"
done

# The catalogue, from within: the same programs, and who counts what arrives in the world.
for who in root user; do
  catalogue $who podman exec -i $who /opt/bin/techniques
done

# Who comes from outside: a declared port answers as it goes on, an undeclared one never.
as user python3 -uc "$(cat "$repository/tests/containers/application.py")" >inside.log 2>&1 &
started="$started $!"
until_true grep -q listening inside.log
said declared "$(outsider "$pod4" 8080)"
said undeclared "$(outsider "$pod4" 8081)"

# The gate's container ends: nothing leaves. It comes back, in another cgroup: everything works again.
podman kill gate >/dev/null; podman wait gate >/dev/null; podman rm gate >/dev/null
said gone "$(as root curl -sS -m 5 --resolve api.openai.com:443:198.18.0.9 https://api.openai.com/ 2>&1 || true)"
gate
healthy
said back "$(as root python3 -c "$sdk" 2>&1 || true)"
said revalidate "$(validate second 2>&1 || echo "exit $?")"
said tail "$(in_gate tail --json -n 400)"
said metrics "$(curl -s http://10.231.9.2:16815/metrics | grep -E '^tollgate_(enforcement|refused_attempts_total)' || true)"

# The pod goes, and what was pinned for it.
podman ps --all --quiet | xargs podman rm --force --time 1 >/dev/null 2>&1
find "/sys/fs/cgroup$cgroup" -depth -type d -exec rmdir {} +
# The kernel lets a cgroup go a moment after its folder is removed.
collected() { "$binaries/tollgate-init" gc --root /sys/fs/bpf/tollgate >collected 2>&1 && grep -q "removed .*$POD" collected; }
until_true collected
said gc "$(cat collected)"
said left "$(ls /sys/fs/bpf/tollgate)"
