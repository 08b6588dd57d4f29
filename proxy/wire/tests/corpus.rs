//! Every file of the fuzz corpora through its target, on every run of the tests.
#![expect(clippy::unwrap_used, reason = "a test that cannot read its corpus has failed")]

use tollgate_wire as wire;

#[path = "../fuzz/src/targets.rs"]
mod targets;

fn each(target: &str, run: fn(&[u8])) {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let mut read = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        run(&std::fs::read(entry.unwrap().path()).unwrap());
        read += 1;
    }
    assert!(read >= 6, "{target}: {read} files");
}

#[test]
fn the_json_corpus_holds() {
    each("json", targets::json);
}

#[test]
fn the_sse_corpus_holds() {
    each("sse", targets::sse);
}

#[test]
fn the_encoding_corpus_holds() {
    each("encoding", targets::encoding);
}

#[test]
fn the_request_corpus_holds() {
    each("request", targets::request);
}

#[test]
fn the_answer_corpus_holds() {
    each("answer", targets::answer);
}
