//! Programs that are replaced, attached twice, and left behind.

use std::{
    fs,
    os::fd::AsFd as _,
    time::{Duration, Instant},
};

use tollgate_ebpf::{EbpfError, Installed, cgroups_of, collect, install, uninstall};

use crate::group::Group;
use crate::stage::{PORTS, intake, spec, stage};

/// Connects until it is told to stop, and says which answers there were and how often.
const LOOP: &str = "said = {}
while not select.select([sys.stdin], [], [], 0)[0]:
    s = tcp('')
    try:
        s.connect(('10.77.0.1', 80))
        answer = s.recv(512).decode()
    except OSError as error:
        answer = 'error %d' % error.errno
    said[answer] = said.get(answer, 0) + 1
    if sum(said.values()) == 1:
        print('begun')
        sys.stdout.flush()
for answer, count in said.items():
    print(count, answer)";

#[test]
fn an_upgrade_under_load_loses_no_connection_and_lets_none_past() {
    stage(|stage| {
        stage.install();
        intake(stage);
        let mut older = stage.agent().session(
            1000,
            "s = tcp(''); s.connect(('10.77.0.9', 90)); say(s); wait(); print(show(s.getpeername()))",
        );
        assert!(older.line().starts_with("10.77.0.9:90 of "));
        let mut looping = stage.agent().session(1000, LOOP);
        assert_eq!(looping.line(), "begun");
        for _ in 0..20 {
            let again = stage.install();
            assert_eq!(again, Installed { attached: 0, replaced: 14, detached: 0 });
        }
        let said = looping.rest();
        let (count, answer) = said.split_once(' ').unwrap();
        assert_eq!(answer, format!("10.77.0.1:80 of {}", stage.agent().id()));
        assert!(count.parse::<u32>().unwrap() > 100, "{count}");
        // What was redirected before is known to the new programs.
        older.go();
        assert_eq!(older.rest(), "10.77.0.9:90");
    });
}

#[test]
fn a_connection_from_before_an_upgrade_is_forgotten_when_it_closes() {
    stage(|stage| {
        stage.install();
        let listener = std::net::TcpListener::bind(("127.0.0.1", PORTS.intake)).unwrap();
        let session =
            stage.agent().session(1000, "s = tcp(''); s.connect(('10.77.0.9', 90)); wait()");
        let (stream, peer) = listener.accept().unwrap();
        let at = stream.local_addr().unwrap();
        stage.install();
        let pinned = stage.pinned();
        assert_eq!(pinned.origin(peer, at).unwrap().wanted, "10.77.0.9:90".parse().unwrap());
        drop(stream);
        session.rest();
        assert_eq!(pinned.origin(peer, at), None);
    });
}

#[test]
fn programs_attached_twice_do_what_they_do_once() {
    stage(|stage| {
        let (above, below) = (stage.pod.open(), stage.agent().open());
        let installed = stage.install_at(&[above.as_fd(), below.as_fd()], &[stage.gate().id()]);
        assert_eq!(installed.attached, 28);
        intake(stage);
        let id = stage.agent().id();
        for (to, wanted) in [
            ("10.77.0.1:80", "10.77.0.1:80"),
            ("[fd77::1]:80", "[fd77::1]:80"),
            ("[::ffff:10.77.0.1]:80", "10.77.0.1:80"),
        ] {
            assert_eq!(stage.agent().connect(to), format!("{wanted} of {id} from {to}"));
        }
        let responder = std::net::UdpSocket::bind(("127.0.0.1", PORTS.responder)).unwrap();
        std::thread::spawn(move || {
            let mut question = [0; 512];
            while let Ok((_, from)) = responder.recv_from(&mut question) {
                let _ = responder.send_to(b"an answer", from);
            }
        });
        let ask = "s = udp(''); s.sendto(b'?', ('9.9.9.9', 53)); a, by = s.recvfrom(512); print(a.decode(), 'from', show(by))
for to in ['9.9.9.9:53', '[::ffff:9.9.9.9]:53']:
    s = udp(to); s.connect(at(to)); s.send(b'?'); say(s)";
        assert_eq!(
            stage.agent().agent(ask),
            "an answer from 9.9.9.9:53\nan answer from 9.9.9.9:53\nan answer from [::ffff:9.9.9.9]:53"
        );
        // The gate's port stays the gate's, also for a socket that was there before.
        let direct = format!(
            "s = tcp(''); tries(lambda: s.connect(('127.0.0.1', {})), lambda: tcp('').connect(('127.0.0.1', 9)))",
            PORTS.intake
        );
        assert_eq!(stage.agent().agent(&direct), "1 111");
        // One of them is given back, and the other stays.
        let only = stage.install_at(&[above.as_fd()], &[]);
        assert_eq!(only, Installed { attached: 0, replaced: 14, detached: 14 });
        assert_eq!(cgroups_of(&stage.at).unwrap(), [stage.pod.id()]);
    });
}

/// Waits until the kernel has let go of a cgroup that was removed, which it does at leisure.
fn until_gone(at: &std::path::Path) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while cgroups_of(at).unwrap() != [0] {
        assert!(Instant::now() < deadline, "the kernel still holds the cgroup");
        std::thread::yield_now();
    }
}

#[test]
fn what_a_removed_cgroup_left_is_collected_and_nothing_else() {
    stage(|stage| {
        stage.install();
        let root = stage.at.parent().unwrap();
        let gone = root.join("gone");
        let group = Group::new("gone");
        install(&[group.open().as_fd()], &gone, &spec()).unwrap();
        fs::create_dir(root.join("another's")).unwrap();
        assert_eq!(collect(root).unwrap(), Vec::<std::path::PathBuf>::new());
        drop(group);
        until_gone(&gone);
        assert_eq!(collect(root).unwrap(), std::slice::from_ref(&gone));
        assert!(!gone.exists() && stage.at.exists() && root.join("another's").exists());
        assert_eq!(cgroups_of(&gone).unwrap(), Vec::<u64>::new());
        assert_eq!(collect(&root.join("nowhere")).unwrap(), Vec::<std::path::PathBuf>::new());
    });
}

#[test]
fn a_pod_whose_cgroup_was_made_anew_is_governed_in_the_same_folder() {
    stage(|stage| {
        let group = Group::new("first");
        install(&[group.open().as_fd()], &stage.at, &spec()).unwrap();
        drop(group);
        until_gone(&stage.at);
        let installed = stage.install();
        assert_eq!(installed, Installed { attached: 14, replaced: 0, detached: 14 });
        assert_eq!(cgroups_of(&stage.at).unwrap(), [stage.pod.id()]);
        assert_eq!(stage.agent().agent("udp('').sendto(b'', ('10.77.0.1', 9))"), "error 1");
    });
}

#[test]
fn a_failed_installation_leaves_nothing_that_was_not_there() {
    stage(|stage| {
        let folder = fs::File::open("/tmp").unwrap();
        let cgroups = [stage.pod.open(), folder.into()];
        let cgroups = cgroups.each_ref().map(|fd| fd.as_fd());
        let failed = install(&cgroups, &stage.at, &spec());
        assert!(matches!(failed, Err(EbpfError::Attach { .. })), "{failed:?}");
        assert!(!stage.at.exists());
        assert_eq!(stage.agent().connect("10.77.0.1:80"), "the far side from 10.77.0.1:80");
        // Where it is installed already it stays.
        stage.install();
        assert!(install(&cgroups, &stage.at, &spec()).is_err());
        assert_eq!(stage.agent().agent("udp('').sendto(b'', ('10.77.0.1', 9))"), "error 1");
    });
}

#[test]
fn a_folder_outside_a_bpffs_and_maps_of_another_shape_are_refused_by_name() {
    stage(|stage| {
        let failed =
            install(&[stage.pod.open().as_fd()], "/tmp/tollgate-no-bpffs/pod".as_ref(), &spec());
        assert!(matches!(failed, Err(EbpfError::NoBpffs(_))), "{failed:?}");
        assert!(!fs::exists("/tmp/tollgate-no-bpffs").unwrap());
        stage.install();
        let maps = stage.at.join("maps");
        fs::rename(maps.join("OWN"), maps.join("ORIGINAL")).unwrap();
        let failed = install(&[stage.pod.open().as_fd()], &stage.at, &spec());
        assert!(
            matches!(&failed, Err(EbpfError::Layout(at)) if at.ends_with("ORIGINAL")),
            "{failed:?}"
        );
        let failed = tollgate_ebpf::Pinned::open(&maps);
        assert!(
            matches!(&failed, Err(EbpfError::Layout(at)) if at.ends_with("ORIGINAL")),
            "{failed:?}"
        );
        uninstall(&stage.at).unwrap();
        assert!(!stage.at.exists());
    });
}
