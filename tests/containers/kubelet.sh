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
node "$repository" "$binaries" "$here"

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

cat >tollgate.yaml <<'YAML'
mode: enforce
policy: policy
state: /var/lib/tollgate/state
pod: { agent: bot }
credentials: { openai: { provider: openai, from: sealed } }
drain: { delay: 0s, streams: 2s }
upstream:
  ca: [provider-ca.pem]
  connect_to: ["api.openai.com:443:198.51.100.7:443"]
YAML
cat >bot.yaml <<'YAML'
policy_id: pod
version: "1"
mode: enforce
agents:
  bot:
    models: [gpt-5-mini]
    destinations: [api.openai.com]
    data: { credentials: redact }
YAML
for namespace in ordinary bare shared; do
  k create namespace $namespace
  k -n $namespace create configmap tollgate --from-file=tollgate.yaml --from-file=bot.yaml --from-file=provider-ca.pem
  k -n $namespace create secret generic provider --from-literal=key="$key"
done >/dev/null

# The pod as the documentation has it, with what the test adds.
mkdir -p manifests
cp "$repository/docs/deploy/pod/pod.yaml" manifests/
sed "s|BINARIES|$binaries|; s|SDK|$images/sdk|" "$repository/tests/containers/kubelet/ordinary.yaml" >manifests/ordinary.yaml
printf 'resources: [pod.yaml]\npatches: [{ path: ordinary.yaml }]\n' >manifests/kustomization.yaml
k kustomize manifests >ordinary.yaml

n() { k -n "$namespace" "$@"; }
of() { n get pod "$1" -o jsonpath="$2"; }
logs() { n logs agent -c "$1" 2>&1; }
in_gate() { n exec -i agent -c tollgate -- /opt/bin/tollgate "$@" --state /var/lib/tollgate/state; }
as() { local who=$1 ; shift; n exec -i agent -c "$who" -- "$@"; }

# start NAMESPACE MANIFEST: the pod, until its agent runs; how long that took.
start() {
  namespace=$1
  local began=$(date +%s%N)
  n apply -f "$2" >/dev/null
  n wait --for=condition=Ready pod/agent --timeout=40s >/dev/null || { n get events; n get pod agent -o jsonpath="{.status.initContainerStatuses[*].state} {.status.containerStatuses[*].state}"; tail -n 5 "$here"/logs/*/*/*.log; return 1; } >&2
  said "$1-took" "$(( ($(date +%s%N) - began) / 1000000 )) ms"
  address=$(of agent '{.status.podIPs[0].ip}') address6=$(of agent '{.status.podIPs[1].ip}') uid=$(of agent '{.metadata.uid}')
}
start ordinary ordinary.yaml
said install "$(logs tollgate-install)"
said validate "$(logs tollgate-validate)"

# An image nobody changed, with the key and the authority that it was left.
ask='{"model":"gpt-5-mini","messages":[{"role":"user","content":"hello"}]}'
url=https://api.openai.com/v1/chat/completions
curl='OPENAI_API_KEY=$(cat /agent/key); curl -sS -m 20 -w " %{http_code}" -H "authorization: Bearer $OPENAI_API_KEY" -H "content-type: application/json"'
sdk='
import openai
answer = openai.OpenAI(max_retries=0, timeout=20).chat.completions.create(
    model="gpt-5-mini", messages=[{"role": "user", "content": "hello"}])
print(answer.choices[0].message.content, answer.usage.total_tokens)'
sdk() { as "$1" sh -c 'OPENAI_API_KEY=$(cat /agent/key) exec python3 -c "$1"' sh "$sdk" 2>&1 || true; }
works() {
  for who in root agent; do
    said "$namespace-curl-$who" "$(as $who sh -c "$curl -d '$ask' $url" 2>&1 || true)"
    said "$namespace-sdk-$who" "$(sdk $who)"
    said "$namespace-elsewhere-$who" "$(as $who curl -sS -m 20 --resolve pastebin.com:443:203.0.113.9 https://pastebin.com/ 2>&1 || true)"
  done
}
works
