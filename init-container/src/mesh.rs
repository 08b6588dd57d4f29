//! Other things that lead a pod's traffic somewhere: found by what they leave in its network, and said.

use serde::Serialize;

/// Something beside which the gate runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Mesh {
    /// Its name.
    pub name: &'static str,
    /// What it means for the pod, and what to do.
    pub means: &'static str,
}

/// The prefix of a chain's name, whose it is, and what that means.
const BY_CHAIN: [(&str, Mesh); 3] = [
    (
        "ISTIO_",
        Mesh {
            name: "istio",
            means: "its sidecar is led to the gate like every other container, so it reaches no mesh peer; take the pod \
                    out of the mesh (label sidecar.istio.io/inject: \"false\"), or use ambient mode, which is outside the pod",
        },
    ),
    (
        "PROXY_INIT_",
        Mesh {
            name: "linkerd",
            means: "its sidecar is led to the gate like every other container, so it reaches no mesh peer; take the pod \
                    out of the mesh (annotation linkerd.io/inject: disabled)",
        },
    ),
    (
        "CILIUM_",
        Mesh {
            name: "cilium",
            means: "it leads packets of this network by rules of its own; the floor decides after them by interface and mark",
        },
    ),
];

/// Programs of others at the cgroup, as Cilium's socket load balancer attaches them to the top of the tree.
const PROGRAMS: Mesh = Mesh {
    name: "programs",
    means: "other programs look at the pod's connects, as Cilium's do; those further up the tree run after ours and see \
            the gate's address, and the gate's own connections are theirs to lead",
};

/// What stands in a network with these chains, at a cgroup at whose connects `programs` of others run.
#[must_use]
pub fn found(chains: &[String], programs: u32) -> Vec<Mesh> {
    let by_chain =
        BY_CHAIN.iter().filter(|(prefix, _)| chains.iter().any(|chain| chain.starts_with(prefix)));
    let by_program = (programs > 0).then_some(PROGRAMS);
    by_chain.map(|(_, mesh)| mesh.clone()).chain(by_program).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(chains: &[&str], programs: u32) -> Vec<&'static str> {
        let chains: Vec<_> = chains.iter().map(|&chain| chain.to_owned()).collect();
        found(&chains, programs).into_iter().map(|mesh| mesh.name).collect()
    }

    #[test]
    fn a_mesh_is_known_by_its_chains() {
        assert_eq!(names(&["OUTPUT", "ISTIO_OUTPUT", "ISTIO_INBOUND"], 0), ["istio"]);
        assert_eq!(names(&["PROXY_INIT_REDIRECT"], 0), ["linkerd"]);
        assert_eq!(names(&["leave", "enter", "lead"], 0), [""; 0]);
    }

    #[test]
    fn programs_of_others_are_said() {
        assert_eq!(names(&[], 1), ["programs"]);
    }
}
