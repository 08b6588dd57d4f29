//! Scans the same 64 KiB whole and token by token, for `valgrind --tool=callgrind`.

#[path = "../benches/page.rs"]
mod page;

use std::hint::black_box;
use tollgate_decide::scan::{AnswerScanner, find};

fn main() {
    let text = page::text();
    for _ in 0..16 {
        black_box(find(black_box(&text)));
        let mut scanner = AnswerScanner::default();
        for (event, token) in (0..).zip(text.split_inclusive(' ')) {
            black_box(scanner.push(event, "0/text", token).is_ok());
        }
    }
}
