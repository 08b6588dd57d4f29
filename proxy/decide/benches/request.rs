//! One ordinary request and its policy.

use tollgate_decide::case::{Case, Known, ToolKind, ToolOffered};

#[path = "../src/testkit/innocent.rs"]
mod innocent;
pub(crate) use innocent::policy;

/// The innocent case, with the tools that a coding agent offers.
pub(crate) fn case() -> Case {
    let tool = |name: &str| ToolOffered { name: name.into(), kind: ToolKind::Agent };
    let mut case = innocent::case();
    if let Known::Fact(Some(ask)) = &mut case.ask {
        ask.tools = ["read", "write", "edit", "bash", "grep"].map(tool).into();
    }
    case
}
