use super::*;
use std::fs;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

struct Stand {
    dir: tempfile::TempDir,
    folder: PolicyFolder,
    recorded: Arc<AtomicU64>,
    broken: Arc<AtomicBool>,
}

fn contract(model: &str) -> String {
    format!(
        "policy_id: p\nversion: \"1\"\nmode: enforce\nagents: {{ bot: {{ models: [{model}] }} }}\n"
    )
}

/// Puts a file in the place of another at once, as careful editors do.
fn put(folder: &Path, name: &str, text: &str) {
    let fresh = folder.join(".fresh");
    fs::write(&fresh, text).unwrap();
    fs::rename(fresh, folder.join(name)).unwrap();
}

async fn stand() -> Stand {
    let dir = tempfile::tempdir().unwrap();
    put(dir.path(), "p.yaml", &contract("old"));
    open(dir).await
}

async fn open(dir: tempfile::TempDir) -> Stand {
    let (recorded, broken) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
    let (count, fails) = (Arc::clone(&recorded), Arc::clone(&broken));
    let record: Record = Box::new(move |_| {
        let fails = fails.load(Ordering::SeqCst);
        count.fetch_add(u64::from(!fails), Ordering::SeqCst);
        Box::pin(async move { if fails { Err("disk full".to_owned()) } else { Ok(()) } })
    });
    let clock = Clock::from_fn(|| Timestamp(1_795_269_544_000_000));
    let folder = PolicyFolder::open(dir.path().to_owned(), clock, record).await.unwrap();
    Stand { dir, folder, recorded, broken }
}

impl Stand {
    fn model(&self) -> String {
        let terms = self.folder.policies().load().terms_of("bot").unwrap();
        terms.agents[0].1.models[0].as_str().to_owned()
    }

    fn recorded(&self) -> u64 {
        self.recorded.load(Ordering::SeqCst)
    }
}

#[tokio::test]
async fn a_change_comes_into_force_once_the_folder_stands_still_and_is_recorded() {
    let stand = stand().await;
    assert_eq!((stand.recorded(), stand.folder.look().await), (1, None));
    put(stand.dir.path(), "p.yaml", &contract("new"));
    assert_eq!(stand.folder.look().await, None, "it may still be written to");
    assert_eq!(stand.model(), "old");
    assert_eq!(stand.folder.look().await, Some(Ok(Reloaded::Changed)));
    assert_eq!((stand.model(), stand.recorded()), ("new".to_owned(), 2));
    assert_eq!(stand.folder.look().await, None);
    let standing = stand.folder.standing();
    assert_eq!((standing.reloads, standing.failures, &standing.failed), (1, 0, &None));
    assert_eq!(&standing.digest, stand.folder.policies().load().digest());
}

#[tokio::test]
async fn each_way_in_which_a_file_changes_is_seen() {
    let stand = stand().await;
    let p = stand.dir.path().join("p.yaml");
    let steps: [&dyn Fn(); 4] = [
        // In place, with the same length.
        &|| fs::write(&p, contract("odd")).unwrap(),
        &|| put(stand.dir.path(), "q.yaml", &contract("x").replace("bot", "second")),
        &|| fs::remove_file(stand.dir.path().join("q.yaml")).unwrap(),
        &|| fs::rename(&p, stand.dir.path().join("r.yaml")).unwrap(),
    ];
    for (i, step) in steps.iter().enumerate() {
        step();
        assert_eq!(stand.folder.look().await, None, "step {i}");
        assert_eq!(stand.folder.look().await, Some(Ok(Reloaded::Changed)), "step {i}");
    }
    assert_eq!(stand.model(), "odd");
}

#[tokio::test]
async fn the_swap_of_a_link_above_the_file_is_seen() {
    let dir = tempfile::tempdir().unwrap();
    for (version, model) in [("..v1", "old"), ("..v2", "new")] {
        fs::create_dir(dir.path().join(version)).unwrap();
        put(&dir.path().join(version), "p.yaml", &contract(model));
    }
    let link =
        |to: &str, name: &str| std::os::unix::fs::symlink(to, dir.path().join(name)).unwrap();
    link("..v1", "..data");
    link("..data/p.yaml", "p.yaml");
    link("..v2", "..fresh");
    let stand = open(dir).await;
    assert_eq!(stand.model(), "old");
    fs::rename(stand.dir.path().join("..fresh"), stand.dir.path().join("..data")).unwrap();
    assert_eq!(stand.folder.look().await, None);
    assert_eq!(stand.folder.look().await, Some(Ok(Reloaded::Changed)));
    assert_eq!(stand.model(), "new");
}

#[tokio::test]
async fn what_does_not_compile_leaves_the_last_good_one_in_force_and_says_why() {
    let stand = stand().await;
    put(stand.dir.path(), "p.yaml", "policy_id: [");
    assert!(matches!(stand.folder.reload_now().await, Err(ReloadError::Faulty(_))));
    assert_eq!((stand.model(), stand.recorded()), ("old".to_owned(), 1));
    let standing = stand.folder.standing();
    let (_, why) = standing.failed.clone().unwrap();
    assert!(why.to_string().contains("p.yaml:1:"), "{why}");
    assert_eq!((standing.reloads, standing.failures), (0, 1));
    assert_eq!(stand.folder.look().await, None, "the same folder is not read at every look");
    put(stand.dir.path(), "p.yaml", &contract("old"));
    assert_eq!(stand.folder.reload_now().await, Ok(Reloaded::Same));
    assert_eq!(stand.folder.standing().failed, None);
    fs::remove_dir_all(stand.dir.path()).unwrap();
    assert!(stand.folder.reload_now().await.is_err());
    assert_eq!(stand.model(), "old");
}

#[tokio::test]
async fn what_cannot_be_recorded_does_not_come_into_force() {
    let stand = stand().await;
    stand.broken.store(true, Ordering::SeqCst);
    put(stand.dir.path(), "p.yaml", &contract("new"));
    let refused = stand.folder.reload_now().await;
    assert_eq!(refused, Err(ReloadError::NotRecorded("disk full".into())));
    assert_eq!(stand.model(), "old");
    stand.broken.store(false, Ordering::SeqCst);
    let mut tries = 0;
    while stand.folder.look().await.is_none() {
        tries += 1;
        assert!(tries <= AGAIN, "a folder that failed is tried again");
    }
    assert_eq!((stand.model(), tries), ("new".to_owned(), AGAIN - 1));
}

#[tokio::test(start_paused = true)]
async fn the_watch_looks_by_itself() {
    let stand = stand().await;
    put(stand.dir.path(), "p.yaml", &contract("new"));
    let seen = async {
        while stand.model() == "old" {
            tokio::time::sleep(EVERY).await;
        }
    };
    tokio::select! {
        () = stand.folder.watch() => {}
        done = tokio::time::timeout(EVERY * 10, seen) => done.unwrap(),
    }
    assert_eq!(stand.model(), "new");
}

#[tokio::test]
async fn a_folder_that_holds_nothing_good_is_no_start() {
    let dir = tempfile::tempdir().unwrap();
    let record: Record = Box::new(|_| Box::pin(async { Ok(()) }));
    let opened = PolicyFolder::open(dir.path().to_owned(), Clock::system(), record).await;
    assert!(matches!(opened, Err(ReloadError::Faulty(_))));
}

#[tokio::test]
async fn each_reading_is_told_whatever_came_of_it() {
    let stand = stand().await;
    let told = Arc::new(std::sync::Mutex::new(Vec::new()));
    let ears = Arc::clone(&told);
    stand.folder.tell(Box::new(move |read| ears.lock().unwrap().push(read.is_ok())));
    stand.folder.reload_now().await.unwrap();
    put(stand.dir.path(), "p.yaml", "agents: 7");
    stand.folder.reload_now().await.unwrap_err();
    put(stand.dir.path(), "p.yaml", &contract("new"));
    stand.folder.reload_now().await.unwrap();
    assert_eq!(*told.lock().unwrap(), [true, false, true]);
}
