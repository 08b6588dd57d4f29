//! The contract as it is written in a file.
//!
//! The fields mirror the file. A key that is not here is kept by name, so that compiling can refuse
//! it with its path, together with every other fault of the file.

use alloc::borrow::ToOwned;
use alloc::collections::BTreeSet;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};
use serde::ser::{SerializeMap, Serializer};
use serde::{Deserialize, Serialize};

use super::{Mode, SecretsIn};

/// A mapping of the file: what is written in it, and by name the keys that no field has.
macro_rules! mapping {
    ($(#[$on:meta])* pub struct $name:ident { $($(#[$of:meta])* pub $field:ident: $kind:ty,)* }) => {
        #[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
        #[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(deny_unknown_fields))]
        $(#[$on])*
        pub struct $name {
            $($(#[$of])* pub $field: $kind,)*
            /// Keys that no field has.
            #[serde(flatten)]
            #[cfg_attr(feature = "schema", schemars(skip))]
            pub unknown: Unknown,
        }
    };
}

mapping! {
    /// One contract file.
    pub struct Bundle {
        /// The contract's own name.
        pub policy_id: String,
        /// Its version, as its authors count.
        pub version: String,
        /// The environment that it is written for; recorded.
        pub environment: Option<String>,
        /// Who answers for it; recorded.
        pub owner: Option<String>,
        /// From when on it holds, RFC 3339.
        pub effective_at: Option<String>,
        /// Observe or enforce, for agents that say nothing else.
        pub mode: Mode,
        /// The team.
        pub team: Option<String>,
        /// Where the money is booked.
        pub cost_center: Option<String>,
        /// Limits of the team together.
        #[serde(default)]
        pub budgets: Budgets,
        /// One contract an agent, in the order written.
        pub agents: Agents,
    }
}

/// Contracts by agent, in the order written, because the first that matches holds.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Agents(pub Vec<(String, Agent)>);

mapping! {
    /// The contract of one agent.
    #[derive(Default)]
    #[serde(default)]
    pub struct Agent {
        /// Observe or enforce; the file's where not stated.
        pub mode: Option<Mode>,
        /// By what else than its name the gate knows this agent.
        pub identity: Option<Identity>,
        /// Models that it may ask.
        pub models: Vec<String>,
        /// Limits.
        pub budgets: Budgets,
        /// `HOST`, `HOST:write`, `HOST:PORT`, `HOST:PORT:write`, `HOST:PORT:opaque`.
        pub destinations: Vec<Destination>,
        /// Hosts refused without a line of their own.
        pub quiet: Vec<String>,
        /// What happens to data by class.
        pub data: Data,
        /// Whether the agent's own credentials may go to hosts for which the gate holds none.
        pub own_credentials: Option<Allow>,
        /// Tools that the provider may run.
        pub provider_tools: Vec<String>,
        /// Calls of those tools that one request is reckoned with where it sets no bound itself.
        pub provider_calls: Option<u64>,
        /// Bounds of the output.
        pub output: Output,
        /// Requests a window.
        pub rate: Option<Rate>,
        /// Whether whoever has a virtual key of this agent may use it, from anywhere.
        pub bearer: Option<bool>,
        /// What the agent may take of the gate at once.
        pub limits: Limits,
        /// Bounds of the run's virtual keys.
        pub keys: Keys,
    }
}

mapping! {
    /// Limits in dollars (`$0.25`).
    #[derive(Default)]
    #[serde(default)]
    pub struct Budgets {
        /// One request's worst case.
        pub request: Option<String>,
        /// One run.
        pub run: Option<String>,
        /// One day of each virtual key.
        pub key_day: Option<String>,
        /// One day.
        pub day: Option<String>,
        /// One month.
        pub month: Option<String>,
    }
}

mapping! {
    /// By what the gate knows an agent.
    #[derive(Default)]
    #[serde(default)]
    pub struct Identity {
        /// Any of these.
        pub any: Vec<Attribute>,
    }
}

mapping! {
    /// One thing by which the gate knows an agent.
    #[derive(Default)]
    #[serde(default)]
    pub struct Attribute {
        /// The name of a virtual key.
        pub key: Option<String>,
        /// A name (DNS or URI) in the certificate that it connects with.
        pub certificate: Option<String>,
        /// A control group, as its path from the root of the cgroup v2 hierarchy.
        pub cgroup: Option<String>,
        /// An address that it connects from, or a range of them.
        pub address: Option<String>,
    }
}

/// A destination, in one word or with more to say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Destination {
    /// `HOST[:PORT][:write|:opaque]`.
    Word(String),
    /// The same with limits.
    Terms(Terms),
}

mapping! {
    /// A destination with limits.
    #[derive(Default)]
    #[serde(default)]
    pub struct Terms {
        /// `HOST[:PORT][:write|:opaque]`.
        pub host: String,
        /// The most bytes of one request's body that are read (`8MiB`).
        pub upload: Option<String>,
    }
}

mapping! {
    /// What happens to data by class.
    #[derive(Default)]
    #[serde(default)]
    pub struct Data {
        /// Secrets in requests; refused where not stated.
        pub credentials: Option<SecretsIn>,
    }
}

/// Allowed or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum Allow {
    /// Allowed.
    Allow,
    /// Refused.
    Deny,
}

mapping! {
    /// Bounds of the output.
    #[derive(Default)]
    #[serde(default)]
    pub struct Output {
        /// The most output tokens of one request.
        pub max_tokens: Option<u64>,
    }
}

mapping! {
    /// Requests a window.
    pub struct Rate {
        /// Requests.
        pub requests: u32,
        /// The window (`1m`).
        pub per: String,
    }
}

mapping! {
    /// What the agent may take of the gate at once.
    #[derive(Default)]
    #[serde(default)]
    pub struct Limits {
        /// Connections open.
        pub connections: Option<u32>,
        /// Exchanges under way.
        pub streams: Option<u32>,
        /// Bytes of request bodies held (`64MiB`).
        pub bytes: Option<String>,
    }
}

mapping! {
    /// Bounds of the run's virtual keys.
    #[derive(Default)]
    #[serde(default)]
    pub struct Keys {
        /// From the start of the run (`8h`).
        pub lifetime: Option<String>,
        /// Requests in all.
        pub uses: Option<u64>,
    }
}

/// A program's profile: what a run of it needs besides the contract.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Profile {
    /// File names of the command that bring it.
    pub commands: Vec<String>,
    /// Destinations that it adds.
    pub destinations: Vec<Destination>,
    /// Hosts refused without a line of their own.
    pub quiet: Vec<String>,
    /// Tools that the provider may run.
    pub provider_tools: Vec<String>,
    /// Calls of those tools that one request is reckoned with where it sets no bound itself.
    pub provider_calls: Option<u64>,
    /// Keys that no field has.
    #[serde(flatten)]
    pub unknown: Unknown,
}

/// Keys that no field has, by name. Their values are not read.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Unknown(pub BTreeSet<String>);

impl<'de> Deserialize<'de> for Unknown {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Keys;
        impl<'de> Visitor<'de> for Keys {
            type Value = Unknown;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a mapping")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Unknown, A::Error> {
                let mut keys = BTreeSet::new();
                while let Some((key, IgnoredAny)) = map.next_entry()? {
                    keys.insert(key);
                }
                Ok(Unknown(keys))
            }
        }
        deserializer.deserialize_map(Keys)
    }
}

impl Serialize for Unknown {
    /// Nothing: what has unknown keys does not compile, so it is never written down.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_map(Some(0))?.end()
    }
}

impl Serialize for Agents {
    /// As a list of pairs, so that the order is part of the digest.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(&self.0)
    }
}

impl<'de> Deserialize<'de> for Agents {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder;
        impl<'de> Visitor<'de> for InOrder {
            type Value = Agents;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a contract by agent name")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Agents, A::Error> {
                let mut agents = Vec::new();
                while let Some(agent) = map.next_entry()? {
                    agents.push(agent);
                }
                Ok(Agents(agents))
            }
        }
        deserializer.deserialize_map(InOrder)
    }
}

impl Serialize for Destination {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Word(word) => word.serialize(serializer),
            Self::Terms(terms) => terms.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Destination {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct WordOrTerms;
        impl<'de> Visitor<'de> for WordOrTerms {
            type Value = Destination;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("HOST[:PORT][:write|:opaque], or a mapping with `host` and `upload`")
            }

            fn visit_str<E: serde::de::Error>(self, word: &str) -> Result<Destination, E> {
                Ok(Destination::Word(word.to_owned()))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Destination, A::Error> {
                Terms::deserialize(MapAccessDeserializer::new(map)).map(Destination::Terms)
            }
        }
        deserializer.deserialize_any(WordOrTerms)
    }
}
