use super::cage;

#[test]
fn the_runs_cgroup_is_gone_afterwards() {
    let Some(cage) = cage(&[]) else { return };
    let said = cage.sh("cat /proc/self/cgroup");
    let own = said.out.lines().find_map(|line| line.strip_prefix("0::")).unwrap().to_owned();
    assert!(own.contains("tollgate-"), "{own}");
    let mounts = std::fs::read_to_string("/proc/mounts").unwrap();
    let mount = mounts.lines().find(|line| line.contains(" cgroup2 ")).unwrap();
    let folder = format!("{}{own}", mount.split(' ').nth(1).unwrap());
    // The kernel lets an emptied cgroup go a moment after its last process; the next run sweeps what is left.
    cage.sh("true");
    assert!(!std::path::Path::new(&folder).exists(), "{folder}");
}
