# A control plane and one node of Kubernetes, in namespaces of the caller's own. Sourced after node.sh.

# Certificates of one authority for the API server and whoever asks it.
authority() {
  local key=(-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes)
  openssl req -x509 "${key[@]}" -days 2 -subj /CN=authority -keyout authority.key -out authority.crt
  for who in "server /CN=kube-apiserver serverAuth" "admin /O=system:masters/CN=admin clientAuth"; do
    set -- $who
    openssl req "${key[@]}" -subj "$2" -keyout "$1.key" -out "$1.csr"
    openssl x509 -req -in "$1.csr" -CA authority.crt -CAkey authority.key -CAcreateserial -days 2 -out "$1.crt" \
      -extfile <(printf 'subjectAltName=DNS:localhost,IP:127.0.0.1\nextendedKeyUsage=%s\n' "$3")
  done
  openssl genrsa -out accounts.key 2048
} 2>/dev/null

# In the background, its output in a log; ended by `end`.
service() {
  local log=$1 ; shift
  "$@" >"$log.log" 2>&1 &
  started="${started-} $!"
}

control_plane() {
  authority
  service etcd "$kube/etcd" --data-dir="$here/etcd" --unsafe-no-fsync --listen-client-urls=http://127.0.0.1:2379 \
    --advertise-client-urls=http://127.0.0.1:2379 --listen-peer-urls=http://127.0.0.1:2380 \
    --initial-advertise-peer-urls=http://127.0.0.1:2380 --initial-cluster=default=http://127.0.0.1:2380
  service apiserver "$kube/kube-apiserver" --etcd-servers=http://127.0.0.1:2379 --bind-address=127.0.0.1 \
    --advertise-address=127.0.0.1 --secure-port=6443 --endpoint-reconciler-type=none --service-cluster-ip-range=10.0.0.0/24 \
    --tls-cert-file=server.crt --tls-private-key-file=server.key --client-ca-file=authority.crt \
    --kubelet-client-certificate=admin.crt --kubelet-client-key=admin.key --kubelet-preferred-address-types=InternalIP --cert-dir="$here/certificates" \
    --service-account-issuer=https://kubernetes.default.svc --service-account-key-file=accounts.key \
    --service-account-signing-key-file=accounts.key --authorization-mode=RBAC --allow-privileged=true \
    --enable-priority-and-fairness=false --disable-admission-plugins=ServiceAccount
  cat >kubeconfig <<CONFIG
apiVersion: v1
kind: Config
clusters: [{ name: one, cluster: { server: "https://127.0.0.1:6443", certificate-authority: $here/authority.crt } }]
users: [{ name: admin, user: { client-certificate: $here/admin.crt, client-key: $here/admin.key } }]
contexts: [{ name: one, context: { cluster: one, user: admin } }]
current-context: one
CONFIG
  export KUBECONFIG=$here/kubeconfig
}

k() { "$kube/kubectl" --cache-dir="$here/kubectl" "$@"; }

# image NAME FOLDER EXCLUDE…: an image of one layer from a folder.
image() {
  local name=$1 folder=$2 ; shift 2
  mkdir -p image
  tar -C "$folder" --numeric-owner "${@/#/--exclude=./}" -cf image/layer.tar .
  printf '{"architecture":"%s","os":"linux","config":{"Cmd":["/bin/sleep","1000000"],"Env":["PATH=/usr/sbin:/usr/bin:/sbin:/bin"]},"rootfs":{"type":"layers","diff_ids":["sha256:%s"]}}' \
    "$(dpkg --print-architecture)" "$(sha256sum image/layer.tar | cut -d' ' -f1)" >image/config.json
  printf '[{"Config":"config.json","RepoTags":["%s"],"Layers":["layer.tar"]}]' "$name" >image/manifest.json
  tar -C image -c manifest.json config.json layer.tar | ctr -a "$here/containerd.sock" -n k8s.io images import - >/dev/null
  rm -r image
}

runtime() {
  mkdir -p cni
  cat >cni/10-pods.conflist <<CNI
{"cniVersion":"1.0.0","name":"pods","plugins":[{"type":"ptp","ipam":{"type":"host-local","dataDir":"$here/addresses",
  "ranges":[[{"subnet":"10.79.0.0/24"}],[{"subnet":"fd00:79::/64"}]],"routes":[{"dst":"0.0.0.0/0"},{"dst":"::/0"}]}}]}
CNI
  cat >containerd.toml <<CONTAINERD
version = 2
root = "$here/containerd"
state = "/run/containerd-state"
[grpc]
  address = "$here/containerd.sock"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "localhost/pause:1"
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "$kube"
    conf_dir = "$here/cni"
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
      BinaryName = "$here/runc"
CONTAINERD
  for program in runc hook; do
    sed "s|HERE|$here|g; s|BINARIES|$binaries|g" "$repository/tests/containers/kubelet/$program" >$program
    chmod +x $program
  done
  service containerd containerd -c containerd.toml
  until_true ctr -a "$here/containerd.sock" version
  mkdir -p pause/bin
  cp "$(command -v busybox)" pause/bin/sleep
  image localhost/pause:1 pause
  image localhost/debian:1 "$images/bookworm" usr/share/doc usr/share/locale usr/share/man var/cache var/lib/apt
}

kubelet() {
  cat >kubelet.yaml <<KUBELET
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
failSwapOn: false
cgroupDriver: cgroupfs
cgroupsPerQOS: false
enforceNodeAllocatable: []
oomScoreAdj: 0
featureGates: { KubeletInUserNamespace: true }
localStorageCapacityIsolation: false
containerRuntimeEndpoint: unix://$here/containerd.sock
authentication: { anonymous: { enabled: false }, webhook: { enabled: false }, x509: { clientCAFile: $here/authority.crt } }
authorization: { mode: AlwaysAllow }
address: 10.99.0.1
healthzPort: 0
podLogsDir: $here/logs
evictionHard: { nodefs.available: "1%", imagefs.available: "1%" }
syncFrequency: 2s
KUBELET
  service kubelet "$kube/kubelet" --kubeconfig=kubeconfig --config=kubelet.yaml --root-dir="$here/kubelet" \
    --cert-dir="$here/certificates" --hostname-override=node --node-ip=10.99.0.1
}
