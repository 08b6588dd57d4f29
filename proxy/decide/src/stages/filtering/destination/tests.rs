use super::*;
use crate::testkit::{case, judge};

fn not_allowed(host: &str) -> Verdict {
    Reason::DestinationNotAllowed(host.into()).into()
}

fn resolved(class: AddressClass, named: bool) -> Address {
    Address::Resolved { ip: "10.0.0.1".into(), class, named }
}

#[test]
fn a_named_host_passes() {
    assert_eq!(judge(&Destination, &case()), Ok(Verdict::Pass));
}

#[test]
fn a_host_that_is_not_named_is_refused_without_a_look_up() {
    let other = case().bound_for("pastebin.com").at(Address::NotLookedUp);
    assert_eq!(judge(&Destination, &other), Ok(not_allowed("pastebin.com")));
}

#[test]
fn an_admitted_name_that_was_not_looked_up_is_a_gathering_fault() {
    let early = case().at(Address::NotLookedUp);
    assert_eq!(judge(&Destination, &early), Err(Missing::NotGathered));
}

#[test]
fn a_connection_whose_names_disagree_is_refused_first() {
    let mixed = case().bound_for("pastebin.com").to(|to| to.agrees = false);
    assert_eq!(
        judge(&Destination, &mixed),
        Ok(Reason::DestinationsDisagree("pastebin.com".into()).into())
    );
}

#[test]
fn a_grant_without_a_port_is_for_the_webs_two_ports() {
    for (port, passes) in [(443, true), (80, true), (8443, false)] {
        let case = case().to(|to| to.port = port);
        assert_eq!(judge(&Destination, &case) == Ok(Verdict::Pass), passes, "{port}");
    }
}

#[test]
fn only_public_addresses_are_dialled_unless_named() {
    for class in [
        AddressClass::Loopback,
        AddressClass::Private,
        AddressClass::LinkLocal,
        AddressClass::Embedded,
        AddressClass::Reserved,
    ] {
        let inside = case().at(resolved(class, false));
        let host = "api.openai.com".into();
        assert_eq!(
            judge(&Destination, &inside),
            Ok(Reason::AddressNotAllowed { host, class }.into())
        );
        assert_eq!(judge(&Destination, &case().at(resolved(class, true))), Ok(Verdict::Pass));
    }
}

#[test]
fn the_address_policy_speaks_before_the_contract_so_that_it_holds_in_observe() {
    let metadata = case().bound_for("metadata.evil.org");
    let metadata = metadata.at(resolved(AddressClass::LinkLocal, false));
    let Ok(Verdict::Block(reason)) = judge(&Destination, &metadata) else { panic!("passed") };
    assert_eq!(reason.bite(), crate::verdict::Bite::Always);
}

#[test]
fn a_name_without_an_address_is_unavailable_and_not_forbidden() {
    let gone = case().at(Address::NoSuchName);
    assert_eq!(judge(&Destination, &gone), Ok(Reason::NoSuchName("api.openai.com".into()).into()));
}

#[test]
fn a_grant_to_read_does_not_let_write_and_a_grant_to_write_lets_both() {
    let write = |host| case().bound_for(host).operation("write", EndpointClass::Write);
    assert_eq!(
        judge(&Destination, &write("registry.npmjs.org")),
        Ok(Reason::ReadOnly("registry.npmjs.org".into()).into())
    );
    assert_eq!(judge(&Destination, &write("a.example.com")), Ok(Verdict::Pass));
    let read = case().bound_for("a.example.com");
    assert_eq!(judge(&Destination, &read), Ok(Verdict::Pass));
}

#[test]
fn unread_bytes_need_an_opaque_grant_and_an_opaque_grant_is_good_for_nothing_else() {
    let database = |scheme| {
        case().bound_for("postgres.svc").to(|to| {
            to.port = 5432;
            to.scheme = scheme;
        })
    };
    assert_eq!(judge(&Destination, &database(Scheme::Opaque)), Ok(Verdict::Pass));
    assert_eq!(judge(&Destination, &database(Scheme::Https)), Ok(not_allowed("postgres.svc")));
    let unread = case().to(|to| to.scheme = Scheme::Opaque);
    let refused = |to: &str| Ok(Reason::NotRead(to.into()).into());
    assert_eq!(judge(&Destination, &unread), refused("api.openai.com:443"));
    let v6 = case().bound_for("2606::1").to(|to| {
        to.port = 22;
        to.scheme = Scheme::Opaque;
    });
    assert_eq!(judge(&Destination, &v6), refused("[2606::1]:22"));
}

#[test]
fn a_host_that_the_provider_is_asked_to_contact_is_a_destination_too() {
    for (contact, passes) in [
        ("a.example.com:443", true),
        ("a.example.com", true),
        ("pastebin.com:443", false),
        ("a.example.com:8443", false),
        ("a.example.com:x", false),
        ("postgres.svc:5432", false),
    ] {
        let asking = case().asking(|ask| ask.contacts.push(contact.into()));
        let expected = if passes { Ok(Verdict::Pass) } else { Ok(not_allowed(contact)) };
        assert_eq!(judge(&Destination, &asking), expected, "{contact}");
    }
}
