//! Who is the gate: whose cgroup it is, and nobody who only looks like it.

use std::{
    io::Write as _,
    net::TcpListener,
    os::fd::AsFd as _,
    process::{Command, Stdio},
};

use tollgate_ebpf::{EbpfError, MARK, Pinned};

use crate::group::Group;
use crate::stage::{GATE_UID, Stage, intake, stage};

#[test]
fn only_the_gates_sockets_bear_the_mark() {
    stage(|stage| {
        stage.install();
        let mark = "print(*[s.getsockopt(1, 36) for s in (tcp(''), tcp('['), udp(''), udp('['))])";
        let all = |mark: u32| vec![mark.to_string(); 4].join(" ");
        assert_eq!(stage.gate().agent(mark), all(MARK));
        assert_eq!(stage.agent().root(mark), all(0));
        // Who the gate accepts hears it under its mark too.
        let accepted = "l = tcp(''); l.bind(('127.0.0.1', 0)); l.listen(); s = tcp('')
s.connect(l.getsockname()); print(l.accept()[0].getsockopt(1, 36))";
        assert_eq!(stage.gate().agent(accepted), MARK.to_string());
    });
}

#[test]
fn the_gates_user_in_another_cgroup_is_an_agent() {
    stage(|stage| {
        stage.install();
        intake(stage);
        let connect = "s = tcp(''); s.connect(('10.77.0.1', 80)); say(s)";
        let redirected = format!("10.77.0.1:80 of {} from 10.77.0.1:80", stage.agent().id());
        assert_eq!(stage.agent().python(GATE_UID, connect), redirected);
        assert_eq!(stage.gate().python(GATE_UID, connect), "the far side from 10.77.0.1:80");
        // And by a mark of its own, where somebody has the privilege for it.
        let marked = "s = udp(''); tries(lambda: s.setsockopt(1, 36, 0x50524f58))
tries(lambda: s.sendmsg([PAYLOAD], [(1, 36, struct.pack('I', 0x50524f58))], 0, ('10.77.0.1', 9)))";
        assert_eq!(stage.agent().root(marked), "1\n1");
        assert_eq!(stage.arrived(), 0);
        // Below the gate's cgroup is not the gate.
        let below = stage.gate().below("below");
        assert_eq!(
            below.connect("10.77.0.1:80"),
            format!("10.77.0.1:80 of {} from 10.77.0.1:80", below.id())
        );
    });
}

#[test]
fn a_socket_of_the_gate_in_other_hands_is_redirected() {
    stage(|stage| {
        stage.install();
        intake(stage);
        let moved = format!(
            "s = tcp(''); open('{}/cgroup.procs', 'w').write('0'); s.connect(('10.77.0.1', 80)); say(s)",
            stage.agent().0.display()
        );
        let redirected = format!("10.77.0.1:80 of {} from 10.77.0.1:80", stage.agent().id());
        assert_eq!(stage.gate().root(&moved), redirected);
        // And the other way: what an agent made does not leave by the gate's hands either.
        let moved =
            moved.replace(stage.agent().0.to_str().unwrap(), stage.gate().0.to_str().unwrap());
        let moved = moved
            .replace("say(s)", "print('connected')")
            .replace("s = tcp('')", "s = tcp(''); s.settimeout(1)");
        assert!(!stage.agent().root(&moved).contains("connected"));
    });
}

/// Runs what [`the_gate_of_another_test`] is to do, in a cgroup and without any privilege.
fn as_gate(stage: &Stage, group: &Group) -> String {
    let exe = std::env::current_exe().unwrap();
    let run = format!(
        "{} --exact exemption::the_gate_of_another_test --ignored --nocapture",
        exe.display()
    );
    let output = group
        .enter(&run)
        .env("TOLLGATE_TEST_MAPS", stage.at.join("maps"))
        .stderr(Stdio::inherit())
        .output()
        .unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{said}");
    said
}

#[test]
#[ignore = "started by other tests, in the cgroup of a gate"]
fn the_gate_of_another_test() {
    become_user(GATE_UID);
    let has = rustix::thread::capabilities(None).unwrap();
    assert!(has.effective.is_empty() && has.permitted.is_empty(), "{has:?}");
    let pinned = Pinned::open(std::env::var_os("TOLLGATE_TEST_MAPS").unwrap().as_ref()).unwrap();
    let id = pinned.exempt_myself().unwrap();
    assert_eq!(pinned.counters().unwrap().len(), tollgate_ebpf::TECHNIQUES.len());
    let mut attempts = pinned.attempts().unwrap();
    let seen = std::iter::from_fn(|| attempts.next()).count();
    let origin = pinned.origin("127.0.0.1:9".parse().unwrap(), "127.0.0.1:26801".parse().unwrap());
    assert_eq!(origin, None);
    TcpListener::bind("127.0.0.1:26801").unwrap();
    std::io::stdout().write_all(format!("GATE {id} {seen}\n").as_bytes()).unwrap();
}

/// Makes the calling thread another user's: its capabilities go.
fn become_user(user: u32) {
    // SAFETY: the calls take numbers; the library's own would change all threads.
    unsafe {
        assert_eq!(libc::syscall(libc::SYS_setgroups, 0, std::ptr::null::<u32>()), 0);
        assert_eq!(libc::syscall(libc::SYS_setresgid, user, user, user), 0);
        assert_eq!(libc::syscall(libc::SYS_setresuid, user, user, user), 0);
    }
}

#[test]
fn a_gate_without_any_capability_exempts_its_cgroup_and_nobody_else() {
    stage(|stage| {
        // The gate that was here before is exempt, and a restarted one is in a cgroup anew.
        stage.install();
        let restarted = stage.pod.below("restarted");
        for refused in ["udp('').sendto(PAYLOAD, ('10.77.0.1', 9))", "udp('').bind(('', 26801))"] {
            assert_eq!(restarted.agent(refused), "error 1");
        }
        let said = as_gate(stage, &restarted);
        assert!(said.contains(&format!("GATE {} 2\n", restarted.id())), "{said}");
        assert_eq!(restarted.connect("10.77.0.1:80"), "the far side from 10.77.0.1:80");
        intake(stage);
        let id = stage.gate().id();
        assert_eq!(
            stage.gate().connect("10.77.0.1:80"),
            format!("10.77.0.1:80 of {id} from 10.77.0.1:80")
        );
        // Installing again without naming one leaves the gate that runs alone.
        stage.install_at(&[stage.pod.open().as_fd()], &[]);
        assert_eq!(restarted.connect("10.77.0.1:80"), "the far side from 10.77.0.1:80");
    });
}

#[test]
fn the_maps_are_the_gates_users_alone() {
    stage(|stage| {
        stage.install();
        let maps = stage.at.join("maps");
        let modes = Command::new("stat")
            .args(["-c", "%a %u %n", "maps", "maps/EXEMPT", "links", "WANTED"])
            .current_dir(&stage.at)
            .output()
            .unwrap();
        assert_eq!(
            String::from_utf8(modes.stdout).unwrap(),
            format!("700 {GATE_UID} maps\n600 {GATE_UID} maps/EXEMPT\n700 0 links\n600 0 WANTED\n")
        );
        let other = std::thread::scope(|scope| {
            let other = scope.spawn(|| {
                become_user(1000);
                Pinned::open(&maps)
            });
            other.join().unwrap()
        });
        let refused = matches!(&other, Err(EbpfError::Pin { source, .. })
            if source.kind() == std::io::ErrorKind::PermissionDenied);
        assert!(refused, "{other:?}");
    });
}
