//! One answer: decode, scan, judge, release or cut.

pub mod body;
