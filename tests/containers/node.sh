# What a node gives a pod, in namespaces of the caller's own: a tree of cgroup v2 only, a bpffs, a world behind a wire
# with a provider in it. Sourced; the caller has unshared mounts, network and PIDs.
. "$repository/tests/containers/stand.sh"

node() {
  mount --make-rprivate /
  mount -t tmpfs tmpfs /run
  mount -t tmpfs tmpfs /dev/shm
  mkdir -p /run/netns
  # Where both hierarchies are mounted, as on the machines of CI, only the second is left.
  if [ "$(stat -f -c %T /sys/fs/cgroup)" != cgroup2fs ]; then
    umount -l /sys/fs/cgroup
    mount -t cgroup2 none /sys/fs/cgroup
  fi
  mountpoint -q /sys/fs/bpf && umount -l /sys/fs/bpf
  mount -t bpf none /sys/fs/bpf
  sysctl -qw net.ipv6.conf.all.accept_dad=0 net.ipv6.conf.default.accept_dad=0 net.ipv4.ip_forward=0
  ip link set lo up
}

# world: the provider where the internet would be, and who answers at the addresses that the catalogue's attempts have.
world() {
  ip address add 198.51.100.7/32 dev lo
  ip route add local 10.200.0.0/16 dev lo
  ip -6 route add local fd00:200::/32 dev lo
  provider 198.51.100.7
}

# configuration FOLDER STATE: of a gate in a pod, whose state is in the folder STATE of its container, and what it lets
# the agent do.
configuration() {
  cat >"$1/tollgate.yaml" <<YAML
mode: enforce
policy: policy
state: $2
pod: { agent: bot }
credentials: { openai: { provider: openai, from: sealed } }
drain: { delay: 0s, streams: 2s }
upstream:
  ca: [provider-ca.pem]
  connect_to: ["api.openai.com:443:198.51.100.7:443"]
YAML
  cat >"$1/bot.yaml" <<'YAML'
policy_id: pod
version: "1"
mode: enforce
agents:
  bot:
    models: [gpt-5-mini]
    destinations: [api.openai.com]
    data: { credentials: redact }
YAML
}

# outsider ADDRESS PORT: what a client hears there of application.py.
outsider() {
  python3 -c '
import socket, sys
s = socket.create_connection((sys.argv[1], int(sys.argv[2])), 3)
s.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
got = b""
while b"first" not in got: got += s.recv(1000)
s.sendall(b"x")
while b"last" not in got: got += s.recv(1000)
print("first and last")' "$@" 2>&1 | tail -n 1
}

# watched NAME COMMAND…: runs COMMAND, while seen-NAME becomes what a packet socket in the world sees of attempts-NAME.
watched() {
  local name=$1; shift
  mkfifo "stop-$name"
  python3 "$repository/tests/containers/sniff.py" "$wire" "attempts-$name" <"stop-$name" >"seen-$name" &
  local sniffer=$!
  exec {stop}>"stop-$name"
  until_true grep -q ready "seen-$name"
  "$@" || true
  exec {stop}>&-
  wait $sniffer
}

# catalogue NAME COMMAND…: the attempts carried out by COMMAND, and how many of them a packet socket in the world saw.
catalogue() {
  local name=$1; shift
  "$binaries/attempts" --pod "$pod4,$pod6" --world "$world4,$world6" --device eth0 \
    --link "$(ip -o link show "$wire" | sed 's/.*link.ether \([^ ]*\).*/\1/')" >"attempts-$name"
  watched "$name" "$@" <"attempts-$name" >"reports-$name" 2>"techniques-$name.log"
  said "catalogue-$name" "$(tail -n 1 "seen-$name")"
  said "reports-$name" "$(wc -l <"reports-$name")"
  # The cgroups that techniques make below their container's: containerd ends no pod that has some.
  find /sys/fs/cgroup -depth -type d -path '*/own*' \( -name own -o -name threads \) -exec rmdir {} + 2>/dev/null || true
}
