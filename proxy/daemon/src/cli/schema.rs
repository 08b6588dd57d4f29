//! `tollgate schema`: the JSON schemas of the files that people write.

use clap::{Args, ValueEnum};

use super::failure::{Ended, Exit, Failure};
use super::out::Out;
use crate::config;

/// Flags of `tollgate schema`.
#[derive(Debug, Args)]
#[command(before_help = "Example:\n  tollgate schema policy > policy.schema.json")]
pub(crate) struct SchemaArgs {
    /// Whose
    #[arg(value_enum)]
    of: Of,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Of {
    /// `tollgate.yaml`
    Tollgate,
    /// A contract
    Policy,
    /// Not a schema: the table of `tollgate.yaml`'s keys, in Markdown
    Keys,
}

/// Prints it.
pub(crate) fn run(args: &SchemaArgs, out: &mut Out) -> Ended {
    let text = match args.of {
        Of::Tollgate => tollgate()?,
        Of::Policy => policy()?,
        Of::Keys => config::page(),
    };
    out.raw(&text)?;
    Ok(Exit::Done)
}

/// The schema of the configuration, as a file.
pub(super) fn tollgate() -> Result<String, Failure> {
    pretty(&config::schema())
}

/// The schema of a contract, as a file.
pub(super) fn policy() -> Result<String, Failure> {
    pretty(&decide::policy::schema())
}

fn pretty(schema: &serde_json::Value) -> Result<String, Failure> {
    let text =
        serde_json::to_string_pretty(schema).map_err(|error| Failure::print(&error.into()))?;
    Ok(text + "\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    const CONFIG: &str = r#"
mode: observe
vault: { master_key: { file: /etc/tollgate/master.key } }
credentials: { openai: { provider: openai, from: sealed } }
providers: { vllm: { dialect: openai, url: "https://vllm.internal:8000/v1", credential: none } }
sinks: { collector: { to: otlp, url: "http://collector:4318", headers: { x: y } } }
listen: { proxy: ["127.0.0.1:1", "[::1]:1"], dns: false, health: null, tls: { cert: a, key: b } }
drain: { delay: 5s }
limits: { connections: 5 }
"#;

    const CONTRACT: &str = r#"
policy_id: payments
version: "1"
mode: enforce
team: payments
budgets: { day: $50 }
agents:
  refund-bot:
    identity: { any: [{ key: refund-bot }, { address: 10.0.0.0/8 }] }
    models: [gpt-5-mini]
    budgets: { request: $0.25 }
    destinations: [api.openai.com, { host: files.example.com, upload: 8MiB }]
    data: { credentials: redact }
    rate: { requests: 60, per: 1m }
    output: { max_tokens: 4096 }
"#;

    fn valid(schema: &Value, yaml: &str) -> bool {
        let file: Value = serde_saphyr::from_str(yaml).unwrap();
        jsonschema::validator_for(schema).unwrap().is_valid(&file)
    }

    #[test]
    fn the_schemas_allow_what_loads_and_refuse_what_is_no_key() {
        let (config, contract) = (config::schema(), decide::policy::schema());
        assert!(valid(&config, CONFIG) && valid(&contract, CONTRACT));
        for (from, to) in [
            ("mode: observe", "modus: observe"),
            ("observe", "sometimes"),
            ("dialect: openai, ", ""),
            ("connections: 5", "connections: 0"),
            ("drain: { delay: 5s }", "drain: { delay: 5 }"),
            ("key: b", "kee: b"),
            ("mode: observe", "control: {}"),
        ] {
            assert!(CONFIG.contains(from) && !valid(&config, &CONFIG.replace(from, to)), "{to}");
        }
        for (from, to) in [
            ("models:", "modles:"),
            ("mode: enforce", "mode: block"),
            ("version: \"1\"\n", ""),
            ("upload", "download"),
            ("per: 1m", "every: 1m"),
            ("{ key: refund-bot }", "{ workload: deployment/a }"),
        ] {
            assert!(
                CONTRACT.contains(from) && !valid(&contract, &CONTRACT.replace(from, to)),
                "{to}"
            );
        }
    }
}
