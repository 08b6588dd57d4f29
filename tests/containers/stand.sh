# What all scripts that bring containers up share: podman's state, the provider, what an agent asks, and how it is said
# what was found out. Sourced, with repository, binaries and here set.

# The way of whoever runs the tests to the world is none here.
unset http_proxy https_proxy ftp_proxy all_proxy no_proxy HTTP_PROXY HTTPS_PROXY FTP_PROXY ALL_PROXY NO_PROXY

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
http_proxy = false
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

# provider ADDRESS: the offline provider there, with its CA in provider-ca.pem and the real key in key.
provider() {
  "$binaries/provider" --listen "$1:443" --dir "$here" >"$here/provider.json" &
  started="${started-} $!"
  until_true test -s "$here/provider.json"
  key=$(grep -o '"openai_key":"[^"]*"' "$here/provider.json" | cut -d'"' -f4)
}

# What an agent asks with curl, and in Python by the official SDK.
ask='{"model":"gpt-5-mini","messages":[{"role":"user","content":"hello"}]}'
url=https://api.openai.com/v1/chat/completions
sdk='
import openai
answer = openai.OpenAI(max_retries=0, timeout=20).chat.completions.create(
    model="gpt-5-mini", messages=[{"role": "user", "content": "hello"}])
print(answer.choices[0].message.content, answer.usage.total_tokens)'

said() { printf '%s: %s\n' "$1" "$(tr '\n' ' ' <<<"$2")"; }
