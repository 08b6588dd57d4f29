//! What is pinned, for how long, and who may use it.

use tollgate_ebpf::{Installed, cgroups_of, uninstall};

use crate::stage::{intake, stage};

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
