//! How fast content is scanned: a whole text, and an answer token by token.

mod page;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use std::hint::black_box;
use tollgate_decide::scan::{AnswerScanner, find};

fn scan(c: &mut Criterion) {
    let text = page::text();
    let mut group = c.benchmark_group("scan");
    group.throughput(Throughput::Bytes(text.len() as u64));
    group.bench_function("whole", |b| b.iter(|| find(black_box(&text))));
    let tokens: Vec<&str> = text.split_inclusive(' ').collect();
    group.bench_function("by_token", |b| {
        b.iter(|| {
            let mut scanner = AnswerScanner::default();
            for (event, token) in (0..).zip(&tokens) {
                black_box(scanner.push(event, "0/text", token).is_ok());
            }
        });
    });
    group.finish();
}

criterion_group!(benches, scan);
criterion_main!(benches);
