#!/bin/bash
# A pod on a real kubelet: installer, gate, validator and an agent whose image nobody changed, in both layouts of
# cgroups that nodes have. Prints one line `NAME: …` for each thing it found out.
#
# kubelet.sh REPOSITORY BINARIES IMAGES KUBE, in a folder of its own, within `unshare --net --mount --pid --fork
# --mount-proc`. KUBE is what `cargo xtask kube` builds.
set -euo pipefail
repository=$1 binaries=$2 images=$3 kube=$4
here=$PWD
. "$repository/tests/containers/node.sh"
. "$repository/tests/containers/kubelet/cluster.sh"
node

end() {
  for pod in $(ctr -a "$here/containerd.sock" -n k8s.io tasks ls -q 2>/dev/null); do
    ctr -a "$here/containerd.sock" -n k8s.io tasks kill -s KILL "$pod" 2>/dev/null || true
  done
  for process in ${started-}; do kill "$process" 2>/dev/null || true; done
  sleep 1
  find /sys/fs/cgroup/kubepods /sys/fs/cgroup/k8s.io /sys/fs/cgroup/tollgate -depth -type d -exec rmdir {} + 2>/dev/null || true
  grep -o " $here/[^ ]*" /proc/self/mountinfo | sort -r | xargs --no-run-if-empty umount -l 2>/dev/null || true
}
trap end EXIT

ip link add node0 type veth peer name node1
ip address add 10.99.0.1/24 dev node0
ip link set node0 up
ip route add default dev node0
control_plane
runtime
kubelet
world
said node "$(until_true sh -c "'$kube/kubectl' --cache-dir='$here/kubectl' get node node | grep -q ' Ready'" && k get node node --no-headers)"

configuration . /var/lib/tollgate
for namespace in ordinary bare shared; do
  k create namespace $namespace
  k -n $namespace create configmap tollgate --from-file=tollgate.yaml --from-file=bot.yaml --from-file=provider-ca.pem
  k -n $namespace create secret generic provider --from-literal=key="$key"
done >/dev/null

# The pod as the documentation has it, with what the test adds.
mkdir -p manifests
cp "$repository"/docs/deploy/pod/pod.yaml manifests/
sed "s|BINARIES|$binaries|; s|SDK|$images/sdk|" "$repository/tests/containers/kubelet/ordinary.yaml" >manifests/ordinary.yaml
printf 'resources: [pod.yaml]\npatches: [{ path: ordinary.yaml }]\n' >manifests/kustomization.yaml
k kustomize manifests >ordinary.yaml

n() { k -n "$namespace" "$@"; }
of() { n get pod agent -o jsonpath="$1"; }
logs() { n logs agent -c "$1" 2>&1; }
in_gate() { n exec -i agent -c tollgate -- /opt/bin/tollgate "$@" --state /var/lib/tollgate; }
as() { local who=$1 ; shift; n exec -i agent -c "$who" -- "$@"; }

# start NAMESPACE MANIFEST: the pod, until its agent runs; how long that took.
start() {
  namespace=$1 began=$(date +%s%N)
  n apply -f "$2" >/dev/null
  n wait --for=condition=Ready pod/agent --timeout=40s >/dev/null || { n get events; tail -n 5 "$here"/logs/*/*/*.log; return 1; } >&2
  said "$1-ready" "$(( ($(date +%s%N) - began) / 1000000 )) ms"
  pod4=$(of '{.status.podIPs[0].ip}') pod6=$(of '{.status.podIPs[1].ip}') uid=$(of '{.metadata.uid}')
  wire=$(ip -o route get "$pod4" | sed 's/.* dev \([^ ]*\).*/\1/')
}
stop() { n delete pod agent --grace-period=1 --timeout=30s >/dev/null; }
# The kernel lets a cgroup go a moment after its folder is removed.
collected() { "$binaries/tollgate-init" gc --root /sys/fs/bpf/tollgate >>collected 2>&1 && grep -q "removed .*bpf.*$uid" collected; }
# When a container said its last word, after the pod was asked for.
after() {
  local last=$(n logs agent -c "$1" --timestamps | tail -n 1 | cut -d' ' -f1)
  echo "$(( ($(date -d "$last" +%s%N) - began) / 1000000 )) ms"
}
# The first process of a container of the pod.
process() {
  local container=$(of "{.status.initContainerStatuses[?(@.name==\"$1\")].containerID}")
  ctr -a "$here/containerd.sock" -n k8s.io tasks ls | sed -n "s/^${container#containerd://} *\([0-9]*\) .*/\1/p"
}
# arrives NAME ADDRESS COMMAND…: what the command says, and whether a frame to that address arrived meanwhile.
arrives() {
  printf '{"name":"%s","v4":"%s","v6":"fd00:77::77","marker":"sent by nobody"}\n' "$1" "$2" >"attempts-$1"
  observed "$1" "${@:3}"
}
# observed NAME COMMAND…: the same of the attempts in attempts-NAME.
observed() {
  local name=$1; shift
  watched "$name" "$@" >"said-$name" 2>&1
  said "$name" "$(cat "said-$name")"
  said "$name-seen" "$(tail -n 1 "seen-$name")"
}

# Before: a pod without a gate, and the attempts of the catalogue arrive.
namespace=shared world4=10.79.0.1 world6=fd00:79::1
sed "s|BINARIES|$binaries|" "$repository/tests/containers/kubelet/before.yaml" >before.yaml
start shared before.yaml
catalogue before k -n shared exec -i agent -- /opt/bin/techniques
stop

start ordinary ordinary.yaml
said install "$(logs tollgate-install)"
said validate "$(logs tollgate-validate)"
said validated "$(after tollgate-validate)"

# An image nobody changed, with the key and the authority that it was left.
curl='OPENAI_API_KEY=$(cat /agent/key); curl -sS -m 20 -w " %{http_code}" -H "authorization: Bearer $OPENAI_API_KEY" -H "content-type: application/json"'
sdk() { as "$1" sh -c 'OPENAI_API_KEY=$(cat /agent/key) exec python3 -c "$1"' sh "$sdk" 2>&1 || true; }
for who in root agent; do
  said "curl-$who" "$(as $who sh -c "$curl -d '$ask' $url" 2>&1 || true)"
  said "sdk-$who" "$(sdk $who)"
  said "elsewhere-$who" "$(as $who curl -sS -m 20 --resolve pastebin.com:443:203.0.113.9 https://pastebin.com/ 2>&1 || true)"
  catalogue $who as $who /opt/bin/techniques
done
catalogue default as default /opt/bin/techniques

# Who comes from outside, as a Service leads them: a declared port answers as it goes on, an undeclared one never.
nft -f - <<NFT
table ip services {
  chain output {
    type nat hook output priority -100
    ip daddr 10.0.0.50 tcp dport 80 dnat to $pod4:8080
    ip daddr 10.0.0.50 tcp dport 81 dnat to $pod4:8081
  }
}
NFT
as agent python3 -uc "$(cat "$repository/tests/containers/application.py")" >application.log 2>&1 &
started="$started $!"
until_true grep -q listening application.log
for port in 80 81; do
  said "service-$port" "$(outsider 10.0.0.50 $port)"
done

# The gate's container ends under its agent, and the kubelet starts it again.
away='
import socket, time
seen, end = [], time.time() + 25
while time.time() < end and seen[-2:] != ["ConnectionRefusedError", "connected"]:
    with socket.socket() as s:
        s.settimeout(2)
        try:
            s.connect(("203.0.113.77", 443))
            what = "connected"
        except OSError as error:
            what = type(error).__name__
    if seen[-1:] != [what]:
        seen.append(what)
        print(what, flush=True)
    time.sleep(0.02)'
under() {
  as root python3 -c "$away" >away.log 2>&1 &
  local loop=$!
  until_true grep -q '^connected' away.log
  kill -KILL "$(process tollgate)"
  wait $loop
  cat away.log
}
arrives gone 203.0.113.77 under
said back "$(sdk root)"
restarts() { of '{.status.initContainerStatuses[?(@.name=="tollgate")].restartCount} {.status.containerStatuses[*].restartCount}'; }
# The API server learns of it later than the agent.
counted() { [[ "$(restarts)" != 0* ]]; }
until_true counted
said restarts "$(restarts)"
said tail "$(in_gate tail --json -n 400)"
said metrics "$(curl -s "http://$pod4:16815/metrics" | grep -E '^tollgate_(enforcement|refused_attempts_total)' || true)"
stop
rmdir "/sys/fs/cgroup/kubepods/pod$uid"   # as a kubelet with cgroupsPerQOS does
until_true collected
said gc "$(cat collected)"
said left "$(ls /sys/fs/bpf/tollgate)"

# A node that makes no cgroup for a pod: the installer in the pod refuses, and nothing after it starts.
namespace=shared
n apply -f ordinary.yaml >/dev/null
refused() { n logs agent -c tollgate-install | grep -q 'tollgate-init:'; }
until_true refused
said shared-install "$(logs tollgate-install)"
said shared-exit "$(of '{.status.initContainerStatuses[?(@.name=="tollgate-install")].*.terminated.exitCode}')"
said shared-agent "$(of '{.status.containerStatuses[?(@.name=="agent")].state.waiting.reason}')"
stop

# There the node's agent does it, as a hook of the runtime.
namespace=bare
mkdir -p bare
cp ordinary.yaml "$repository/tests/containers/kubelet/bare.yaml" bare/
printf 'resources: [ordinary.yaml]\npatches: [{ path: bare.yaml }]\n' >bare/kustomization.yaml
k kustomize bare >bare.manifest.yaml
n create configmap application --from-file=ask.sh="$repository/tests/containers/kubelet/ask.sh" --from-file=attempts=attempts-agent >/dev/null
start bare bare.manifest.yaml
said bare-validate "$(logs tollgate-validate)"
said bare-validated "$(after tollgate-validate)"
within() {
  in_gate_shell 'touch /agent/counted'
  until_true reported
}
in_gate_shell() { n exec agent -c tollgate -- sh -c "$1"; }
reported() { n logs agent -c agent | grep -q reports; }
cp attempts-agent attempts-bare
observed bare within
said bare-agent "$(n logs agent -c agent)"
arrives bare-exec 203.0.113.77 as agent curl -sS -m 3 --resolve a.example:443:203.0.113.77 https://a.example/
stop
until_true collected
said bare-gc "$(cat collected)"
