use super::*;

/// Runs `test` in a network of its own.
fn alone<T: Send>(test: impl FnOnce(&Nft) -> T + Send) -> T {
    thread::scope(|scope| {
        let run = || {
            unshare(CloneFlags::CLONE_NEWNET).unwrap();
            test(&Nft::find().unwrap())
        };
        scope.spawn(run).join().unwrap()
    })
}

const RULES: &str = "add table inet tollgate\ndelete table inet tollgate\n\
                     table inet tollgate { counter dropped_in { }\n chain x { }\n }\n";

#[test]
fn what_is_applied_is_counted_by_name() {
    let (counters, chains) = alone(|nft| {
        nft.apply(RULES).unwrap();
        (nft.counters().unwrap(), nft.chains().unwrap())
    });
    assert_eq!(counters, Counters::from([("dropped_in".to_owned(), 0)]));
    assert_eq!(chains, ["x"]);
}

#[test]
fn what_is_only_checked_is_not_in_force() {
    alone(|nft| {
        nft.check(RULES).unwrap();
        assert_eq!(nft.counters().unwrap(), Counters::new());
    });
}

#[test]
fn what_is_refused_leaves_what_was_there() {
    alone(|nft| {
        nft.apply(RULES).unwrap();
        let error = nft.apply("delete table inet tollgate\nadd rule inet gone gone drop\n");
        assert!(matches!(error, Err(NftError::Refused(_))), "{error:?}");
        assert_eq!(nft.counters().unwrap().len(), 1);
    });
}

#[test]
fn without_the_privilege_it_is_named() {
    let error = alone(|nft| {
        // With the user of root go its capabilities.
        rustix::thread::set_thread_uid(rustix::process::Uid::from_raw(65_534)).unwrap();
        nft.apply(RULES)
    });
    assert!(matches!(error, Err(NftError::Privilege)), "{error:?}");
}

#[test]
fn every_floor_is_taken_by_this_kernel() {
    use crate::{
        floor::{Exempt, ExemptCgroup, Floor, Interface},
        mode::Mode,
    };
    alone(|nft| {
        let lo = Interface::new("lo").unwrap();
        for mode in Mode::STRONGEST_FIRST {
            let gate = Exempt { uid: 7, cgroup: None };
            let floor = Floor::new(mode, std::slice::from_ref(&lo), gate, &[8080]).unwrap();
            nft.apply(&floor.render()).unwrap();
            nft.apply(&floor.render()).unwrap();
            assert_eq!(nft.counters().unwrap().len(), 5, "{mode}");
        }
        nft.apply(&Floor::remove()).unwrap();
        nft.apply(&Floor::remove()).unwrap();
        assert!(nft.counters().unwrap().is_empty());
        assert!(ExemptCgroup::new("x", 0).is_ok());
    });
}
