//! Names are answered with addresses that lead to the gate, and only names that policy could allow.
//!
//! A refused name gets `NXDOMAIN`, not `REFUSED`: stub resolvers take `REFUSED` for a fault of the server and ask
//! again or elsewhere, while `NXDOMAIN` is final and is what programs report as "could not resolve host". Nothing
//! is sent anywhere for it. The state here does no I/O: a name that must be looked up first comes back as a
//! [`Step::LookUp`].

use decide::case::Timestamp;
use hickory_proto::op::{Edns, Message, MessageType, Metadata, OpCode, Query, ResponseCode};
use hickory_proto::rr::rdata::{A, PTR};
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType};

mod addresses;
mod serve;
pub use addresses::{Addresses, CAPACITY};
pub use serve::{Directory, serve_tcp, serve_udp};

use crate::listen::allowance::Allowance;

/// Seconds an answer may be kept. The address stays good for the run, but a policy change should be felt soon.
const TTL: u32 = 60;
/// The longest name that is looked up for a wildcard: enough for any host of a service, too little to carry much.
pub const LONGEST_LOOKED_UP: usize = 128;
/// Microseconds within which a look-up asks for its other family: what resolvers wait for an answer at most.
const PAIRED_WITHIN: u64 = 5_000_000;
/// Look-ups for wildcards: 50 at once, 10 a second.
const LOOK_UPS: Allowance = Allowance::new(50, 10);
/// Questions answered: 4,000 at once, 2,000 a second; what is beyond is dropped unanswered.
const QUESTIONS: Allowance = Allowance::new(4_000, 2_000);
/// The answer size announced by EDNS (the DNS flag day's figure). No answer here reaches it.
const PAYLOAD: u16 = 1232;

/// Whether policy could allow a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// It could not.
    No,
    /// It is named in the policy.
    Exact,
    /// A wildcard covers it, or the run only observes: it must exist before it gets an address.
    Wildcard,
}

/// What a look-up found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exists {
    /// The name has an address.
    Yes,
    /// The name does not exist or has none.
    No,
    /// Nobody could say.
    Unknown,
}

/// What the operator should hear of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event<'a> {
    /// Policy refuses this name.
    Refused(&'a str),
    /// This name was asked of the network for the agent.
    LookedUp(&'a str, Exists),
    /// This name was not looked up: it is too long, or there were too many.
    NotLookedUp(&'a str),
    /// All addresses are given; this name got none.
    Full(&'a str),
}

/// What to do with a query.
#[derive(Debug)]
pub enum Step {
    /// Nothing: it is no query, or one of a flood.
    Drop,
    /// Send this.
    Reply(Vec<u8>),
    /// Find out whether [`Pending::name`] exists and call [`Responder::looked_up`].
    LookUp(Pending),
}

/// A question that waits for a look-up.
#[derive(Debug)]
pub struct Pending {
    answer: Message,
    name: String,
}

impl Pending {
    /// The name asked for, in lower case without the final dot.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }
}

/// The responder of one run.
#[derive(Debug)]
pub struct Responder {
    addresses: Addresses,
    look_ups: Allowance,
    questions: Allowance,
    refused: Option<RefusedHalf>,
}

/// One look-up asks twice, for A and for AAAA; this is the half that was refused last.
#[derive(Debug)]
struct RefusedHalf {
    name: String,
    kind: RecordType,
    at: Timestamp,
}

impl Responder {
    /// Answers from `addresses`.
    #[must_use]
    pub fn new(addresses: Addresses) -> Self {
        Self { addresses, look_ups: LOOK_UPS, questions: QUESTIONS, refused: None }
    }

    /// Reads `query` and says what to do. `admits` judges a name as text; `event` hears what matters.
    pub fn ask(
        &mut self,
        query: &[u8],
        now: Timestamp,
        admits: &dyn Fn(&str) -> Admission,
        event: &dyn Fn(Event<'_>),
    ) -> Step {
        if !self.questions.take(now) {
            return Step::Drop;
        }
        let (mut answer, question) = match read(query) {
            Read::Question(answer, question) => (*answer, question),
            Read::Settled(answer) => return Step::Reply(encoded(&answer, query)),
            Read::Bad(code) => return Step::Reply(bare(query, code)),
            Read::Nothing => return Step::Drop,
        };
        if question.query_type() == RecordType::PTR
            && let Ok(net) = question.name().parse_arpa_name()
        {
            self.reverse(&mut answer, &question, net);
            return Step::Reply(encoded(&answer, query));
        }
        let Some(name) = host_name(question.name()) else {
            return Step::Reply(encoded(with(&mut answer, ResponseCode::NXDomain), query));
        };
        match admits(&name) {
            Admission::No => {
                if !self.completes_a_pair(&name, question.query_type(), now) {
                    event(Event::Refused(&name));
                }
                Step::Reply(encoded(with(&mut answer, ResponseCode::NXDomain), query))
            }
            // There is only an IPv4 address. An empty answer makes a client go on to that.
            Admission::Exact | Admission::Wildcard if question.query_type() != RecordType::A => {
                Step::Reply(encoded(&answer, query))
            }
            Admission::Wildcard if self.addresses.of(&name).is_none() => {
                if name.len() <= LONGEST_LOOKED_UP && self.look_ups.take(now) {
                    return Step::LookUp(Pending { answer, name });
                }
                event(Event::NotLookedUp(&name));
                Step::Reply(encoded(with(&mut answer, ResponseCode::ServFail), query))
            }
            Admission::Exact | Admission::Wildcard => {
                self.forward(&mut answer, &name, event);
                Step::Reply(encoded(&answer, query))
            }
        }
    }

    /// Whether this is the second half of a look-up whose first half was just refused, and so nothing new.
    fn completes_a_pair(&mut self, name: &str, kind: RecordType, now: Timestamp) -> bool {
        let pair = |one, other| one == RecordType::A && other == RecordType::AAAA;
        let half = self.refused.take();
        let completes = half.is_some_and(|half| {
            half.name == name
                && (pair(half.kind, kind) || pair(kind, half.kind))
                && now.0.saturating_sub(half.at.0) < PAIRED_WITHIN
        });
        if !completes {
            self.refused = Some(RefusedHalf { name: name.to_owned(), kind, at: now });
        }
        completes
    }

    /// The answer to a question whose name has been looked up.
    pub fn looked_up(
        &mut self,
        pending: Pending,
        found: Exists,
        event: &dyn Fn(Event<'_>),
    ) -> Vec<u8> {
        let Pending { mut answer, name } = pending;
        event(Event::LookedUp(&name, found));
        match found {
            Exists::Yes => self.forward(&mut answer, &name, event),
            Exists::No => answer.metadata.response_code = ResponseCode::NXDomain,
            Exists::Unknown => answer.metadata.response_code = ResponseCode::ServFail,
        }
        encoded(&answer, &answer.metadata.id.to_be_bytes())
    }

    fn forward(&self, answer: &mut Message, name: &str, event: &dyn Fn(Event<'_>)) {
        let asked = answer.queries.first().map(|question| question.name().clone());
        if let (Some(address), Some(asked)) = (self.addresses.give(name), asked) {
            answer.add_answer(Record::from_rdata(asked, TTL, RData::A(A(address))));
        } else {
            event(Event::Full(name));
            answer.metadata.response_code = ResponseCode::ServFail;
        }
    }

    fn reverse(&self, answer: &mut Message, question: &Query, net: ipnet::IpNet) {
        let name = match net {
            ipnet::IpNet::V4(v4) if v4.prefix_len() == v4.max_prefix_len() => {
                self.addresses.name_of(v4.addr())
            }
            ipnet::IpNet::V4(_) | ipnet::IpNet::V6(_) => None,
        };
        match name.and_then(|name| Name::from_ascii(format!("{name}.")).ok()) {
            Some(name) => {
                answer.add_answer(Record::from_rdata(
                    question.name().clone(),
                    TTL,
                    RData::PTR(PTR(name)),
                ));
            }
            None => answer.metadata.response_code = ResponseCode::NXDomain,
        }
    }
}

enum Read {
    Question(Box<Message>, Query),
    Settled(Box<Message>),
    Bad(ResponseCode),
    Nothing,
}

/// The bit that marks an answer, in the third byte.
const RESPONSE: u8 = 0x80;
/// Bytes of a DNS header.
const HEADER: usize = 12;

/// Reads the one question of `query` and begins its answer.
fn read(query: &[u8]) -> Read {
    let Some(header) = query.first_chunk::<HEADER>() else {
        return Read::Nothing;
    };
    let [_, _, flags, _, questions @ .., _, _] = *header;
    if flags & RESPONSE != 0 {
        return Read::Nothing;
    }
    // The counts are judged before the parser reserves room for what they promise: one question, no answers, no
    // authorities.
    if questions != [0, 1, 0, 0, 0, 0] {
        return Read::Bad(ResponseCode::FormErr);
    }
    let Ok(message) = Message::from_vec(query) else {
        return Read::Bad(ResponseCode::FormErr);
    };
    let Some(question) = message.queries.into_iter().next() else {
        return Read::Bad(ResponseCode::FormErr);
    };
    if message.metadata.op_code != OpCode::Query || question.query_class() != DNSClass::IN {
        return Read::Bad(ResponseCode::NotImp);
    }
    let mut answer = Message::new(message.metadata.id, MessageType::Response, OpCode::Query);
    answer.metadata = Metadata::response_from_request(&message.metadata);
    answer.metadata.recursion_available = true;
    answer.add_query(question.clone());
    if let Some(asked) = message.edns {
        let mut edns = Edns::new();
        edns.set_max_payload(PAYLOAD);
        answer.set_edns(edns);
        if asked.version() > 0 {
            answer.metadata.response_code = ResponseCode::BADVERS;
            return Read::Settled(Box::new(answer));
        }
    }
    Read::Question(Box::new(answer), question)
}

fn with(answer: &mut Message, code: ResponseCode) -> &Message {
    answer.metadata.response_code = code;
    answer
}

/// `answer` in bytes, or where it cannot be written the bare failure.
fn encoded(answer: &Message, query: &[u8]) -> Vec<u8> {
    answer.to_vec().unwrap_or_else(|_unwritable| bare(query, ResponseCode::ServFail))
}

/// A header alone, with the id of `query`: what can be said of a question that was not understood.
fn bare(query: &[u8], code: ResponseCode) -> Vec<u8> {
    let id = query.first_chunk::<2>().map_or(0, |id| u16::from_be_bytes(*id));
    let op_code = query.get(2).map_or(OpCode::Query, |flags| OpCode::from_u8((flags >> 3) & 0xf));
    Message::error_msg(id, op_code, code).to_vec().unwrap_or_default()
}

/// The name as policy spells it: lower case, no final dot, only letters, digits, hyphens and underscores.
fn host_name(name: &Name) -> Option<String> {
    let mut text = String::with_capacity(usize::from(name.num_labels()) * 8);
    for label in name {
        if !text.is_empty() {
            text.push('.');
        }
        for &byte in label {
            if !(byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_') {
                return None;
            }
            text.push(char::from(byte.to_ascii_lowercase()));
        }
    }
    (!text.is_empty()).then_some(text)
}

#[cfg(test)]
mod tests;
