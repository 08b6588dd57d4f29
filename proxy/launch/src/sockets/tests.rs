use super::*;

#[test]
fn paths_are_read_from_the_kernels_list_and_abstract_names_are_not() {
    let listed = b"Num       RefCount Protocol Flags    Type St Inode Path\n\
        0000000000000000: 00000002 00000000 00010000 0001 01 16 /run/with a space.sock\n\
        0000000000000000: 00000002 00000000 00010000 0001 01 17 @/tmp/.X11-unix/X0\n\
        0000000000000000: 00000003 00000000 00000000 0001 03 18\n\
        0000000000000000: 00000002 00000000 00010000 0001 01 19 relative.sock\n\
        0000000000000000: 00000002 00000000 00010000 0005 01 20 /a\n";
    let found: Vec<PathBuf> = paths(listed).collect();
    assert_eq!(found, [Path::new("/run/with a space.sock"), Path::new("/a")]);
}

#[test]
fn a_socket_that_a_variable_names_is_found_in_each_form() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s,1");
    let _listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
    let plain = folder.path().join("s");
    let (path, plain) = (path.to_str().unwrap(), plain.to_str().unwrap());
    for (value, named) in [
        (path.to_owned(), path),
        (format!("unix://{path}"), path),
        (format!("unix:path={plain},guid=12"), plain),
        (format!("unix:path={plain};unix:path=/other"), plain),
        (format!("{plain},4711,0"), plain),
    ] {
        assert_eq!(named_by(OsStr::new(&value)).unwrap(), Path::new(named), "{value}");
    }
    assert_eq!(named_by(OsStr::new("unix:abstract=/tmp/x")), None);
    assert_eq!(named_by(OsStr::new("sk-proj-1")), None);
}

#[test]
fn what_is_no_socket_cannot_be_shared() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let error = shared(file.path()).unwrap_err().to_string();
    assert!(error.contains("--share-socket") && error.contains("no socket"), "{error}");
}
