use super::*;
use std::fmt::Write as _;

const NOW: Timestamp = Timestamp(1_795_269_544_000_000);
const HEAD: &str = "policy_id: p\nversion: \"1\"\nmode: enforce\n";

fn file(name: &str, agents: &str) -> PolicyFile {
    PolicyFile {
        name: format!("/p/{name}"),
        text: format!("{HEAD}team: {name}\nagents:\n{agents}"),
    }
}

fn policies(files: &[PolicyFile]) -> Policies {
    Policies::compile(files, NOW).unwrap()
}

fn faults(files: &[PolicyFile]) -> Vec<String> {
    Policies::compile(files, NOW).unwrap_err().iter().map(ToString::to_string).collect()
}

#[test]
fn an_agents_terms_are_its_one_contract_under_its_files_own_digest() {
    let files = [
        file("a.yaml", "  bot: { models: [m1] }\n  other: { models: [m2] }\n"),
        file("b.yaml", "  third: { models: [m3] }\n"),
    ];
    let all = policies(&files);
    let whole = files[0].compile(NOW).unwrap();
    let terms = all.terms_of("bot").unwrap();
    assert_eq!((terms.digest, &terms.id, &terms.team), (whole.digest, &whole.id, &whole.team));
    assert_eq!(terms.agents.len(), 1);
    assert_eq!(terms.contract("bot"), whole.contract("bot"));
    assert!(terms.contract("other").is_none(), "nobody else's contract is in it");
    assert_eq!(all.terms_of("third").unwrap().team.as_deref(), Some("b.yaml"));
    assert!(all.terms_of("nobody").is_none());
    assert_eq!((all.agents().len(), all.files()[1].file.as_str()), (3, "b.yaml"));
}

#[test]
fn the_first_that_matches_holds_whether_it_is_a_name_or_a_pattern() {
    let text = "  z*: { models: [first] }\n  zz: { models: [never] }\n  ab: { models: [named], identity: { any: [{ key: k }] } }\n  \
                a*: { models: [second] }\n  \"*\": { models: [last] }\n";
    let files = [file("a.yaml", text)];
    let (all, whole) = (policies(&files), files[0].compile(NOW).unwrap());
    for agent in ["zz", "z", "ab", "abc", "k", "other", ""] {
        let narrowed = all.terms_of(agent).unwrap();
        assert_eq!(narrowed.contract(agent), whole.contract(agent), "{agent}");
    }
    assert_eq!(all.terms_of("zz").unwrap().agents[0].1.models[0].as_str(), "first");
    assert_eq!(all.terms_of("ab").unwrap().agents[0].1.models[0].as_str(), "named");
}

#[test]
fn everything_that_is_wrong_with_any_file_is_said_at_once() {
    let files = [
        file("a.yaml", "  bot: { modles: [x] }\n"),
        file("b.yaml", "  bot: { budgets: { day: 5 USD } }\n"),
    ];
    let said = faults(&files);
    assert_eq!(said.len(), 2, "{said:?}");
    assert!(said[0].starts_with("/p/a.yaml:6:10: agents.bot.modles: "), "{said:?}");
    assert!(said[1].starts_with("/p/b.yaml:6:21: agents.bot.budgets.day: "), "{said:?}");
}

#[test]
fn an_agent_in_two_files_is_refused_with_both_places() {
    let files = [file("a.yaml", "  x: {}\n  bot: {}\n"), file("b.yaml", "  bot: {}\n")];
    assert_eq!(
        faults(&files),
        [
            "/p/b.yaml:6:3: agents.bot: is also in /p/a.yaml:7 (agents.bot): an agent has one contract"
        ]
    );
}

#[test]
fn an_agent_that_another_files_pattern_covers_is_refused() {
    let covered = [file("a.yaml", "  \"b*\": {}\n"), file("b.yaml", "  bot: {}\n")];
    let said = faults(&covered);
    assert!(said.len() == 1 && said[0].contains("/p/a.yaml:6 (agents.b*)"), "{said:?}");
    policies(&[file("a.yaml", "  bot: {}\n"), file("b.yaml", "  \"b*\": {}\n")]);
}

#[test]
fn an_agent_is_known_by_what_it_calls_with() {
    let agents = "  near: { identity: { any: [{ address: 10.1.2.0/24 }, { cgroup: /a.slice/b.service }, { key: kn }] } }\n  \
                  far: { identity: { any: [{ address: 10.0.0.0/8 }, { address: \"fd00::/8\" }, { cgroup: /a.slice }, { certificate: \"spiffe://x/far\" }] } }\n  \
                  one: { identity: { any: [{ address: 10.1.2.3 }] } }\n";
    let all = policies(&[file("a.yaml", agents)]);
    let at = |text: &str| all.by_address(text.parse().unwrap());
    for (address, agent) in [
        ("10.1.2.3", Some("one")),
        ("::ffff:10.1.2.3", Some("one")),
        ("10.1.2.4", Some("near")),
        ("10.1.3.4", Some("far")),
        ("11.0.0.1", None),
        ("fd12::1", Some("far")),
        ("fe80::1", None),
        ("::1", None),
    ] {
        assert_eq!(at(address), agent, "{address}");
    }
    for (cgroup, agent) in [
        ("/a.slice/b.service", Some("near")),
        ("/a.slice/b.service/sub/sub", Some("near")),
        ("/a.slice/b.service2", Some("far")),
        ("/a.slice", Some("far")),
        ("/a.slice2", None),
        ("/", None),
        ("", None),
    ] {
        assert_eq!(all.by_cgroup(cgroup), agent, "{cgroup}");
    }
    assert_eq!(all.by_certificate("spiffe://x/far"), Some("far"));
    assert_eq!(all.by_certificate("spiffe://x/fa"), None);
    assert_eq!((all.by_key("kn"), all.by_key("near")), (Some("near"), None));
}

#[test]
fn one_identity_of_two_agents_is_refused_with_both_places() {
    for (attribute, what) in [
        ("key: k", "the key k"),
        ("certificate: c.example", "the certificate c.example"),
        ("cgroup: /a", "the cgroup /a"),
        ("address: 10.0.0.0/8", "the address 10.0.0.0/8"),
    ] {
        let agent =
            |name: &str| format!("  {name}: {{ identity: {{ any: [{{ {attribute} }}] }} }}\n");
        let said = faults(&[file("a.yaml", &agent("a")), file("b.yaml", &agent("b"))]);
        let expected = format!(
            "/p/b.yaml:6:8: agents.b.identity: {what} is also that of /p/a.yaml:6 (agents.a.identity)"
        );
        assert_eq!(said, [expected]);
    }
    let twice = "  a: { identity: { any: [{ address: 10.0.0.1 }, { address: 10.0.0.1/32 }] } }\n";
    assert!(faults(&[file("a.yaml", twice)])[0].contains("twice"));
}

#[test]
fn a_pattern_and_a_mapped_range_identify_nobody() {
    let pattern = "  \"a*\": { identity: { any: [{ cgroup: /a }] } }\n";
    assert!(faults(&[file("a.yaml", pattern)])[0].contains("name one agent"));
    let mapped = "  a: { identity: { any: [{ address: \"::ffff:10.0.0.0/104\" }] } }\n";
    assert!(faults(&[file("a.yaml", mapped)])[0].contains("IPv4"));
}

#[test]
fn the_digest_covers_names_order_and_meaning_of_all_files_but_not_their_folder() {
    let (a, b) = (file("a.yaml", "  x: {}\n"), file("b.yaml", "  y: {}\n"));
    let digest = |files: &[PolicyFile]| *policies(files).digest();
    let both = digest(&[a.clone(), b.clone()]);
    assert_ne!(both, digest(std::slice::from_ref(&a)));
    assert_ne!(both, digest(&[b.clone(), a.clone()]));
    let renamed = PolicyFile { name: "/p/c.yaml".into(), ..b.clone() };
    assert_ne!(both, digest(&[a.clone(), renamed]));
    let moved = PolicyFile { name: "/q/b.yaml".into(), text: format!("# moved\n{}", b.text) };
    assert_eq!(both, digest(&[a, moved]));
}

#[test]
fn a_folder_is_its_yaml_files_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
    let said = |dir: &Path| Policies::read(dir, NOW).unwrap_err()[0].to_string();
    assert!(said(dir.path()).contains("has no contract"));
    assert!(said(&dir.path().join("absent")).contains("cannot be read"));
    write("b.yaml", &file("b", "  b: {}\n").text);
    write("a.yaml", &file("a", "  a: {}\n").text);
    write(".a.yaml.swp", "");
    write(".hidden.yaml", "no contract");
    write("a.yaml~", "no contract");
    write("README.md", "no contract");
    let names: Vec<String> = Policies::read(dir.path(), NOW)
        .unwrap()
        .agents()
        .map(|(name, _)| name.to_owned())
        .collect();
    assert_eq!(names, ["a", "b"]);
    write("c.yml", "");
    assert!(said(dir.path()).contains("rename it"));
}

#[test]
fn ten_thousand_agents_fit_in_one_file() {
    let mut agents = String::new();
    for i in 0..10_000 {
        let address = format!("10.{}.{}.7", i / 250, i % 250);
        writeln!(
            agents,
            "  agent-{i}: {{ models: [gpt-5-mini, \"claude-*\"], destinations: [api.openai.com, api.anthropic.com], \
             budgets: {{ request: $1, day: $10 }}, identity: {{ any: [{{ key: k{i} }}, {{ address: {address} }}] }}, \
             output: {{ max_tokens: 4096 }}, rate: {{ requests: 60, per: 1m }} }}"
        )
        .unwrap();
    }
    let all = policies(&[file("a.yaml", &agents)]);
    assert_eq!(all.agents().len(), 10_000);
    let last = all.by_address("10.39.249.7".parse().unwrap()).unwrap();
    assert_eq!((last, all.by_key("k9999")), ("agent-9999", Some("agent-9999")));
    assert!(all.terms_of(last).unwrap().contract(last).is_some());
}
