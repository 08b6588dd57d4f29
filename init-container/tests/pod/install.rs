//! The installer: again, back, after the pod is gone, and with less than it needs.

use std::{fs, os::unix::fs::MetadataExt as _, process::Command};

use crate::{
    floor::MODES,
    gate,
    world::{GATE, WORLD_V4, World, can_run, tree},
};

fn token(world: &World) -> String {
    let file: serde_json::Value =
        serde_json::from_slice(&fs::read(world.pod_file()).unwrap()).unwrap();
    file["token"].as_str().unwrap().to_owned()
}

fn outcome(report: &str, name: &str) -> String {
    let report: serde_json::Value = serde_json::from_str(report).unwrap();
    let all = report["probes"].as_array().unwrap();
    let one = all.iter().find(|probe| probe["name"] == name).unwrap();
    one["outcome"].as_str().unwrap().to_owned()
}

#[test]
fn a_pod_behind_its_gate_is_proven_in_every_mode_and_without_either_it_is_not() {
    if !can_run() {
        return;
    }
    for mode in MODES {
        let world = World::new();
        world.install(mode, &[]);
        let wait = ["--wait", "5"];
        let gate = gate::start(&world);
        let (code, said, complaint) = world.init("validate", &wait);
        assert_eq!(code, 0, "{mode}: {said} {complaint}");
        let flush = ["nft", "delete", "table", "inet", "tollgate"];
        assert_eq!(world.pod("init", &flush).0, 0);
        let (code, said, _) = world.init("validate", &wait);
        assert_eq!((code, outcome(&said, "left_by_the_floor").as_str()), (1, "fails"), "{said}");
        world.install(mode, &[]);
        drop(gate);
        let (code, said, _) = world.init("validate", &["--wait", "0"]);
        assert_eq!((code, outcome(&said, "through_the_gate").as_str()), (1, "fails"), "{said}");
    }
}

#[test]
fn a_gate_that_does_not_know_the_token_proves_nothing() {
    if !can_run() {
        return;
    }
    let world = World::new();
    world.install("nft-user", &[]);
    let _gate = gate::start(&world);
    fs::remove_file(world.pod_file()).unwrap();
    world.install("nft-user", &[]);
    let (code, said, _) = world.init("validate", &["--wait", "0"]);
    assert_eq!((code, outcome(&said, "through_the_gate").as_str()), (1, "fails"), "{said}");
}

#[test]
fn installing_again_changes_nothing_and_uninstalling_leaves_nothing() {
    if !can_run() {
        return;
    }
    let world = World::new();
    let first = world.install("kernel", &[]);
    let (before, file) = (token(&world), fs::metadata(world.pod_file()).unwrap());
    assert_eq!((file.uid(), file.mode() & 0o777), (GATE, 0o600));
    let again = world.install("kernel", &[]);
    assert_eq!(again["attached"], 0, "{again}");
    assert_eq!((&again["detached"], &again["replaced"]), (&0.into(), &first["attached"]));
    assert_eq!(token(&world), before);
    let (code, said, complaint) = world.init("uninstall", &[]);
    assert_eq!(code, 0, "{said} {complaint}");
    assert!(!world.pod_file().exists() && !world.pins().join("pod").exists());
    let (_, tables, _) = world.pod("init", &["nft", "list", "tables"]);
    assert_eq!(tables, "");
    let (code, said, _) = world.init("uninstall", &[]);
    assert_eq!((code, said.trim()), (0, r#"{"pod_file":null,"pins":null,"floor":false}"#));
}

#[test]
fn the_gates_state_is_given_a_folder_of_its_own_or_no_gate_starts() {
    if !can_run() {
        return;
    }
    let world = World::new();
    let volume = world.volume("volume");
    let state = ["--state", volume.to_str().unwrap()];
    for _ in 0..2 {
        let report = world.install("kernel", &state);
        assert_eq!(report["state"], state[1]);
        let now = fs::metadata(&volume).unwrap();
        assert_eq!((now.uid(), now.gid(), now.mode() & 0o7777), (GATE, GATE, 0o700));
    }
    let other = world.volume("other");
    fs::write(other.join("theirs"), "").unwrap();
    fs::remove_file(world.pod_file()).unwrap();
    let (code, _, complaint) = world.init("install", &["--state", other.to_str().unwrap()]);
    assert!(code == 3 && complaint.contains("is not empty"), "{code} {complaint}");
    assert!(!world.pod_file().exists());
}

#[test]
fn a_weaker_mode_takes_the_programs_of_a_stronger_one_away() {
    if !can_run() {
        return;
    }
    let world = World::new();
    world.install("kernel", &[]);
    world.install("nft-user", &[]);
    assert!(!world.pins().join("pod").exists());
}

#[test]
fn pins_of_a_pod_that_is_gone_are_collected_and_those_of_one_that_is_there_stay() {
    if !can_run() {
        return;
    }
    let world = World::new();
    world.install("kernel", &[]);
    let pins = world.pins();
    let collect = || {
        let program = env!("CARGO_BIN_EXE_tollgate-init");
        let output = Command::new(program).args(["gc", "--json", "--root"]).arg(&pins).output();
        String::from_utf8(output.unwrap().stdout).unwrap()
    };
    assert_eq!(collect().trim(), r#"{"pins":[],"cgroups":[]}"#);
    for below in ["init", "gate", "agent", ""] {
        let folder = world.cgroup.join("pod").join(below);
        let gone = (0..100).any(|_| {
            std::thread::sleep(std::time::Duration::from_millis(20));
            fs::remove_dir(&folder).is_ok()
        });
        assert!(gone, "{}", folder.display());
    }
    // The kernel lets go of a folder's programs some time after it was removed.
    let collected = (0..100).any(|_| {
        std::thread::sleep(std::time::Duration::from_millis(20));
        collect().contains(&format!("{}/pod", pins.display()))
    });
    assert!(collected);
    assert!(!pins.join("pod").exists());
}

#[test]
fn exactly_the_capabilities_that_are_named_suffice_and_each_that_is_missing_is_named() {
    if !can_run() {
        return;
    }
    let world = World::new();
    let with = |capabilities: &str| {
        let by = ["setpriv", "--bounding-set", capabilities, "--no-new-privs"];
        world.init_by(&by, "install", &[])
    };
    let (code, said, complaint) = with("-all,+bpf,+net_admin,+chown");
    assert_eq!(code, 0, "{said} {complaint}");
    // What was given away is read again.
    let (code, said, complaint) = with("-all,+bpf,+net_admin,+chown,+dac_override");
    assert_eq!(code, 0, "{said} {complaint}");
    for (capabilities, missing) in [
        ("-all,+bpf,+chown", "CAP_NET_ADMIN is missing"),
        ("-all,+net_admin,+chown", "CAP_BPF is missing"),
        ("-all,+bpf,+net_admin", "CAP_CHOWN is missing"),
    ] {
        let (code, _, complaint) = with(capabilities);
        assert!(code == 3 && complaint.contains(missing), "{code} {complaint}");
    }
}

#[test]
fn below_the_minimum_it_refuses_and_says_what_would_be_stronger() {
    if !can_run() {
        return;
    }
    let world = World::new();
    let by = ["setpriv", "--bounding-set", "-bpf"];
    let (code, _, complaint) = world.init_by(&by, "install", &[]);
    assert!(code == 3 && complaint.contains("below the minimum kernel"), "{complaint}");
    assert!(!world.pod_file().exists());
    let (code, said, complaint) = world.init_by(&by, "install", &["--minimum", "nft-cgroup"]);
    let report: serde_json::Value = serde_json::from_str(&said).expect(&complaint);
    assert_eq!((code, &report["mode"]), (0, &"nft-cgroup".into()), "{complaint}");
    assert!(report["why"].as_str().unwrap().contains("CAP_BPF is missing"), "{report}");
}

#[test]
fn a_container_finds_its_pod_from_within_its_own_cgroup_namespace() {
    if !can_run() {
        return;
    }
    let world = World::new();
    let root = tree();
    for mode in ["kernel", "nft-cgroup"] {
        let more = ["--mode", mode, "--minimum", mode, "--cgroup-root", root.to_str().unwrap()];
        let (code, said, complaint) = world.init_by(&["unshare", "--cgroup"], "install", &more);
        assert_eq!(code, 0, "{said} {complaint}");
        let report: serde_json::Value = serde_json::from_str(&said).unwrap();
        let pod = fs::metadata(world.cgroup.join("pod")).unwrap().ino();
        assert_eq!(report["cgroups"][0]["id"], pod);
        let mut gate = gate::start(&world);
        let (to, server) = world.answers_with(WORLD_V4, vec![7; 1_000_000]);
        assert_eq!(gate.ask(&to), "done 1000000", "{mode}");
        server.join().unwrap();
    }
}

#[test]
fn a_gate_that_is_known_by_its_cgroup_is_found_by_its_listener_and_nothing_leaves_before() {
    if !can_run() {
        return;
    }
    let world = World::new();
    let (to, server) = world.answers_with(WORLD_V4, vec![7; 1_000_000]);
    let mode = ["--mode", "nft-cgroup", "--minimum", "nft-cgroup"];
    let install = || {
        let (code, said, complaint) = world.init_alone(&mode);
        assert_eq!(code, 0, "{said} {complaint}");
        let report: serde_json::Value = serde_json::from_str(&said).unwrap();
        report["next"].as_array().unwrap().len()
    };
    assert_eq!(install(), 1);
    let mut gate = gate::start(&world);
    let before = world.frames();
    assert_eq!(gate.ask(&to), "connection timed out 0");
    assert_eq!(world.frames(), before);
    assert_eq!(install(), 0);
    assert_eq!(gate.ask(&to), "done 1000000");
    server.join().unwrap();
}

#[test]
fn a_folder_that_another_network_shares_is_never_attached_to() {
    if !can_run() {
        return;
    }
    let world = World::new();
    // A process of this test's own network in a folder beside.
    let agents = world.cgroup.join("pod/agent/cgroup.procs");
    let script = format!("echo $$ > {} && echo && exec cat", agents.display());
    let mut other = Command::new("sh")
        .args(["-c", &script])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = [0];
    std::io::Read::read_exact(other.stdout.as_mut().unwrap(), &mut said).unwrap();
    let found = world.init("install", &[]);
    let named = world.cgroup.join("pod");
    let named = world.init("install", &["--cgroup", named.to_str().unwrap()]);
    drop(other.stdin.take());
    other.wait().unwrap();
    for (code, _, complaint) in [found, named] {
        assert!(code == 3 && complaint.contains("is in another network"), "{code} {complaint}");
    }
    assert!(!world.pins().join("pod").exists());
}
