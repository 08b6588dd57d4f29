use std::io::Write;

use bytes::Bytes;
use decide::case::EnvelopeFault;
use proptest::prelude::*;

use super::{Coding, Unpacker, codings, decode};

fn gzip(body: &[u8]) -> Vec<u8> {
    let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    out.write_all(body).unwrap();
    out.finish().unwrap()
}

fn zlib(body: &[u8]) -> Vec<u8> {
    let mut out = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::best());
    out.write_all(body).unwrap();
    out.finish().unwrap()
}

fn raw_deflate(body: &[u8]) -> Vec<u8> {
    let mut out = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::best());
    out.write_all(body).unwrap();
    out.finish().unwrap()
}

fn brotli(body: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    brotli::CompressorWriter::new(&mut out, 4096, 5, 22).write_all(body).unwrap();
    out
}

fn zstd(body: &[u8]) -> Vec<u8> {
    zstd::encode_all(body, 3).unwrap()
}

type Encode = fn(&[u8]) -> Vec<u8>;

const ALL: [(&str, Encode); 5] =
    [("gzip", gzip), ("deflate", zlib), ("deflate", raw_deflate), ("br", brotli), ("zstd", zstd)];

fn read(name: &str, body: Vec<u8>, limit: u64) -> Result<Bytes, EnvelopeFault> {
    decode(Some(name), &Bytes::from(body), limit)
}

#[test]
fn each_encoding_is_read_whole_and_byte_by_byte() {
    let body: Vec<u8> = (0..50_000_u32).flat_map(|n| n.to_string().into_bytes()).collect();
    for (name, encode) in ALL {
        let packed = encode(&body);
        assert_eq!(read(name, packed.clone(), 1 << 20).unwrap(), body, "{name}");
        let mut unpacker = Unpacker::new(&codings(name).unwrap(), 1 << 20).unwrap();
        let mut out = Vec::new();
        for byte in packed {
            out.extend(unpacker.push(&[byte]).unwrap());
        }
        out.extend(unpacker.finish().unwrap());
        assert_eq!(out, body, "{name}");
    }
}

#[test]
fn what_is_flushed_is_heard_at_once() {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(b"data: 1\n\n").unwrap();
    encoder.flush().unwrap();
    let mut unpacker = Unpacker::new(&[Coding::Gzip], 1 << 20).unwrap();
    assert_eq!(unpacker.push(encoder.get_ref()).unwrap(), b"data: 1\n\n");
}

#[test]
fn layers_come_off_in_reverse_order_of_the_header() {
    assert_eq!(read("gzip, identity, BR", brotli(&gzip(b"body")), 100).unwrap(), "body");
    assert!(read("br, gzip", brotli(&gzip(b"body")), 100).is_err());
    assert_eq!(
        codings("gzip,gzip,gzip,gzip"),
        Err(EnvelopeFault::BadEncoding("gzip,gzip,gzip,gzip".into()))
    );
}

#[test]
fn an_unknown_encoding_is_refused() {
    for name in ["compress", "gzip;q=1", "", "aes128gcm", "chunked"] {
        assert!(
            matches!(read(name, gzip(b"x"), 100), Err(EnvelopeFault::BadEncoding(_))),
            "{name}"
        );
    }
}

#[test]
fn truncated_and_trailing_bytes_are_refused() {
    for (name, encode) in ALL {
        let packed = encode(b"some body that is long enough to be cut anywhere");
        for cut in 1..packed.len() {
            let cut = packed[..cut].to_vec();
            assert!(
                matches!(read(name, cut, 1000), Err(EnvelopeFault::BadEncoding(_))),
                "{name} is read cut short"
            );
        }
        let trailing = [packed, b"trailing".to_vec()].concat();
        assert!(
            matches!(read(name, trailing, 1000), Err(EnvelopeFault::BadEncoding(_))),
            "{name} and more"
        );
    }
}

#[test]
fn a_bomb_ends_at_the_limit() {
    let zeros = vec![0; 2 << 20];
    for (name, encode) in ALL {
        let bomb = encode(&zeros);
        assert!(bomb.len() < 16 << 10, "{name}: no bomb, {} bytes", bomb.len());
        assert_eq!(
            read(name, bomb.clone(), (2 << 20) - 1),
            Err(EnvelopeFault::Bomb((2 << 20) - 1)),
            "{name}"
        );
        assert_eq!(read(name, bomb, 2 << 20).unwrap().len(), 2 << 20, "{name}");
    }
    let nested = gzip(&gzip(&gzip(&zeros)));
    assert_eq!(read("gzip, gzip, gzip", nested, 1 << 20), Err(EnvelopeFault::Bomb(1 << 20)));
}

#[test]
fn the_limit_holds_over_all_pieces() {
    let body: Vec<u8> = (0..20_000_u32).flat_map(u32::to_be_bytes).collect();
    let packed = gzip(&body);
    let mut unpacker = Unpacker::new(&[Coding::Gzip], 79_999).unwrap();
    let outcome: Result<Vec<_>, _> = packed.iter().map(|byte| unpacker.push(&[*byte])).collect();
    assert_eq!(outcome, Err(EnvelopeFault::Bomb(79_999)));
}

#[test]
fn no_bytes_at_all_are_an_empty_body() {
    assert_eq!(read("gzip", Vec::new(), 10).unwrap(), "");
}

proptest! {
    #[test]
    fn any_bytes_under_any_encoding_end_in_a_body_or_a_fault(bytes in any::<Vec<u8>>(), which in 0_usize..5) {
        if let Ok(out) = read(ALL[which].0, bytes, 1000) {
            prop_assert!(out.len() <= 1000);
        }
    }
}
