use std::{fs::File, os::fd::AsFd};

use super::*;
use crate::origins::{address, endpoint};

#[test]
fn an_endpoint_survives_the_way_to_the_kernel_and_back() {
    for text in ["1.2.3.4:443", "[2001:db8::1]:8443", "127.0.0.1:1", "[::1]:65535"] {
        let at: SocketAddr = text.parse().unwrap();
        assert_eq!(address(&endpoint(at)), Some(at), "{text}");
    }
}

#[test]
fn a_mapped_address_and_its_ipv4_form_are_one_key() {
    let mapped: SocketAddr = "[::ffff:10.0.0.1]:80".parse().unwrap();
    let plain: SocketAddr = "10.0.0.1:80".parse().unwrap();
    assert_eq!(endpoint(mapped), endpoint(plain));
}

#[test]
fn a_folder_that_is_no_cgroup_is_refused_by_name() {
    let folder = File::open("/tmp").unwrap();
    let error = Enforcement::attach(folder.as_fd()).unwrap_err().to_string();
    assert!(error.contains("cgroup2 mount") || error.contains("CAP_BPF"), "{error}");
}
