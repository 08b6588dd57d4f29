use super::*;
use decide::policy::Mode;
use std::path::PathBuf;
use std::time::Duration;

fn env(pairs: &[(&str, &str)]) -> impl Iterator<Item = (OsString, OsString)> {
    let owned: Vec<_> = pairs.iter().map(|(n, v)| ((*n).into(), (*v).into())).collect();
    owned.into_iter()
}

fn parse(text: &str, pairs: &[(&str, &str)]) -> Result<Config, ConfigErrors> {
    Config::parse("t.yaml", text, Path::new("/etc/tollgate"), env(pairs))
}

fn faults(text: &str, pairs: &[(&str, &str)]) -> Vec<String> {
    parse(text, pairs).unwrap_err().0.iter().map(ToString::to_string).collect()
}

const ALL: &str = r#"
mode: observe
state: /var/lib/gate
policy: contracts
vault:
  master_key: { file: master.key }
credentials:
  openai: { provider: openai, from: sealed }
  v.llm: { provider: vllm }
providers:
  vllm: { dialect: openai, url: "https://VLLM.internal:8000/v1/", ca: ca.pem }
  box: { dialect: plain, url: "http://127.0.0.1:9", credential: none }
sinks:
  collector: { to: otlp, url: "http://collector:4318", headers: { Authorization: Bearer s3cr3t } }
listen:
  transparent: 127.0.0.1:1
  proxy: ["0.0.0.0:2", "[::]:2"]
  routed: 0.0.0.0:3
  dns: null
  health: false
  tls: { cert: c.pem, key: /k.pem, client_ca: ca.pem }
drain: { delay: 0s, streams: 2m }
upstream:
  ca: [a.pem, /b.pem]
  connect_to: ["api.openai.com:443:127.0.0.1:8443"]
limits: { connections: 7, per_address: 3 }
pod:
  agent: bot
  file: pod.json
  minimum: nft-cgroup
  inbound: { connections: 4, bytes_out: 1MiB, window_bytes_out: 8MiB, window: 30s }
"#;

#[test]
fn every_key_reaches_the_configuration() {
    let config = parse(ALL, &[]).unwrap();
    assert_eq!(config.mode, Mode::Observe);
    let etc = |name: &str| PathBuf::from("/etc/tollgate").join(name);
    assert_eq!((config.state, config.policy), ("/var/lib/gate".into(), etc("contracts")));
    assert!(matches!(config.master_key, MasterKeyFrom::File(path) if path == etc("master.key")));
    let credential = config.credentials["openai"].clone();
    assert_eq!(credential.provider, ProviderName::Public(wire::Provider::OpenAi));
    assert_eq!(credential.from, Source::Sealed);
    let url = |text| read::base_url(text).unwrap();
    let vllm = Provider {
        dialect: Some(wire::Provider::OpenAi),
        url: url("https://vllm.internal:8000/v1"),
        credential: Some("v.llm".into()),
        free: false,
        ca: Some(etc("ca.pem")),
    };
    assert_eq!(config.providers["vllm"], vllm);
    assert_eq!(
        (config.providers["box"].dialect, &config.providers["box"].credential),
        (None, &None)
    );
    let Sink::Otlp { url: to, headers } = &config.sinks["collector"];
    assert_eq!(to, &url("http://collector:4318"));
    assert_eq!(headers.keys().collect::<Vec<_>>(), ["authorization"]);
    let at = |text: &str| text.parse().unwrap();
    let listen = Listen {
        transparent: vec![at("127.0.0.1:1")],
        proxy: vec![at("0.0.0.0:2"), at("[::]:2")],
        routed: vec![at("0.0.0.0:3")],
        dns: vec![],
        health: vec![],
        tls: Some(Tls { cert: etc("c.pem"), key: "/k.pem".into(), client_ca: Some(etc("ca.pem")) }),
        plain: false,
    };
    assert_eq!(config.listen, listen);
    let drain = Drain { delay: Duration::ZERO, streams: Duration::from_mins(2) };
    assert_eq!((config.drain, config.limits.connections), (drain, 7));
    assert_eq!(config.limits.per_address, 3);
    assert_eq!(config.upstream.ca, [etc("a.pem"), "/b.pem".into()]);
    assert!(config.upstream.connect_to[0].1.fits("api.openai.com", 443));
    let inbound = Inbound {
        connections: 4,
        bytes_out: 1 << 20,
        window_bytes_out: 8 << 20,
        window: Duration::from_secs(30),
    };
    let minimum = crate::pod::Mode::NftCgroup;
    let pod = Pod { agent: "bot".into(), file: etc("pod.json"), minimum, inbound };
    assert_eq!(config.pod, Some(pod));
}

#[test]
fn a_gate_in_a_pod_listens_where_probes_reach_it_and_has_no_proxy_unless_told_otherwise() {
    let pod = parse("pod: { agent: bot }", &[]).unwrap();
    let shown = |all: &[std::net::SocketAddr]| -> Vec<String> {
        all.iter().map(ToString::to_string).collect()
    };
    assert_eq!(shown(&pod.listen.health), ["0.0.0.0:16815", "[::]:16815"]);
    assert_eq!(shown(&pod.listen.proxy), [""; 0]);
    assert_eq!(shown(&pod.listen.transparent), ["127.0.0.1:16801", "[::1]:16801"]);
    let text = "pod: { agent: bot }\nlisten: { health: 127.0.0.1:1, proxy: 127.0.0.1:2 }";
    let told = parse(text, &[]).unwrap();
    assert_eq!(shown(&told.listen.health), ["127.0.0.1:1"]);
    assert_eq!(shown(&told.listen.proxy), ["127.0.0.1:2"]);
    assert!(parse("pod:\n", &[]).unwrap().pod.is_none());
    let by_variable = parse("", &[("TOLLGATE_POD_AGENT", "bot")]).unwrap();
    assert_eq!(by_variable.pod, pod.pod);
}

#[test]
fn what_is_wrong_with_a_pod_is_said_of_each_key() {
    let text = "pod: { minimum: some, inbound: { connections: 0, bytes_out: 5, window: 0s } }";
    assert_eq!(
        faults(text, &[]),
        [
            "t.yaml:1:1: pod.agent: is missing: name the agent whose contract holds in this pod",
            "t.yaml:1:8: pod.minimum: `some` is not kernel, nft-cgroup or nft-user",
            "t.yaml:1:34: pod.inbound.connections: `0` is not a whole number from 1 to 65535",
            "t.yaml:1:50: pod.inbound.bytes_out: `5` is not a size like 512KiB or 64MiB",
            "t.yaml:1:64: pod.inbound.window: is no time at all",
        ]
    );
}

#[test]
fn an_empty_file_is_the_defaults_of_the_list() {
    for text in ["", "# nothing\n", "listen:\n"] {
        let config = parse(text, &[]).unwrap();
        assert_eq!(config.mode, Mode::Enforce);
        assert_eq!(config.state, Path::new("/var/lib/tollgate"));
        let shown: Vec<String> =
            config.listen.transparent.iter().map(ToString::to_string).collect();
        assert_eq!(shown, ["127.0.0.1:16801", "[::1]:16801"]);
        let one = |addresses: &[std::net::SocketAddr]| addresses[0].to_string();
        assert_eq!(one(&config.listen.proxy), "127.0.0.1:16802");
        let dns: Vec<String> = config.listen.dns.iter().map(ToString::to_string).collect();
        assert_eq!(dns, ["127.0.0.1:16853", "[::1]:16853"]);
        assert_eq!(one(&config.listen.health), "127.0.0.1:16815");
        assert!(config.listen.routed.is_empty() && config.listen.tls.is_none());
        assert_eq!(config.drain.streams, Duration::from_mins(1));
        assert_eq!(config.limits.connections, 16384);
        assert!(matches!(config.master_key, MasterKeyFrom::StateFolder));
    }
}

#[test]
fn everything_that_is_wrong_is_said_at_once_with_line_and_path() {
    let wrong = r#"
mode: sometimes
stat: /x
vault: { master_key: { file: a, env: B } }
credentials:
  a: { provider: opnai, from: sealed }
  b: { from: { vault: { path: x } }, provider: bedrock }
  "no name": { provider: openai }
  c: { provider: openai, form: sealed }
providers:
  openai: { dialect: openai, url: "https://a.example" }
  clear: { dialect: plain, url: "http://a.example", credential: c }
  gone: { dialect: gemini, url: "https://", credential: nobody }
sinks:
  splunk: { to: splunk_hec, url: "https://siem:8088", token: { file: x } }
  x: { to: otlp, url: "http://c:1", headers: { "a b": "secret1", c: "sec\nret2" } }
listen:
  transparent: 127.0.0.1
  proxy: 10.0.0.1:16802
  dns: [127.0.0.1:53, "no"]
  health: 0.0.0.0:53
  tls: enabled
drain: { delay: 5, streams: 2h }
upstream: { ca: { x: y }, connect_to: ["a:b"] }
limits: { connections: 0 }
control: { listen: 127.0.0.1:16809 }
"#;
    insta::assert_snapshot!(faults(wrong, &[]).join("\n"));
}

#[test]
fn what_is_no_yaml_is_named_with_its_line() {
    let said = faults("mode: enforce\nlisten: [1\n", &[]);
    assert!(said.len() == 1 && said[0].starts_with("t.yaml:"), "{said:?}");
    let twice = faults("mode: enforce\nmode: observe\n", &[]);
    assert!(twice.len() == 1 && twice[0].starts_with("t.yaml:2:"), "{twice:?}");
    assert_eq!(faults("- a\n", &[]).len(), 1);
}

#[test]
fn the_environment_takes_the_place_of_every_scalar() {
    let pairs = [
        ("TOLLGATE_MODE", "enforce"),
        ("TOLLGATE_STATE", "/s"),
        ("TOLLGATE_VAULT_MASTER_KEY_FILE", "/m"),
        ("TOLLGATE_CREDENTIALS_V_LLM_PROVIDER", "vllm"),
        ("TOLLGATE_PROVIDERS_VLLM_URL", "https://other:1"),
        ("TOLLGATE_SINKS_COLLECTOR_HEADERS_AUTHORIZATION", "other"),
        ("TOLLGATE_LISTEN_PROXY", "127.0.0.1:5,[::1]:5"),
        ("TOLLGATE_LISTEN_ROUTED", "null"),
        ("TOLLGATE_LISTEN_HEALTH", "127.0.0.1:6"),
        ("TOLLGATE_DRAIN_STREAMS", "3s"),
        ("TOLLGATE_LIMITS_CONNECTIONS", "9"),
        ("TOLLGATE_LOG", "debug"),
        ("PATH", "/bin"),
    ];
    let config = parse(ALL, &pairs).unwrap();
    assert_eq!((config.mode, config.state.as_path()), (Mode::Enforce, Path::new("/s")));
    assert!(matches!(config.master_key, MasterKeyFrom::File(path) if path == Path::new("/m")));
    assert_eq!(config.providers["vllm"].url.host, "other");
    assert_eq!((config.listen.proxy.len(), config.listen.routed.len()), (2, 0));
    assert_eq!(config.listen.health.len(), 1);
    assert_eq!((config.drain.streams.as_secs(), config.limits.connections), (3, 9));
}

#[test]
fn a_variable_that_sets_nothing_is_refused_with_the_nearest_one() {
    let pairs = [
        ("TOLLGATE_MODUS", "observe"),
        ("TOLLGATE_LIMITS_CONNECTIONS", "many"),
        ("TOLLGATE_STATE", ""),
        ("TOLLGATE_CONTROL", "x"),
    ];
    assert_eq!(
        faults("", &pairs),
        [
            "the environment: TOLLGATE_STATE: is empty: unset it, or give a value",
            "the environment: TOLLGATE_CONTROL: sets nothing; did you mean TOLLGATE_CONFIG? Unset it otherwise",
            "the environment: TOLLGATE_MODUS: sets nothing; did you mean TOLLGATE_MODE? Unset it otherwise",
            "the environment: TOLLGATE_LIMITS_CONNECTIONS: `many` is not a whole number from 1 to 1000000",
        ]
    );
    let two = "providers:\n  a-b: { dialect: plain, url: \"https://a\" }\n  a_b: { dialect: plain, url: \"https://b\" }\n";
    let said = faults(two, &[("TOLLGATE_PROVIDERS_A_B_URL", "https://c")]);
    assert!(said[0].contains("providers.a-b.url, providers.a_b.url"), "{said:?}");
}

#[test]
fn the_links_that_kubernetes_makes_to_a_service_of_our_name_are_left_alone() {
    let links = [
        ("TOLLGATE_SERVICE_HOST", "10.0.0.1"),
        ("TOLLGATE_SERVICE_PORT", "1"),
        ("TOLLGATE_SERVICE_PORT_PROXY", "1"),
        ("TOLLGATE_PORT", "tcp://10.0.0.1:1"),
        ("TOLLGATE_PORT_16802_TCP_ADDR", "10.0.0.1"),
        ("TOLLGATE_CONTROL_SERVICE_HOST", "10.0.0.2"),
        ("TOLLGATE_CONTROL_PORT_1_TCP", "tcp://10.0.0.2:1"),
    ];
    parse("", &links).unwrap();
    assert_eq!(faults("", &[("TOLLGATE_LISTEN_PORT", "1")]).len(), 1);
}

#[test]
fn the_master_key_of_a_variable_is_read_and_shown_nowhere() {
    use secrecy::ExposeSecret;
    let text = "vault: { master_key: { env: TOLLGATE_MASTER } }";
    let hex = "c7".repeat(32);
    let config = parse(text, &[("TOLLGATE_MASTER", &hex)]).unwrap();
    let MasterKeyFrom::Env { variable, key } = &config.master_key else { panic!() };
    assert_eq!((variable.as_str(), key.expose_secret()), ("TOLLGATE_MASTER", &[0xc7; 32]));
    let shown = format!("{config:?} {:?}", config.effective());
    assert!(!shown.contains("c7") && !shown.contains("199"), "{shown}");
    assert!(faults(text, &[])[0].ends_with("the variable TOLLGATE_MASTER is not set"));
    let short = faults(text, &[("TOLLGATE_MASTER", "c7c7")]);
    assert!(short[0].contains("openssl rand") && !short[0].contains("c7"), "{short:?}");
}

#[test]
fn a_header_of_a_sink_is_shown_nowhere() {
    let config = parse(ALL, &[]).unwrap();
    let shown = format!("{config:?} {:?}", config.effective());
    assert!(!shown.contains("s3cr3t"), "{shown}");
    assert!(config.effective().contains_key("sinks.collector.headers.authorization"));
}

#[test]
fn a_proxy_beyond_loopback_needs_tls_or_the_operators_word() {
    for (listen, fine) in [
        ("proxy: 127.0.0.1:1", true),
        ("proxy: \"[::1]:1\"", true),
        ("proxy: \"[::ffff:127.0.0.1]:1\"", true),
        ("proxy: 0.0.0.0:1", false),
        ("proxy: [127.0.0.1:1, \"[::]:1\"]", false),
        ("proxy: 0.0.0.0:1\n  plain: true", true),
        ("proxy: 0.0.0.0:1\n  plain: false", false),
        ("proxy: 0.0.0.0:1\n  tls: { cert: a, key: b }", true),
        ("proxy: 0.0.0.0:1\n  tls: { cert: a, key: b }\n  plain: true", false),
        ("proxy: 0.0.0.0:1\n  tls: { cert: a }", false),
        ("proxy: 0.0.0.0:1\n  tls: {}", false),
    ] {
        assert_eq!(parse(&format!("listen:\n  {listen}\n"), &[]).is_ok(), fine, "{listen}");
    }
    let by_variable = faults("", &[("TOLLGATE_LISTEN_PROXY", "0.0.0.0:16802")]);
    assert!(
        by_variable[0].starts_with("the environment: TOLLGATE_LISTEN_PROXY: "),
        "{by_variable:?}"
    );
}

#[test]
fn the_digest_follows_the_meaning_and_no_secret() {
    let digest = |text: &str| parse(text, &[]).unwrap().digest();
    assert_eq!(digest("mode: enforce"), digest("# the same\ndrain: { streams: 60000ms }\n"));
    assert_ne!(digest("mode: enforce"), digest("mode: observe"));
    assert_eq!(digest(ALL), digest(&ALL.replace("s3cr3t", "other")));
    assert_ne!(digest(ALL), digest(&ALL.replace("Authorization", "X-Key")));
}

#[test]
fn a_change_that_a_running_gate_does_not_take_over_is_named() {
    let changed = |from: &str, to: &str| {
        let new = parse(&ALL.replace(from, to), &[]).unwrap();
        parse(ALL, &[]).unwrap().changes_needing_restart(&new)
    };
    assert!(changed("mode: observe", "mode: enforce").is_empty());
    assert!(changed("delay: 0s", "delay: 1s").is_empty());
    assert_eq!(changed("/var/lib/gate", "/other"), ["state"]);
    assert_eq!(changed("0.0.0.0:3", "0.0.0.0:4"), ["listen.routed"]);
    assert_eq!(changed("s3cr3t", "other"), ["sinks.collector.headers.authorization"]);
    assert_eq!(changed(", ca: ca.pem }", " }"), ["providers.vllm.ca"]);
    assert!(
        changed(
            "  v.llm: { provider: vllm }",
            "  v.llm: { provider: vllm }\n  x: { provider: openai }"
        )
        .is_empty()
    );
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    let error = Config::load(Path::new("/nonexistent/t.yaml"), env(&[])).unwrap_err().to_string();
    assert!(error.starts_with("/nonexistent/t.yaml: cannot be read"), "{error}");
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("t.yaml");
    std::fs::write(&file, "policy: p\n").unwrap();
    let config = Config::load(&file, env(&[])).unwrap();
    assert_eq!(config.policy, dir.path().join("p"));
}
