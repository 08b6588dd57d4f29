//! Every dialect against requests and answers as the providers document them.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::string_slice,
    reason = "a test that cannot read its golden file has failed"
)]

mod dialects {
    pub(crate) mod amendments;
    pub(crate) mod answers;
    pub(crate) mod canary;
    pub(crate) mod golden;
    pub(crate) mod refusals;
    pub(crate) mod requests;
}
