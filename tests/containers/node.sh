# What a node gives a pod, in namespaces of the caller's own: a tree of cgroup v2 only, a bpffs, a world behind a wire
# with a provider in it, and what podman needs. Sourced; the caller has unshared mounts, network and PIDs.

# node REPOSITORY BINARIES WORK
node() {
  repository=$1 binaries=$2 here=$3
  # The way of whoever runs the tests to the world is none here.
  unset http_proxy https_proxy ftp_proxy all_proxy no_proxy HTTP_PROXY HTTPS_PROXY FTP_PROXY ALL_PROXY NO_PROXY
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
  "$binaries/provider" --listen 198.51.100.7:443 --dir "$here" >"$here/provider.json" &
  started="${started-} $!"
  until_true test -s "$here/provider.json"
  key=$(grep -o '"openai_key":"[^"]*"' "$here/provider.json" | cut -d'"' -f4)
}

# The state of podman is in the folder of the run.
with_podman() {
  export CONTAINERS_STORAGE_CONF=$here/storage.conf CONTAINERS_CONF=$here/containers.conf
  mkdir -p networks
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
pids_limit = 0
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
[network]
network_backend = "netavark"
network_config_dir = "$here/networks"
CONTAINERS
}

until_true() {
  local end=$((SECONDS + 20))
  while [ $SECONDS -lt $end ]; do "$@" >/dev/null 2>&1 && return; sleep 0.1; done
  echo "waited in vain: $*" >&2
  return 1
}

# catalogue NAME COMMAND…: the attempts carried out by COMMAND, and how many of them a packet socket in the world saw.
catalogue() {
  local name=$1; shift
  "$binaries/attempts" --pod "$pod4,$pod6" --world "$world4,$world6" --device eth0 \
    --link "$(ip -o link show "$wire" | sed 's/.*link.ether \([^ ]*\).*/\1/')" >"attempts-$name"
  mkfifo "stop-$name"
  python3 "$repository/tests/containers/sniff.py" "$wire" "attempts-$name" <"stop-$name" >"seen-$name" &
  local sniffer=$!
  exec {stop}>"stop-$name"
  until_true grep -q ready "seen-$name"
  "$@" <"attempts-$name" >"reports-$name" 2>"techniques-$name.log" || true
  exec {stop}>&-
  wait $sniffer
  said "catalogue-$name" "$(tail -n 1 "seen-$name")"
  said "reports-$name" "$(wc -l <"reports-$name")"
}

said() { printf '%s: %s\n' "$1" "$(tr '\n' ' ' <<<"$2")"; }
