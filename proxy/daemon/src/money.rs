//! Money: what a request can cost, what it did cost, and whether it may be spent.

pub mod books;
pub mod catalog;
pub mod usage;
pub mod worst_case;

pub use books::{Answer, Books, Settlement};
pub use catalog::{Catalog, Model, Rates};
pub use usage::{Usage, actual};
pub use worst_case::{Weighed, WorstCase, weigh};
