use super::*;

const fn process(pid: u32, container: u64, user: u32) -> Process {
    Process { pid, container, user: Some(user) }
}

#[test]
fn the_gates_container_is_that_of_the_process_that_was_named() {
    let found = vec![process(1, 10, 7), process(2, 20, 7), process(3, 10, 0)];
    let sorted = by(Known::Process(3), found, &[2, 3]);
    assert_eq!(sorted, Sorted { gate: vec![1, 3], others: vec![2] });
}

#[test]
fn a_container_is_the_gates_only_if_all_of_it_is_the_gates_user() {
    let found = vec![process(1, 10, 7), process(2, 20, 7), process(3, 20, 1000)];
    let sorted = by(Known::User(7), found, &[]);
    assert_eq!(sorted, Sorted { gate: vec![1], others: vec![2, 3] });
}

#[test]
fn a_container_is_not_the_gates_if_one_of_it_was_in_the_pod() {
    let found = vec![process(1, 10, 7), process(2, 20, 7), process(3, 20, 7)];
    let sorted = by(Known::User(7), found, &[3]);
    assert_eq!(sorted, Sorted { gate: vec![1], others: vec![2, 3] });
}

#[test]
fn a_process_that_changes_its_user_is_of_no_user() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("status"), "Name:\tx\nUid:\t7\t0\t7\t7\n").unwrap();
    assert_eq!(user(folder.path()), None);
    fs::write(folder.path().join("status"), "Name:\tx\nUid:\t7\t7\t7\t7\n").unwrap();
    assert_eq!(user(folder.path()), Some(7));
}
