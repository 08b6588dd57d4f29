//! The node's agent, on a node that makes no cgroup for a pod.

use std::{
    fs,
    path::Path,
    process::{Child, Command, Stdio},
};

use crate::{
    floor::MODES,
    world::{World, can_run, tree},
};

/// A container: a PID namespace of its own in the pod's network, in the cgroup that all containers are in.
struct Container(Child);

impl Container {
    fn start(world: &World, user: u32) -> Self {
        Self::start_after(world, user, "")
    }

    /// Started by somebody who has joined this cgroup.
    fn start_in(world: &World, user: u32, cgroup: &Path) -> Self {
        let join = format!("echo $$ > {}/cgroup.procs; ", cgroup.display());
        Self::start_after(world, user, &join)
    }

    fn start_after(world: &World, user: u32, first: &str) -> Self {
        let script = format!(
            "{first}exec nsenter --net=/run/netns/{} unshare --pid --fork --kill-child \
                              setpriv --reuid {user} --regid {user} --clear-groups sh -c 'echo; exec cat'",
            world.network("pod")
        );
        let mut child = Command::new("sh")
            .args(["-c", &script])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = [0];
        std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut said).unwrap();
        Self(child)
    }

    /// The process within: the child of `unshare`.
    fn pid(&self) -> u32 {
        let parent = self.0.id();
        let list = fs::read_to_string(format!("/proc/{parent}/task/{parent}/children")).unwrap();
        list.trim().parse().unwrap()
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        drop(self.0.wait());
    }
}

fn cgroup_of(pid: u32) -> String {
    let list = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    list.lines().find_map(|line| line.strip_prefix("0::")).unwrap().to_owned()
}

fn node(world: &World, mode: &str, more: &[&str]) -> (i32, String, String) {
    let root = tree();
    let network = format!("/run/netns/{}", world.network("pod"));
    let output = Command::new(env!("CARGO_BIN_EXE_tollgate-init"))
        .args(["node", "--json", "--pod", &world.name, "--netns", &network, "--mode", mode])
        .args(["--minimum", mode, "--cgroup-root", root.to_str().unwrap(), "--pins"])
        .arg(world.pins().join("pod"))
        .arg("--pod-file")
        .arg(world.pod_file())
        .args(more)
        .output()
        .unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

#[test]
fn a_pod_without_a_cgroup_is_given_one_and_its_processes_are_moved_there_once() {
    if !can_run() {
        return;
    }
    for mode in MODES {
        let world = World::new();
        let (gate, agent) = (Container::start(&world, 16801), Container::start(&world, 1000));
        let (code, said, complaint) = node(&world, mode, &[]);
        assert_eq!(code, 0, "{said} {complaint}");
        let folder = format!("/tollgate/{}", world.name);
        assert_eq!(cgroup_of(gate.pid()), format!("{folder}/gate"), "{mode}");
        assert_eq!(cgroup_of(agent.pid()), format!("{folder}/pod"), "{mode}");
        let (code, said, _) = node(&world, mode, &[]);
        let report: serde_json::Value = serde_json::from_str(&said).unwrap();
        assert_eq!(
            (code, &report["gate"], &report["moved"]),
            (0, &serde_json::json!([]), &serde_json::json!([]))
        );
        let named = gate.pid().to_string();
        assert_eq!(node(&world, mode, &["--gate-pid", &named]).0, 0);
        assert_eq!(cgroup_of(agent.pid()), format!("{folder}/pod"), "{mode}");
        // What a process of the pod makes from now on is governed.
        let send = "import socket; socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', ('10.203.7.1', 7))";
        let join = format!(
            "echo $$ > {}{folder}/pod/cgroup.procs; exec /usr/bin/python3 -c \"$0\"",
            tree().display()
        );
        let before = world.frames();
        let network = format!("--net=/run/netns/{}", world.network("pod"));
        let sent =
            Command::new("nsenter").args([&network, "sh", "-c", &join, send]).output().unwrap();
        assert!(
            String::from_utf8_lossy(&sent.stderr).contains("Operation not permitted"),
            "{mode}"
        );
        assert_eq!(world.frames(), before, "{mode}");
        // With its containers the pod ends, and its folders are collected with what is pinned there.
        drop((gate, agent));
        let whole = tree().join(folder.trim_start_matches('/'));
        let collected = (0..100).any(|_| {
            std::thread::sleep(std::time::Duration::from_millis(20));
            let root = tree();
            let collect = Command::new(env!("CARGO_BIN_EXE_tollgate-init"))
                .args(["gc", "--cgroup-root", root.to_str().unwrap(), "--root"])
                .arg(world.pins())
                .output();
            assert!(collect.unwrap().status.success());
            !whole.exists() && !world.pins().join("pod").exists()
        });
        assert!(collected, "{mode}");
    }
}

fn installed(world: &World) {
    let (code, said, complaint) = node(world, "kernel", &[]);
    assert_eq!(code, 0, "{said} {complaint}");
}

#[test]
fn who_was_in_the_pod_once_is_never_taken_for_the_gate() {
    if !can_run() {
        return;
    }
    let world = World::new();
    let gate = Container::start(&world, 16801);
    installed(&world);
    let pod = tree().join("tollgate").join(&world.name).join("pod");
    // Root in the agent's container makes a PID namespace in it, of which all is the gate's user: what a container is
    // told by. And once more in a cgroup that it made below its own.
    let nested = pod.join("nested");
    fs::create_dir(&nested).unwrap();
    let like_it = [&pod, &nested].map(|at| Container::start_in(&world, 16801, at));
    let before = like_it.each_ref().map(|it| cgroup_of(it.pid()));
    installed(&world);
    let folder = format!("/tollgate/{}", world.name);
    let after = like_it.each_ref().map(|it| cgroup_of(it.pid()));
    assert_eq!(
        (&before[0], &before[1]),
        (&format!("{folder}/pod"), &format!("{folder}/pod/nested"))
    );
    assert_eq!(after, before.map(|_| format!("{folder}/pod")));
    assert_eq!(cgroup_of(gate.pid()), format!("{folder}/gate"));
    // The gate's container ends and another begins, while what looks like it is there.
    drop(gate);
    let gate = Container::start(&world, 16801);
    installed(&world);
    assert_eq!(cgroup_of(gate.pid()), format!("{folder}/gate"));
    assert!(like_it.each_ref().iter().all(|it| cgroup_of(it.pid()) == format!("{folder}/pod")));
    drop((gate, like_it));
    let gone = (0..100).any(|_| {
        std::thread::sleep(std::time::Duration::from_millis(20));
        !nested.exists() || fs::remove_dir(&nested).is_ok()
    });
    assert!(gone);
}

#[test]
fn folders_of_a_pod_that_somebody_is_in_stay_when_others_are_collected() {
    if !can_run() {
        return;
    }
    let world = World::new();
    let agent = Container::start(&world, 1000);
    installed(&world);
    // The gate's container has ended, and the next has not begun.
    let gate = tree().join("tollgate").join(&world.name).join("gate");
    let root = tree();
    let collect = Command::new(env!("CARGO_BIN_EXE_tollgate-init"))
        .args(["gc", "--cgroup-root", root.to_str().unwrap(), "--root"])
        .arg(world.pins())
        .output();
    assert!(collect.unwrap().status.success());
    assert!(gate.exists() && world.pins().join("pod").exists());
    drop(agent);
}

#[test]
fn the_nodes_own_network_is_refused() {
    if !can_run() {
        return;
    }
    let own = std::process::id().to_string();
    let output = Command::new(env!("CARGO_BIN_EXE_tollgate-init"))
        .args(["node", "--pod", &format!("tgi-{own}-own"), "--pid", &own])
        .output()
        .unwrap();
    drop(fs::remove_dir(tree().join("tollgate").join(format!("tgi-{own}-own/gate"))));
    drop(fs::remove_dir(tree().join("tollgate").join(format!("tgi-{own}-own/pod"))));
    drop(fs::remove_dir(tree().join("tollgate").join(format!("tgi-{own}-own"))));
    let complaint = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(3));
    assert!(complaint.contains("the node's own network"), "{complaint}");
}
