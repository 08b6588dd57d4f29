use super::*;

const NOW: Timestamp = Timestamp(1_795_269_544_000_000);

fn faults(text: &str) -> Vec<String> {
    let file = PolicyFile { name: "p.yaml".into(), text: text.into() };
    file.compile(NOW).unwrap_err().iter().map(ToString::to_string).collect()
}

#[test]
fn the_built_in_contract_and_profiles_are_valid() {
    let policy = PolicyFile::builtin().compile(NOW).unwrap();
    for (name, _) in builtin::PROFILES {
        add_profile(&policy, name).unwrap().unwrap();
    }
    assert!(add_profile(&policy, "unknown").is_none());
}

#[test]
fn an_unknown_key_is_named_with_line_and_path() {
    let text = "policy_id: p\nversion: \"1\"\nmode: enforce\nagents:\n  a.b:\n    models: [x]\n    tools:\n      y: read\n";
    assert_eq!(
        faults(text),
        ["p.yaml:7:5: agents.a.b.tools: is not a key of this version; remove it"]
    );
}

#[test]
fn every_fault_is_said_and_items_of_lists_have_their_own_lines() {
    let text = "policy_id: p\nversion: \"1\"\nmode: enforce\nagents:\n  a:\n    budgets: { run: 5 USD }\n    \
                destinations:\n      - api.openai.com\n      - \"no host\"\n";
    let faults = faults(text);
    assert_eq!(faults.len(), 2, "{faults:#?}");
    assert!(faults[0].starts_with("p.yaml:6:16: agents.a.budgets.run: `5 USD`"), "{faults:#?}");
    assert!(faults[1].starts_with("p.yaml:9:9: agents.a.destinations[1]: "), "{faults:#?}");
}

#[test]
fn a_value_of_the_wrong_type_is_named_with_line_and_path() {
    let text = "policy_id: p\nversion: \"1\"\nmode: sometimes\nagents: {}\n";
    let faults = faults(text);
    assert_eq!(faults.len(), 1);
    assert!(faults[0].starts_with("p.yaml:3:7: mode: "), "{faults:#?}");
}

#[test]
fn what_is_no_yaml_is_named_with_its_line() {
    let faults = faults("policy_id: p\nversion: [1\n\tmode: x\n");
    assert_eq!(faults.len(), 1);
    assert!(faults[0].starts_with("p.yaml:2:"), "{faults:#?}");
    assert!(!faults[0].contains('\n'), "{faults:#?}");
}

#[test]
fn what_is_no_contract_file_is_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let binary = dir.path().join("binary");
    std::fs::write(&binary, [b'a', 0xff]).unwrap();
    let large = dir.path().join("large");
    std::fs::write(&large, vec![b'a'; 17 << 20]).unwrap();
    for (path, says) in [
        (dir.path().join("absent"), "cannot be read"),
        (dir.path().to_owned(), "is not a file"),
        (binary, "is not UTF-8 text at byte 1"),
        (large, "is longer than"),
    ] {
        let fault = PolicyFile::read(&path).unwrap_err().to_string();
        assert!(fault.contains(says) && fault.contains(&path.display().to_string()), "{fault}");
    }
}
