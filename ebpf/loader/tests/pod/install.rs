//! What is pinned, for how long, and who may use it.

use std::{os::fd::AsFd as _, thread};

use rustix::thread::{CapabilitySet, CapabilitySets, set_capabilities};
use tollgate_ebpf::{EbpfError, Installed, PodSpec, cgroups_of, install, uninstall};

use crate::stage::{intake, spec, stage};

#[test]
fn what_is_installed_redirects_with_its_exact_destination_until_it_is_uninstalled() {
    stage(|stage| {
        assert_eq!(stage.agent().connect("10.77.0.1:80"), "the far side from 10.77.0.1:80");
        let installed = stage.install();
        assert_eq!(installed, Installed { attached: 14, replaced: 0, detached: 0 });
        assert_eq!(cgroups_of(&stage.at).unwrap(), [stage.pod.id()]);
        intake(stage);
        let id = stage.agent().id();
        for (to, wanted) in [
            ("10.77.0.1:80", "10.77.0.1:80"),
            ("203.0.113.7:8443", "203.0.113.7:8443"),
            ("[fd77::1]:80", "[fd77::1]:80"),
            ("[::ffff:10.77.0.1]:80", "10.77.0.1:80"),
        ] {
            assert_eq!(stage.agent().connect(to), format!("{wanted} of {id} from {to}"));
        }
        // The gate itself reaches what it dials.
        assert_eq!(stage.gate().connect("10.77.0.1:80"), "the far side from 10.77.0.1:80");
        uninstall(&stage.at).unwrap();
        assert!(!stage.at.exists());
        assert_eq!(stage.agent().connect("10.77.0.1:80"), "the far side from 10.77.0.1:80");
        uninstall(&stage.at).unwrap();
    });
}

/// Leaves the calling thread these capabilities.
fn keep(kept: CapabilitySet) {
    let inheritable = CapabilitySet::empty();
    set_capabilities(None, CapabilitySets { effective: kept, permitted: kept, inheritable })
        .unwrap();
}

#[test]
fn an_installer_needs_two_capabilities_and_no_more() {
    stage(|stage| {
        let (pod, at) = (stage.pod.open(), stage.at.clone());
        let install_with = |kept| {
            let (pod, at) = (pod.as_fd(), &at);
            thread::scope(|scope| {
                let installer = scope.spawn(move || {
                    keep(kept);
                    install(&[pod], at, &PodSpec { gate_uid: 0, gate_gid: 0, ..spec() })
                });
                installer.join().unwrap()
            })
        };
        for one in [CapabilitySet::BPF, CapabilitySet::NET_ADMIN] {
            let failed = install_with(one);
            assert!(matches!(failed, Err(EbpfError::Privilege { .. })), "{failed:?}");
            assert!(!stage.at.exists());
        }
        let both = CapabilitySet::BPF | CapabilitySet::NET_ADMIN;
        assert_eq!(install_with(both).unwrap().attached, 14);
        assert_eq!(install_with(both).unwrap().replaced, 14);
        intake(stage);
        assert!(stage.agent().connect("10.77.0.1:80").starts_with("10.77.0.1:80 of "));
        assert_eq!(stage.agent().agent("udp('').sendto(b'', ('10.77.0.1', 9))"), "error 1");
        let told = stage.pinned().attempts().unwrap().next().unwrap();
        // The kernel lets programs ask for a name only if who loads them has CAP_PERFMON.
        assert_eq!((told.uid, told.comm.as_str()), (1000, ""));
        assert_ne!(told.pid, 0);
    });
}
