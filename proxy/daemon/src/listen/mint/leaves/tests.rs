use super::*;
use crate::listen::mint::Authority;

#[test]
fn no_more_names_are_kept_than_there_is_room_for() {
    let now = Timestamp(1_795_000_000_000_000);
    let (authority, _) = Authority::create(now, crate::clock::random::<16>).unwrap();
    let leaves = Leaves::new(authority.into(), now).unwrap();
    for n in 0..KEPT + 200 {
        leaves.server_config(&format!("n{n}.example"), now).unwrap();
    }
    leaves.made.run_pending_tasks();
    assert!(leaves.made.entry_count() <= KEPT, "{}", leaves.made.entry_count());
}
