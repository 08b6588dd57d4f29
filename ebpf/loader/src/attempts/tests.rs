use super::*;

/// An item as it lies in the ring, of a technique by its number.
fn item(technique: u32) -> Vec<u8> {
    let mut item = Vec::new();
    let destination =
        [0, 0, u32::from_ne_bytes([0, 0, 0xff, 0xff]), u32::from_ne_bytes([9, 9, 9, 9])];
    for word in [technique, 7, 1000, 2, 17, (1 << 16) + 36, 5, 1]
        .into_iter()
        .chain(destination)
        .chain([443])
    {
        item.extend(word.to_ne_bytes());
    }
    item.extend(b"curl\0rubbish\0\0\0\0");
    item
}

#[test]
fn an_item_is_read_field_by_field() {
    let attempt = read(&item(1)).unwrap();
    assert_eq!(attempt.technique, Technique::Datagram);
    assert_eq!((attempt.pid, attempt.uid, attempt.family, attempt.protocol), (7, 1000, 2, 17));
    assert_eq!(attempt.cgroup, 1 << 32 | 5);
    assert_eq!(attempt.comm, "curl");
    assert_eq!(attempt.destination, Some("9.9.9.9:443".parse().unwrap()));
    assert_eq!(attempt.option, None);
    assert_eq!(read(&item(5)).unwrap().option, Some((1, 36)));
}

#[test]
fn what_is_unknown_or_too_short_is_no_attempt() {
    assert_eq!(read(&item(99)), None);
    assert_eq!(read(&item(1)[..60]), None);
}

#[test]
fn a_technique_is_found_by_its_number() {
    for (number, technique) in TECHNIQUES.into_iter().enumerate() {
        assert_eq!(technique as usize, number, "{}", technique.name());
    }
}
