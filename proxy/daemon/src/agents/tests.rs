//! What one agent may take of the gate at once, asked through the front door.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::IpAddr;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinHandle;

use super::*;
use crate::config::{BaseUrl, Provider, Scheme};
use crate::folder::testkit::folder;
use crate::gate::open;
use crate::intake::front::{self, Front, Gateway};
use crate::intake::strangers::Strangers;
use crate::policy_file::PolicyFile;
use crate::terms::Private;
use crate::upstream::connect::Connector;
use crate::upstream::pool::Pool;
use crate::upstream::resolve::Resolver;

const ONE: &str = "10.1.0.1";
const OTHER: &str = "10.1.0.2";
const HOST: &str = "local.test";
const PATH: &str = "/custom/local/v1/chat/completions";

/// A gate before a provider that answers when it is told to.
struct Stage {
    front: Arc<Front>,
    policies: Arc<ArcSwap<Policies>>,
    /// Answers that the provider may give.
    answers: Arc<Semaphore>,
    /// Requests that have reached it.
    asked: mpsc::UnboundedReceiver<()>,
    _state: tempfile::TempDir,
}

/// A connection of an agent.
struct Caller(SendRequest<Full<Bytes>>);

fn contracts(limits: &str) -> Policies {
    let agent = |name: &str, address: &str, limits: &str| {
        format!(
            "  {name}:\n    identity: {{ any: [ {{ address: {address} }} ] }}\n    models: [gpt-5-nano]\n    \
             destinations: [\"{HOST}:80:write\"]\n{limits}"
        )
    };
    let (one, other) = (agent("one", ONE, limits), agent("other", OTHER, ""));
    let text =
        format!("policy_id: p\nversion: \"1\"\nmode: enforce\nteam: t\nagents:\n{one}{other}");
    Policies::compile(&[PolicyFile { name: "/p/p.yaml".into(), text }], Timestamp(0)).unwrap()
}

impl Stage {
    /// `limits` are those of the agent [`ONE`].
    async fn with(limits: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let to = format!("{HOST}:80:{}", listener.local_addr().unwrap());
        let answers = Arc::new(Semaphore::new(0));
        let (tell, asked) = mpsc::unbounded_channel();
        tokio::spawn(provider(listener, Arc::clone(&answers), tell));

        let (kept, state) = folder();
        let (gate, ..) = open::open(&state).unwrap();
        let policies = Arc::new(ArcSwap::from_pointee(contracts(limits)));
        let mut holdings = Holdings::default();
        let dialect = Some(wire::Provider::OpenAi);
        holdings.providers.insert(HOST.into(), Private { provider: dialect, free: true });
        let common = Common {
            policies: Arc::clone(&policies),
            settings: Settings { mode: Mode::Enforce, holdings: Arc::new(holdings), read: 0 },
            upstream: Arc::new(Upstream {
                resolver: Resolver::system(vec![to.parse().unwrap()]).unwrap(),
                pool: Pool::new(Connector::new(&[]).unwrap()),
            }),
            sizes: Sizes { connections: 100, exchanges: 100, bodies: 1 << 20 },
            pod: Some("pod".into()),
        };
        let agents = Arc::new(Agents::new(common, gate.clock.now()).unwrap());
        let (scheme, host, port, path) = (Scheme::Http, HOST.to_owned(), 80, String::new());
        let url = BaseUrl { scheme, host, port, path };
        let local = Provider { dialect, url, credential: None, free: true, ca: None };
        let gateway = Gateway::new(&BTreeMap::from([("local".to_owned(), local)]));
        let front = Arc::new(Front { gate, agents, gateway });
        Self { front, policies, answers, asked, _state: kept }
    }

    /// Another connection from `address`.
    async fn caller(&self, address: &str) -> Caller {
        let (near, far) = tokio::io::duplex(1 << 20);
        let address: IpAddr = address.parse().unwrap();
        let stranger = Strangers::at_most(1).take(address).unwrap();
        tokio::spawn(front::one(
            Arc::clone(&self.front),
            far,
            (Peer::at(address), stranger),
            false,
        ));
        let (sender, connection) = http1::handshake(TokioIo::new(near)).await.unwrap();
        tokio::spawn(connection);
        Caller(sender)
    }

    /// Asks over a connection of its own, and goes on once the provider was asked.
    async fn under_way(&mut self, address: &str, bytes: usize) -> JoinHandle<(StatusCode, Value)> {
        let mut caller = self.caller(address).await;
        let mut asking = tokio::spawn(async move { caller.ask(bytes).await });
        tokio::select! {
            told = &mut asking => panic!("{told:?}"),
            asked = self.asked.recv() => asked.unwrap(),
        }
        asking
    }

    /// What somebody is told who may be answered at once.
    async fn told(&self, address: &str, bytes: usize) -> (StatusCode, Value) {
        self.caller(address).await.ask(bytes).await
    }
}

impl Caller {
    async fn ask(&mut self, bytes: usize) -> (StatusCode, Value) {
        let messages = json!([{ "role": "user", "content": "x".repeat(bytes) }]);
        let body = json!({ "model": "gpt-5-nano", "messages": messages }).to_string();
        let request = Request::post(PATH)
            .header("host", "gate")
            .header("content-type", "application/json")
            .body(Full::new(Bytes::from(body)));
        self.0.ready().await.unwrap();
        let response = self.0.send_request(request.unwrap()).await.unwrap();
        let status = response.status();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, serde_json::from_slice(&body).unwrap())
    }
}

async fn provider(listener: TcpListener, may: Arc<Semaphore>, tell: mpsc::UnboundedSender<()>) {
    while let Ok((stream, _)) = listener.accept().await {
        let (may, tell) = (Arc::clone(&may), tell.clone());
        let answer = service_fn(move |request: Request<Incoming>| {
            let (may, tell) = (Arc::clone(&may), tell.clone());
            async move {
                request.into_body().collect().await.unwrap();
                tell.send(()).unwrap();
                may.acquire().await.unwrap().forget();
                let body =
                    json!({ "id": "c", "object": "chat.completion", "choices": [] }).to_string();
                let response = Response::builder().header("content-type", "application/json");
                Ok::<_, Infallible>(response.body(Full::new(Bytes::from(body))).unwrap())
            }
        });
        let io = TokioIo::new(stream);
        tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(io, answer));
    }
}

/// The message of a refusal as the provider's own clients read it.
fn message(told: &(StatusCode, Value)) -> &str {
    assert_eq!(told.0, StatusCode::SERVICE_UNAVAILABLE, "{}", told.1);
    told.1.pointer("/error/message").and_then(Value::as_str).unwrap()
}

const WITHIN: StatusCode = StatusCode::OK;

#[tokio::test]
async fn an_agent_has_as_many_requests_under_way_as_its_contract_says_and_others_have_their_own() {
    let mut stage = Stage::with("    limits: { streams: 2 }\n").await;
    let first = stage.under_way(ONE, 10).await;
    let second = stage.under_way(ONE, 10).await;
    let told = stage.told(ONE, 10).await;
    assert!(message(&told).contains("too many requests at once"), "{told:?}");
    let other = stage.under_way(OTHER, 10).await;
    stage.answers.add_permits(3);
    for answered in [first, second, other] {
        assert_eq!(answered.await.unwrap().0, WITHIN);
    }
    stage.answers.add_permits(1);
    assert_eq!(stage.told(ONE, 10).await.0, WITHIN, "what has ended gives its place back");
}

#[tokio::test]
async fn an_agent_has_as_many_connections_as_its_contract_says_until_it_closes_one() {
    let stage = Stage::with("    limits: { connections: 1 }\n").await;
    stage.answers.add_permits(8);
    let mut held = stage.caller(ONE).await;
    assert_eq!(held.ask(10).await.0, WITHIN);
    let mut beyond = stage.caller(ONE).await;
    let told = beyond.ask(10).await;
    assert!(message(&told).contains("too many connections"), "{told:?}");
    assert_eq!(held.ask(10).await.0, WITHIN, "the one that it has goes on");
    assert_eq!(stage.told(OTHER, 10).await.0, WITHIN);
    drop((held, beyond));
    // The gate notices the end in its own time.
    while stage.told(ONE, 10).await.0 != WITHIN {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn an_agent_has_as_many_bytes_in_flight_as_its_contract_says() {
    let mut stage = Stage::with("    limits: { bytes: 64KiB }\n").await;
    let told = stage.told(ONE, 100 << 10).await;
    assert_eq!(told.0, StatusCode::SERVICE_UNAVAILABLE, "{told:?}");
    assert!(told.1.pointer("/error/message").is_some(), "{told:?}");
    let other = stage.under_way(OTHER, 100 << 10).await;
    let within = stage.under_way(ONE, 50 << 10).await;
    stage.answers.add_permits(2);
    assert_eq!((other.await.unwrap().0, within.await.unwrap().0), (WITHIN, WITHIN));
}

#[tokio::test]
async fn a_limit_that_was_changed_holds_from_the_next_request_on() {
    let mut stage = Stage::with("    limits: { streams: 1 }\n").await;
    let first = stage.under_way(ONE, 10).await;
    assert!(message(&stage.told(ONE, 10).await).contains("too many requests"));
    stage.policies.store(Arc::new(contracts("    limits: { streams: 3 }\n")));
    let second = stage.under_way(ONE, 10).await;
    stage.policies.store(Arc::new(contracts("    limits: { streams: 1 }\n")));
    let third = stage.under_way(ONE, 10).await;
    assert!(message(&stage.told(ONE, 10).await).contains("too many requests"));
    stage.answers.add_permits(3);
    for answered in [first, second, third] {
        assert_eq!(answered.await.unwrap().0, WITHIN);
    }
}

#[tokio::test]
async fn who_is_known_counts_among_its_agent_and_no_longer_among_strangers() {
    let stage = Stage::with("").await;
    stage.answers.add_permits(1);
    let strangers = Strangers::at_most(1);
    let address: IpAddr = ONE.parse().unwrap();
    let (near, far) = tokio::io::duplex(1 << 16);
    let stranger = strangers.take(address).unwrap();
    assert!(strangers.take(address).is_none());
    tokio::spawn(front::one(Arc::clone(&stage.front), far, (Peer::at(address), stranger), false));
    let (sender, connection) = http1::handshake(TokioIo::new(near)).await.unwrap();
    tokio::spawn(connection);
    let mut caller = Caller(sender);
    assert_eq!(caller.ask(10).await.0, WITHIN);
    assert!(strangers.take(address).is_some());
}

#[tokio::test]
async fn whatever_is_in_the_pod_is_its_agent_and_nobody_outside_is() {
    let stage = Stage::with("").await;
    let Front { gate, agents, .. } = stage.front.as_ref();
    // The address is another agent's, and is not asked.
    let outside = Peer::at(ONE.parse().unwrap());
    let inside = Peer { in_pod: true, ..outside.clone() };
    let known = agents.subject(gate, &inside, None);
    assert_eq!((known.run.agent.as_str(), known.by), ("pod", Identified::Pod));
    assert_ne!(agents.subject(gate, &outside, None).run.agent, "pod");
    assert_eq!(agents.in_pod(gate).run.id, known.run.id, "one run");
    assert!(agents.has_contract("one") && !agents.has_contract("pod"));
}
