//! Queues that are held.

use std::{
    io::ErrorKind,
    time::{Duration, Instant},
};

use tollgate_ebpf::xdp::Held;

use crate::stage::stage;

#[test]
fn a_queue_that_is_held_is_busy_for_everybody_else_and_traffic_goes_on() {
    stage(|stage| {
        let connect = || stage.agent().connect("10.77.0.1:80");
        let held = match Held::all(&[stage.interface]) {
            Ok(held) => held,
            Err(error) if error.raw_os_error() == Some(libc::EAFNOSUPPORT) => {
                eprintln!("NOT TESTED: this kernel has no AF_XDP");
                return;
            }
            Err(error) => panic!("{error}"),
        };
        assert!(held.queues() >= 1);
        let busy = Held::all(&[stage.interface]).unwrap_err();
        assert_eq!(busy.kind(), ErrorKind::ResourceBusy);
        assert_eq!(connect(), "the far side from 10.77.0.1:80");
        drop(held);
        // The kernel lets go of a queue at leisure.
        let deadline = Instant::now() + Duration::from_secs(20);
        while let Err(error) = Held::all(&[stage.interface]) {
            assert!(Instant::now() < deadline, "{error}");
            std::thread::yield_now();
        }
        assert!(Held::all(&[99]).is_err(), "no such interface");
    });
}
