//! Judges the same request a thousand times, for `valgrind --tool=callgrind`.

#[path = "../benches/request.rs"]
mod request;

use std::hint::black_box;
use tollgate_decide::chain::CHAIN;
use tollgate_decide::policy::Mode;

fn main() {
    let (case, policy) = (request::case(), request::policy());
    for _ in 0..1000 {
        black_box(CHAIN.judge(black_box(&case), black_box(&policy), Mode::Enforce));
    }
}
