//! How long the chain takes for one request of which every fact is known.

mod request;

use criterion::{Criterion, criterion_group, criterion_main};
use std::hint::black_box;
use tollgate_decide::chain::CHAIN;
use tollgate_decide::policy::Mode;

fn judge(c: &mut Criterion) {
    let (case, policy) = (request::case(), request::policy());
    c.bench_function("judge", |b| {
        b.iter(|| CHAIN.judge(black_box(&case), black_box(&policy), Mode::Enforce));
    });
}

criterion_group!(benches, judge);
criterion_main!(benches);
