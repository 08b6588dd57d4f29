//! Places of a request that can authenticate or choose an account. What stands there is the vault's business.

/// Where a place is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A request header, in lower case.
    Header(&'static str),
    /// A query parameter; names compare without regard to case.
    Query(&'static str),
}

/// How a value stands in its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// `Bearer <value>`.
    Bearer,
    /// The value alone.
    Raw,
    /// Any scheme, or no secret of a known shape.
    Any,
}

/// What a place does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// It authenticates.
    Credential,
    /// It chooses an account, organisation or project.
    Account,
}

/// One place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Where it is.
    pub kind: Kind,
    /// How a value stands there.
    pub form: Form,
    /// What it does.
    pub role: Role,
}

impl Place {
    /// The place as a decision records it: `header authorization`, `query key`.
    #[must_use]
    pub fn label(&self) -> String {
        match self.kind {
            Kind::Header(name) => format!("header {name}"),
            Kind::Query(name) => format!("query {name}"),
        }
    }

    pub(crate) const fn credential(name: &'static str, form: Form) -> Self {
        Self { kind: Kind::Header(name), form, role: Role::Credential }
    }

    pub(crate) const fn account(name: &'static str) -> Self {
        Self { kind: Kind::Header(name), form: Form::Raw, role: Role::Account }
    }

    pub(crate) const fn query(name: &'static str) -> Self {
        Self { kind: Kind::Query(name), form: Form::Raw, role: Role::Credential }
    }
}
