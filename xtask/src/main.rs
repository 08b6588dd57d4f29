//! Checks, generation, demo and bench of this repository.

fn main() {}
