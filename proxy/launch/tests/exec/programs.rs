//! Programs that talk over sockets of their own go on working.

use super::{UIDS, cage, unix::open};

#[test]
fn programs_that_talk_over_sockets_of_their_own_work() {
    for &uid in UIDS {
        let Some(cage) = cage(&["--uid", uid]) else { return };
        let place = tempfile::tempdir().unwrap();
        open(place.path());
        let script = format!(
            "cd {}; cat >pool.py <<'E'\n\
             from multiprocessing import Manager, Pool\n\
             from multiprocessing.connection import Client, Listener\n\
             import threading\n\
             def double(x): return 2 * x\n\
             if __name__ == '__main__':\n  \
               l = Listener('./listener', 'AF_UNIX')\n  \
               t = threading.Thread(target=lambda: l.accept().send('got'))\n  \
               t.start()\n  print(Client('./listener').recv())\n  t.join()\n  \
               with Pool(2) as p: print(sum(p.map(double, range(10))))\n  \
               with Manager() as m: d = m.dict(a=1); print(dict(d))\n\
             E\n\
             python3 pool.py\n\
             eval $(ssh-agent -s -a ./agent) >/dev/null; ssh-keygen -q -t ed25519 -N '' -f key; ssh-add -q key; \
             ssh-add -l | wc -l; kill $SSH_AGENT_PID\n\
             python3 -c 'import logging.handlers as h; print(h.SysLogHandler(\"/dev/log\").socket)' 2>&1 | tail -1 | cut -c1-24",
            place.path().display()
        );
        let said = cage.sh(&script);
        assert!(
            said.out.starts_with("got\n90\n{'a': 1}\n1\n"),
            "as {uid}: {}{}",
            said.out,
            said.err
        );
    }
}

#[test]
fn a_node_program_talks_to_its_child_and_to_its_own_server() {
    let Some(cage) = cage(&[]) else { return };
    if std::process::Command::new("node").arg("-v").output().is_err() {
        eprintln!("NOT TESTED: needs node");
        return;
    }
    let place = tempfile::tempdir().unwrap();
    open(place.path());
    let file = place.path().join("ipc.js");
    std::fs::write(
        &file,
        "const cp=require('child_process'),net=require('net');\n\
         if(process.send){process.send('child');process.exit(0)}\n\
         cp.fork(__filename).on('message',m=>{console.log(m);\n\
         const p=__dirname+'/s';const s=net.createServer(c=>c.end('served')).listen(p,()=>\n\
         net.connect(p).on('data',d=>console.log(''+d)).on('close',()=>s.close()))});",
    )
    .unwrap();
    let said = cage.sh(&format!("node {}", file.display()));
    assert_eq!(said.out, "child\nserved\n", "{}", said.err);
}
