//! Which forms of a run can be made here: kernel programs, a user namespace.

use std::fs;

use launch::Form;

use super::{Item, kernel};

/// What is possible, and why the other is not.
pub(super) fn items() -> Vec<Item> {
    let programs = Form::of_this_process().is_ok_and(|form| form == Form::KernelPrograms)
        && kernel::lacking().is_empty();
    let user = rehearsal(Form::UserNamespace.rehearse().map_err(|error| error.to_string()));
    if programs {
        // What a user may do here is only known from the settings: root may always.
        return vec![
            Item::good(PRIVILEGES, "all that kernel programs take: exec uses these"),
            kernel::cgroup(),
            kernel::programs(),
            user.but_optional(setting(|path| fs::read_to_string(path).ok())),
        ];
    }
    vec![without_privileges(&kernel::lacking(), user.level), user]
}

const PRIVILEGES: &str = "privileges";
const USER_NAMESPACE: &str = "user namespace";

/// One was made, with its network, or why not.
fn rehearsal(made: Result<(), String>) -> Item {
    match made {
        Ok(()) => {
            Item::good(USER_NAMESPACE, "can be made, and leads to a gate: exec needs no root")
        }
        Err(why) => Item::failure(USER_NAMESPACE, why, "sudo tollgate check"),
    }
}

fn without_privileges(lacking: &[&str], user: super::Level) -> Item {
    let found = if lacking.is_empty() {
        "those of a user namespace only, which reach no kernel programs".to_owned()
    } else {
        format!("kernel programs would take {}", lacking.join(", "))
    };
    match user {
        super::Level::Good => Item::good(PRIVILEGES, format!("a user's; {found} (sudo)")),
        super::Level::Warning | super::Level::Failure => {
            Item::failure(PRIVILEGES, found, "sudo tollgate check")
        }
    }
}

impl Item {
    /// As root sees it, who needs none: never more than a warning. `closed` is the setting that keeps users from it.
    fn but_optional(self, closed: Option<&'static str>) -> Self {
        match (self.level, closed) {
            (super::Level::Good, None) => {
                Item::good(self.name, "can be made too: exec without sudo")
            }
            (super::Level::Good, Some(setting)) => Item::good(
                self.name,
                format!("not for users ({setting}), so that exec takes sudo here"),
            ),
            (super::Level::Warning | super::Level::Failure, _) => {
                Item::good(self.name, format!("none, so that exec takes sudo here: {}", self.found))
            }
        }
    }
}

/// The setting that allows user namespaces to root only.
fn setting(read: impl Fn(&str) -> Option<String>) -> Option<&'static str> {
    const SETTINGS: [(&str, &str, &str); 2] = [
        (
            "/proc/sys/kernel/unprivileged_userns_clone",
            "0",
            "kernel.unprivileged_userns_clone is 0",
        ),
        (
            "/proc/sys/kernel/apparmor_restrict_unprivileged_userns",
            "1",
            "kernel.apparmor_restrict_unprivileged_userns is 1",
        ),
    ];
    SETTINGS
        .iter()
        .find(|(path, closed, _)| read(path).is_some_and(|value| value.trim() == *closed))
        .map(|(_, _, said)| *said)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::check::Level;

    #[test]
    fn a_user_who_can_make_one_needs_nothing_more() {
        let user = rehearsal(Ok(()));
        assert_eq!(user.level, Level::Good);
        let privileges = without_privileges(&["CAP_BPF"], user.level);
        assert_eq!(privileges.level, Level::Good);
        assert!(privileges.found.contains("CAP_BPF"), "{}", privileges.found);
    }

    #[test]
    fn a_user_who_cannot_is_told_why_and_to_use_sudo() {
        let user = rehearsal(Err("max_user_namespaces is 0".to_owned()));
        assert_eq!(
            (user.level, user.next.as_deref()),
            (Level::Failure, Some("sudo tollgate check"))
        );
        let privileges = without_privileges(&["CAP_BPF"], user.level);
        assert_eq!(privileges.level, Level::Failure);
    }

    #[test]
    fn root_lacks_nothing_where_users_have_no_namespaces() {
        for (made, closed, word) in [
            (Ok(()), None, "without sudo"),
            (Ok(()), Some("kernel.unprivileged_userns_clone is 0"), "clone is 0"),
            (Err("no nft".to_owned()), None, "no nft"),
        ] {
            let item = rehearsal(made).but_optional(closed);
            assert_eq!(item.level, Level::Good);
            assert!(item.found.contains(word), "{}", item.found);
        }
    }

    #[test]
    fn a_setting_is_named_where_it_closes_and_nowhere_else() {
        let with = |path: &'static str, value: &'static str| {
            setting(move |asked| (asked == path).then(|| format!("{value}\n")))
        };
        assert!(with("/proc/sys/kernel/unprivileged_userns_clone", "0").is_some());
        assert!(with("/proc/sys/kernel/unprivileged_userns_clone", "1").is_none());
        assert!(with("/proc/sys/kernel/apparmor_restrict_unprivileged_userns", "1").is_some());
        assert!(setting(|_| None).is_none());
    }
}
