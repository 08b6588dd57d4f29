use super::*;

fn obstacles(kernel: bool, cgroup: bool, user: bool) -> Obstacles {
    let say = |there: bool, what: &str| there.then(|| what.to_owned());
    Obstacles {
        kernel: say(kernel, "no programs"),
        nft_cgroup: say(cgroup, "no folder"),
        nft_user: say(user, "no nft"),
    }
}

#[test]
fn auto_is_the_strongest_that_works() {
    let mode = |obstacles| choose(Wanted::Auto, Mode::NftUser, &obstacles).map(|it| it.mode);
    assert_eq!(mode(obstacles(false, false, false)), Ok(Mode::Kernel));
    assert_eq!(mode(obstacles(true, false, false)), Ok(Mode::NftCgroup));
    assert_eq!(mode(obstacles(true, true, false)), Ok(Mode::NftUser));
}

#[test]
fn a_weaker_mode_says_why_each_stronger_one_does_not_work() {
    let choice = choose(Wanted::Auto, Mode::NftUser, &obstacles(true, true, false)).unwrap();
    assert_eq!(choice.why, "kernel: no programs; nft-cgroup: no folder");
}

#[test]
fn below_the_minimum_nothing_is_chosen() {
    let error = choose(Wanted::Auto, Mode::Kernel, &obstacles(true, false, false)).unwrap_err();
    assert_eq!(
        error.to_string(),
        "only the mode nft-cgroup works here, which is below the minimum kernel: kernel: no programs; \
         change that, or accept it with --minimum nft-cgroup"
    );
}

#[test]
fn a_mode_that_is_named_is_taken_or_none() {
    let named = |wanted, minimum| choose(wanted, minimum, &obstacles(true, false, false));
    assert_eq!(
        named(Wanted::Kernel, Mode::NftUser),
        Err(ModeError::None(
            "kernel: no programs; nft-cgroup: not asked for; nft-user: not asked for".to_owned()
        ))
    );
    assert_eq!(named(Wanted::NftUser, Mode::NftUser).unwrap().mode, Mode::NftUser);
    assert!(named(Wanted::NftUser, Mode::NftCgroup).is_err());
}

#[test]
fn the_words_are_those_of_files_and_flags() {
    for mode in Mode::STRONGEST_FIRST {
        assert_eq!(serde_json::to_string(&mode).unwrap(), format!("\"{mode}\""));
        assert_eq!(Mode::from_str(mode.word(), false), Ok(mode));
    }
}
