//! Tricks above the packets: names that mean another host, tunnels in tunnels, addresses in disguise, keys that come
//! back; each beside the honest form of the same thing, which passes.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use e2e::harness::Stand;
use e2e::proofs::{ask_once, python, tail};
use serde_json::{Value, json};

const GUARDS: &str = include_str!("../clients/proofs/guards.py");

/// What each trick of this kind met, under the gate with these arguments.
fn met(stand: &Stand, args: &[&str], tricks: &[&str]) -> Result<BTreeMap<String, String>> {
    let outcome = stand.gate(args)?.run(python(stand, GUARDS, tricks)?)?;
    ensure!(outcome.status.success(), "{outcome:?}");
    lines(&outcome.stdout)
}

fn lines(stdout: &str) -> Result<BTreeMap<String, String>> {
    let mut met = BTreeMap::new();
    for line in stdout.lines() {
        let line: Value = serde_json::from_str(line)?;
        let text = |name: &str| line.get(name).and_then(Value::as_str).map(str::to_owned);
        met.insert(text("trick").context("no trick")?, text("met").context("nothing met")?);
    }
    Ok(met)
}

/// That the named trick met one of these words, and no answer of a provider unless that is among them.
fn is(met: &BTreeMap<String, String>, trick: &str, words: &[&str]) -> Result<()> {
    let got = met.get(trick).with_context(|| format!("{trick} was not played"))?;
    ensure!(words.iter().any(|word| got.contains(word)), "{trick}: {got}");
    let served = words.iter().any(|word| word.contains("guarded"));
    ensure!(served || !got.contains("guarded"), "{trick} was served: {got}");
    Ok(())
}

#[test]
fn a_request_goes_where_its_connection_does_or_nowhere() -> Result<()> {
    let stand = Stand::new()?;
    let met = met(&stand, &["--allow", "pastebin.com:write"], &["host"])?;
    for honest in ["itself", "upper_dot_port"] {
        is(&met, honest, &["guarded"])?;
    }
    for another in ["another", "another_port", "punycode"] {
        is(&met, another, &["HTTP/1.1 421"])?;
        // In the provider's own format.
        is(&met, another, &["\"type\":\"permission_error\""])?;
    }
    // The same connection, and the answer to a request before it was the provider's.
    for (later, first) in [("another_later", "guarded"), ("no_sni", "guarded")] {
        let got = met.get(later).context("not played")?;
        let (before, after) = got.split_once(" | ").with_context(|| got.clone())?;
        ensure!(before.contains(first) && after.contains("HTTP/1.1 421"), "{later}: {got}");
    }
    for odd in
        ["no_port_number", "userinfo", "unicode", "fullwidth_dot", "percent", "absolute_elsewhere"]
    {
        is(&met, odd, &["HTTP/1.1 4"])?;
    }
    is(
        &met,
        "name_of_another_address",
        &["SSLV3_ALERT_ACCESS_DENIED", "TLSV1_ALERT_ACCESS_DENIED", "ACCESS_DENIED"],
    )?;
    is(&met, "no_sni_no_name", &["ACCESS_DENIED"])?;
    let records = stand.log().records();
    ensure!(records.iter().all(|record| record.host == "api.openai.com"), "{records:?}");
    ensure!(records.len() == 4, "{} requests arrived", records.len());
    Ok(())
}

#[test]
fn a_hello_is_read_however_it_is_cut_and_refused_where_it_hides_its_name() -> Result<()> {
    let stand = Stand::new()?;
    let met = met(&stand, &[], &["hello"])?;
    for cut in
        ["whole", "byte_by_byte", "records_of_one_byte", "records_of_seven_in_pieces_of_three"]
    {
        is(&met, cut, &["guarded"])?;
    }
    // One alert, and its number: access_denied.
    for hidden in ["unknown_name", "ech_with_unknown_outer_name", "literal_for_a_bare_address"] {
        is(&met, hidden, &["15030300020231"])?;
    }
    for bad in ["null_in_the_name", "sslv2", "empty_records", "endless"] {
        is(&met, bad, &["1503", "closed", "Error"])?;
    }
    ensure!(stand.log().records().len() == 4, "{:?}", stand.log().records());
    ensure!(stand.log().accepted() <= 4, "something else was dialled");
    Ok(())
}

#[test]
fn nothing_is_tunnelled_in_what_is_read() -> Result<()> {
    let stand = Stand::new()?;
    let met = met(&stand, &["--allow", "pastebin.com:write"], &["tunnel"])?;
    is(&met, "connect", &["HTTP/1.1 4"])?;
    is(&met, "trace", &["HTTP/1.1 403", "HTTP/1.1 405"])?;
    is(&met, "tls_in_tls", &["HTTP/1.1 400", "closed"])?;
    for upgrade in ["websocket", "websocket_elsewhere", "h2c"] {
        let got = met.get(upgrade).context("not played")?;
        ensure!(!got.contains("HTTP/1.1 101"), "{upgrade}: {got}");
    }
    // What was said as if the protocol had changed is a request that cannot be read.
    for upgrade in ["websocket", "websocket_elsewhere"] {
        let got = met.get(upgrade).context("not played")?;
        let after = got.split_once(" | ").map_or(got.as_str(), |(_, after)| after);
        ensure!(!after.contains(" 200 ") && !after.contains("\u{16}\u{3}"), "{upgrade}: {got}");
    }
    is(&met, "h2_in_clear", &["closed", "Error", "48545450"])?;
    for record in stand.log().records() {
        ensure!(record.method != "CONNECT" && record.method != "TRACE", "{record:?}");
        ensure!(record.header("upgrade").is_none(), "{record:?}");
        ensure!(
            record.header("sec-websocket-key").is_none() || record.status != Some(101),
            "{record:?}"
        );
    }
    Ok(())
}

/// Addresses that are not the network's, in the forms in which they are written; some more than once.
const DISGUISED: [&str; 24] = [
    "169.254.169.254",
    "100.100.100.200",
    "192.0.0.192",
    "168.63.129.16",
    "127.0.0.1",
    "0.0.0.0",
    "10.0.0.1",
    "172.16.0.1",
    "192.168.0.1",
    "100.64.0.1",
    "224.0.0.1",
    "255.255.255.255",
    "[::1]",
    "[::]",
    "[fd00:ec2::254]",
    "[fd12::1]",
    "[fe80::1]",
    "[ff02::1]",
    "[::ffff:169.254.169.254]",
    "[::127.0.0.1]",
    "[64:ff9b::a9fe:a9fe]",
    "[64:ff9b:1::808:808]",
    "[2002:a9fe:a9fe::1]",
    "[2001:0:4136:e378:8000:63bf:3fff:fdd2]",
];

/// Of those, the ones that a program reaches inside without the gate, or that no connection is for.
const INSIDE: [&str; 10] = [
    "127.0.0.1",
    "0.0.0.0",
    "224.0.0.1",
    "255.255.255.255",
    "[::1]",
    "[::]",
    "[fe80::1]",
    "[ff02::1]",
    "[::ffff:169.254.169.254]",
    "[::127.0.0.1]",
];

#[test]
fn no_address_of_the_gates_own_network_is_dialled_even_where_every_name_is_let_pass() -> Result<()>
{
    let stand = Stand::new()?;
    // Names that lead there, as a name server of the attacker's would have them.
    let names: Vec<String> =
        (0..DISGUISED.len()).map(|nth| format!("a{nth}.disguised.example")).collect();
    let hosts: Vec<String> = DISGUISED
        .iter()
        .zip(&names)
        .map(|(address, name)| format!("{} {name}", address.trim_matches(['[', ']'])))
        .collect();
    let file = stand.home().join("hosts");
    std::fs::write(&file, format!("127.0.0.1 localhost\n{}\n", hosts.join("\n")))?;
    let mount = format!("mount --bind {} /etc/hosts && exec \"$@\"", file.display());
    let outside = DISGUISED.iter().copied().filter(|address| !INSIDE.contains(address));
    let tricks: Vec<&str> =
        std::iter::once("address").chain(names.iter().map(String::as_str)).chain(outside).collect();
    let run = stand.gate(&["--observe"])?.by(&["unshare", "-m", "sh", "-c", &mount, "sh"]);
    let outcome = run.run(python(&stand, GUARDS, &tricks)?)?;
    let met = lines(&outcome.stdout)?;
    ensure!(met.len() == DISGUISED.len() * 2 - INSIDE.len(), "{outcome:?}");
    for trick in met.keys() {
        is(&met, trick, &["HTTP/1.1 403"])?;
        is(&met, trick, &["name the address with --connect-to"])?;
    }
    Ok(())
}

#[test]
fn an_address_is_written_in_one_way_or_it_is_another_destination() -> Result<()> {
    let stand = Stand::new()?;
    // What a resolver of libc takes for 169.254.169.254, which is where the connection goes.
    let forms = ["2852039166", "0xa9fea9fe", "0251.0376.0251.0376", "169.254.43518"];
    let mut tricks = vec!["address"];
    tricks.extend(forms);
    let met = met(&stand, &["--observe"], &tricks)?;
    for form in forms {
        is(&met, form, &["HTTP/1.1 421"])?;
    }
    Ok(())
}

#[test]
fn an_address_of_the_machine_itself_is_not_dialled_however_public_it_looks() -> Result<()> {
    let stand = Stand::new()?;
    let space = format!("e2e-own{}", std::process::id());
    let ip = |words: &str| -> Result<()> {
        let done = Command::new("ip").args(words.split(' ')).status()?;
        ensure!(done.success(), "ip {words}");
        Ok(())
    };
    ip(&format!("netns add {space}"))?;
    let asked = || -> Result<String> {
        ip(&format!("-n {space} link set lo up"))?;
        ip(&format!("-n {space} addr add 8.8.4.4/32 dev lo"))?;
        let net = format!("--net=/run/netns/{space}");
        let words = python(&stand, GUARDS, &["address", "8.8.4.4", "8.8.8.8"])?;
        let run = stand.gate(&["--observe"])?.by(&["nsenter", &net]);
        Ok(run.run(words)?.stdout)
    };
    let met = asked();
    ip(&format!("netns del {space}"))?;
    let met = met?;
    let line = |of: &str| met.lines().find(|line| line.contains(of)).map(str::to_owned);
    let own = line("\"8.8.4.4\"").with_context(|| met.clone())?;
    ensure!(own.contains("HTTP/1.1 403") && own.contains("loopback"), "{own}");
    // The control: another address is let pass, and there is no way to it.
    let other = line("\"8.8.8.8\"").with_context(|| met.clone())?;
    ensure!(other.contains("HTTP/1.1 503") || other.contains("HTTP/1.1 502"), "{other}");
    Ok(())
}

#[test]
fn a_real_key_is_put_in_at_its_own_port_only() -> Result<()> {
    let stand = Stand::new()?;
    let to = format!("api.openai.com:8443:{}", stand.provider().addr());
    // Observe lets another port of the host pass, but not with the key.
    let args = ["--observe", "--connect-to", &to];
    let met = met(&stand, &args, &["port"])?;
    is(&met, "own_port", &["guarded"])?;
    is(&met, "another_port", &["HTTP/1.1 421"])?;
    ensure!(stand.log().records().len() == 1, "{:?}", stand.log().records());
    Ok(())
}

#[test]
fn a_redirect_is_the_clients_to_follow() -> Result<()> {
    let stand = Stand::new()?;
    let to = "https://api.openai.com/v1/models";
    let spec = json!({"host": "pastebin.com", "method": "GET", "body": "",
        "path": format!("/x?script=goto:{to}"), "headers": {"authorization": ""}});
    let answer = ask_once(&stand, &["--allow", "pastebin.com:write"], &spec)?;
    ensure!(answer.status == Some(302), "{answer:?}");
    ensure!(answer.headers.get("location").map(String::as_str) == Some(to), "{answer:?}");
    let hosts: Vec<String> = stand.log().records().iter().map(|one| one.host.clone()).collect();
    ensure!(hosts == ["pastebin.com"], "{hosts:?}");
    Ok(())
}

#[test]
fn the_key_that_was_put_in_comes_back_in_no_form() -> Result<()> {
    let stand = Stand::new()?;
    for form in ["{key}", "{key:base64}", "{key:percent}", "{key:json}"] {
        for (prompt, stream) in [
            (format!("say:it is {form} now"), false),
            (format!("split:3 say:it is {form} now"), true),
        ] {
            // Observe too: it is the gate's own secret.
            for args in [&[][..], &["--observe"]] {
                let answer = ask_once(&stand, args, &json!({"prompt": prompt, "stream": stream}))?;
                let text = format!("{} {:?}", answer.body, answer.error);
                ensure!(text.contains("secrets"), "{form} streamed {stream}: {answer:?}");
                let leaked = [
                    "CANARYq7Zx2q7",
                    "Q0FOQVJZ",
                    "%43%41%4E%41%52%59%71%37",
                    "\\u0043\\u0041\\u004e\\u0041\\u0052\\u0059\\u0071",
                ];
                ensure!(!leaked.iter().any(|part| text.contains(part)), "{form}: {answer:?}");
            }
        }
    }
    let answer = ask_once(&stand, &[], &json!({"prompt": "header:x-echo say:in a header"}))?;
    ensure!(answer.status != Some(200) && !answer.headers.contains_key("x-echo"), "{answer:?}");
    // The control: a hint of a key, and an answer about keys, pass.
    let hint = json!({"prompt": "say:a key begins sk-proj-CANARY and ends in A"});
    ensure!(ask_once(&stand, &[], &hint)?.status == Some(200), "a hint is refused");
    Ok(())
}

#[test]
fn a_program_that_does_not_trust_the_gate_is_named_with_what_to_do() -> Result<()> {
    let stand = Stand::new()?;
    let words =
        python(&stand, include_str!("../clients/proofs/trusts.py"), &["api.openai.com", "-", "-"])?;
    let outcome = stand.gate(&[])?.run(words)?;
    ensure!(outcome.stdout.matches("CERTIFICATE_VERIFY_FAILED").count() == 2, "{outcome:?}");
    let said = outcome.stderr.lines().find(|line| line.contains("not trusted: api.openai.com"));
    let said = said.with_context(|| format!("{outcome:?}"))?;
    ensure!(said.contains("(2 times)") && said.contains("tollgate ca"), "{said}");
    ensure!(said.contains("--allow api.openai.com:443:opaque"), "{said}");
    let log = std::fs::read_to_string(stand.state().join("gate.log"))?;
    let told: Vec<&str> =
        log.lines().filter(|line| line.contains("does not trust the gate")).collect();
    ensure!(told.len() == 1 && told.iter().all(|line| line.contains("unknown_ca")), "{told:?}");
    // Node looks at a certificate only when the handshake is over, and closes.
    let node = stand.clients().npm()?.into_iter().next().context("no Node")?;
    let program = "require('https').get({host:'api.openai.com',path:'/',ca:[]}).on('error', e => console.log(e.code))";
    let outcome = stand.gate(&[])?.run([node.as_str(), "-e", program])?;
    ensure!(outcome.stderr.contains("not trusted: api.openai.com"), "{outcome:?}");
    ensure!(
        tail(&stand)?.iter().all(|line| line.get("became") != Some(&json!("forwarded"))),
        "something was asked"
    );
    Ok(())
}

#[test]
fn an_agent_that_invents_names_is_made_no_certificates_beyond_its_allowance() -> Result<()> {
    let stand = Stand::new()?;
    let met = met(&stand, &["--observe"], &["flood"])?;
    let made: BTreeMap<String, u64> =
        serde_json::from_str(met.get("invented").context("not played")?)?;
    // internal_error: the gate cannot answer now.
    let refused = made.get("15030300020250").copied().unwrap_or_default();
    let certificates = made.get("certificate").copied().unwrap_or_default();
    ensure!(certificates >= 200 && refused > 0 && certificates + refused == 700, "{made:?}");
    for known in ["before", "after"] {
        is(&met, known, &["guarded"])?;
    }
    Ok(())
}

#[test]
fn every_test_that_the_list_of_techniques_names_is_there() -> Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let list = std::fs::read_to_string(root.join("docs/l7-tests.tsv"))?;
    let mut rows = 0;
    for row in list.lines().skip(1) {
        let columns: Vec<&str> = row.split('\t').collect();
        let [_group, technique, file, test] = columns.as_slice() else {
            anyhow::bail!("not four columns: {row}");
        };
        let source = std::fs::read_to_string(root.join(file)).with_context(|| row.to_owned())?;
        ensure!(source.contains(&format!("fn {test}(")), "{technique}: no {test} in {file}");
        rows += 1;
    }
    ensure!(rows >= 25, "{rows} rows");
    Ok(())
}
