//! One request, from top to bottom: observe, judge, record, enact.

pub(crate) mod body;
