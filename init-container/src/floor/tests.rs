use super::*;

fn floor(mode: Mode, inbound: &[u16]) -> Floor {
    let interfaces = ["net1", "eth0", "eth0"].map(|name| Interface::new(name).unwrap());
    let cgroup = ExemptCgroup::new("kubepods/pod7/gate", 0).unwrap();
    let gate = Exempt { uid: 16801, cgroup: Some(cgroup) };
    Floor::new(mode, &interfaces, gate, inbound).unwrap()
}

#[test]
fn the_floor_under_the_kernels_programs() {
    insta::assert_snapshot!("kernel", floor(Mode::Kernel, &[8080, 9000, 8080]).render());
}

#[test]
fn the_floor_that_knows_the_gate_by_its_cgroup() {
    insta::assert_snapshot!("nft-cgroup", floor(Mode::NftCgroup, &[8080]).render());
}

#[test]
fn the_floor_that_knows_the_gate_by_its_user() {
    insta::assert_snapshot!("nft-user", floor(Mode::NftUser, &[8080]).render());
}

#[test]
fn under_the_programs_no_connection_is_tracked_unless_a_port_is_declared() {
    let text = floor(Mode::Kernel, &[]).render();
    assert!(!text.contains(" ct ") && !text.contains("type nat"), "{text}");
}

#[test]
fn without_devices_their_table_is_taken_away() {
    let text = floor(Mode::Kernel, &[]).without_devices().render();
    assert!(text.ends_with("add table netdev tollgate\ndelete table netdev tollgate\n"), "{text}");
}

#[test]
fn as_long_as_the_gates_cgroup_is_not_known_nothing_is_exempt() {
    let gate = Exempt { uid: 16801, cgroup: None };
    let text = Floor::new(Mode::NftCgroup, &[], gate, &[]).unwrap().render();
    assert!(!text.contains("cgroupv2") && !text.contains("ct mark set 0x50524f58"), "{text}");
}

#[test]
fn no_floor_accepts_what_is_merely_established() {
    for mode in Mode::STRONGEST_FIRST {
        let text = floor(mode, &[8080]).render();
        assert!(!text.contains("established") && !text.contains("ct state"), "{text}");
    }
}

#[test]
fn the_gates_health_is_told_to_those_that_were_named_and_else_to_everybody() {
    for mode in Mode::STRONGEST_FIRST {
        let all = floor(mode, &[]).render();
        assert!(all.contains("\n    tcp dport 16815 accept\n"), "{all}");
        let askers = ["10.1.2.3/8", "fd00::1/128"].map(|asker| asker.parse().unwrap());
        let text = floor(mode, &[]).asked_from(&askers).render();
        assert!(!text.contains("\n    tcp dport 16815 accept"), "{text}");
        assert!(text.contains("ip saddr 10.0.0.0/8 tcp dport 16815 accept"), "{text}");
        assert!(text.contains("ip6 saddr fd00::1/128 tcp dport 16815 accept"), "{text}");
    }
}

#[test]
fn a_port_of_the_gate_is_not_the_applications() {
    for port in ports::GATE {
        let gate = Exempt { uid: 1, cgroup: None };
        let floor = Floor::new(Mode::Kernel, &[], gate, &[port]);
        assert_eq!(floor, Err(FloorError::Inbound(port)));
    }
}

#[test]
fn a_name_that_a_rule_cannot_hold_is_refused() {
    for name in ["", "eth*", "a\"b", "a b", "a\\"] {
        assert!(Interface::new(name).is_err(), "{name:?}");
    }
    assert!(ExemptCgroup::new("a\"; flush ruleset", 0).is_err());
}

#[test]
fn a_cgroups_level_counts_from_the_namespace_of_who_loads_the_rules() {
    assert_eq!(ExemptCgroup::new("a/b/c", 0).unwrap().level, 3);
    assert_eq!(ExemptCgroup::new("a/b/c", 3).unwrap().level, 0);
    assert!(ExemptCgroup::new("a", 2).is_err());
}
