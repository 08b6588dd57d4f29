//! Local services that the environment names: inside, their port is the command's own, so they are named with the
//! flag that shares them. Of a value only the port is ever said.

use std::collections::BTreeMap;
use std::ffi::OsString;

/// What a name ends with that says where a service is.
const ENDINGS: [&str; 11] = [
    "_URL",
    "_URI",
    "_HOST",
    "_DSN",
    "_ENDPOINT",
    "_ADDR",
    "_ADDRESS",
    "_SERVER",
    "_SERVERS",
    "_BASE",
    "_API",
];

/// Names without such an ending.
const NAMES: [&str; 5] = ["PGHOST", "DATABASE", "MONGODB", "REDIS", "DSN"];

/// Ports that a URL of these schemes means where it has none (IANA's registry, and the programs' own).
const SCHEMES: [(&str, u16); 17] = [
    ("http", 80),
    ("https", 443),
    ("ws", 80),
    ("wss", 443),
    ("postgres", 5432),
    ("postgresql", 5432),
    ("mysql", 3306),
    ("mariadb", 3306),
    ("redis", 6379),
    ("rediss", 6379),
    ("mongodb", 27017),
    ("amqp", 5672),
    ("amqps", 5671),
    ("nats", 4222),
    ("bolt", 7687),
    ("neo4j", 7687),
    ("mqtt", 1883),
];

/// Ports of hosts that a variable names without one.
const HOSTS: [(&str, u16); 6] = [
    ("PGHOST", 5432),
    ("MYSQL_HOST", 3306),
    ("REDIS_HOST", 6379),
    ("OLLAMA_HOST", 11434),
    ("QDRANT_HOST", 6333),
    ("MONGO_HOST", 27017),
];

/// Lines of the start; more services than that are one line.
const MOST: usize = 6;

/// The lines that name the services of this environment which are not shared yet.
pub(super) fn said(
    environment: impl Iterator<Item = (OsString, OsString)>,
    shared: &[u16],
) -> Vec<String> {
    let all: BTreeMap<String, String> = environment
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect();
    let mut found: BTreeMap<u16, Vec<&str>> = BTreeMap::new();
    for (name, value) in &all {
        let named = NAMES.contains(&name.as_str()) || ENDINGS.iter().any(|end| name.ends_with(end));
        if let Some(port) = named.then(|| port(name, value, &all)).flatten()
            && !shared.contains(&port)
        {
            found.entry(port).or_default().push(name);
        }
    }
    let more = found.len().saturating_sub(MOST);
    let lines = found.iter().take(MOST).map(|(port, names)| {
        let names = names.join(", ");
        format!("          local service of this host, not inside: {names}; share it: --reach-port {port}")
    });
    let more = (more > 0).then(|| format!("          and {more} more local services"));
    lines.chain(more).collect()
}

/// The port of this host that a value means.
fn port(name: &str, value: &str, all: &BTreeMap<String, String>) -> Option<u16> {
    let (scheme, rest) = match value.trim().split_once("://") {
        // `postgresql+asyncpg`, `redis+socket`: the part before says which.
        Some((scheme, rest)) => (scheme.split('+').next(), rest),
        None => (None, value.trim()),
    };
    // MySQL's Go driver writes user:password@tcp(host:port)/name.
    let place = rest.split(['/', '?', '#', ',']).next()?;
    let place = place.rsplit_once('@').map_or(place, |(_secret, place)| place);
    let place = place.strip_prefix("tcp(").map_or(place, |place| place.trim_end_matches(')'));
    let (host, port) = match place.strip_prefix('[').and_then(|v6| v6.split_once(']')) {
        Some((v6, rest)) => (v6, rest.strip_prefix(':')),
        None => match place.rsplit_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (place, None),
        },
    };
    if !is_local(host) {
        return None;
    }
    match port {
        Some(port) => port.parse().ok().filter(|port| *port != 0),
        None => scheme
            .and_then(|scheme| known(&SCHEMES, scheme))
            .or_else(|| beside(name, all))
            .or_else(|| known(&HOSTS, name)),
    }
}

fn is_local(host: &str) -> bool {
    matches!(host, "localhost" | "::1" | "0.0.0.0" | "::")
        || host.parse::<std::net::Ipv4Addr>().is_ok_and(|host| host.is_loopback())
}

/// `DB_PORT` beside `DB_HOST`.
fn beside(name: &str, all: &BTreeMap<String, String>) -> Option<u16> {
    let stem = name.strip_suffix("HOST").or_else(|| name.strip_suffix("ADDR"))?;
    all.get(&format!("{stem}PORT"))?.trim().parse().ok()
}

fn known(list: &[(&str, u16)], name: &str) -> Option<u16> {
    list.iter().find(|(one, _)| *one == name).map(|(_, port)| *port)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(environment: &[(&str, &str)], shared: &[u16]) -> Vec<String> {
        said(environment.iter().map(|(name, value)| ((*name).into(), (*value).into())), shared)
    }

    fn ports(environment: &[(&str, &str)]) -> Vec<u16> {
        let last = |line: &String| line.rsplit(' ').next().unwrap().parse().unwrap();
        lines(environment, &[]).iter().map(last).collect()
    }

    #[test]
    fn a_service_of_this_host_is_named_with_its_flag_and_without_its_secrets() {
        assert_eq!(
            lines(&[("DATABASE_URL", "postgresql://app:hunter2@localhost:5433/app?x=y")], &[]),
            [
                "          local service of this host, not inside: DATABASE_URL; share it: --reach-port 5433"
            ]
        );
    }

    #[test]
    fn ports_are_read_from_the_forms_that_programs_use() {
        for (name, value, port) in [
            ("REDIS_URL", "redis://localhost", 6379),
            ("DATABASE_URL", "postgresql+asyncpg://u@127.0.0.1/db", 5432),
            ("DB_DSN", "user:p@ss@tcp(127.0.0.1:3307)/db", 3307),
            ("OLLAMA_HOST", "127.0.0.1", 11434),
            ("OLLAMA_HOST", "0.0.0.0:11435", 11435),
            ("QDRANT_URL", "http://[::1]:6333/", 6333),
            ("KAFKA_SERVERS", "localhost:9092,localhost:9093", 9092),
            ("OPENAI_BASE_URL", "http://localhost:1234/v1", 1234),
        ] {
            assert_eq!(ports(&[(name, value)]), [port], "{name}={value}");
        }
        assert_eq!(ports(&[("DB_HOST", "localhost"), ("DB_PORT", "6000")]), [6000]);
    }

    #[test]
    fn what_is_elsewhere_shared_or_no_address_is_not_named() {
        assert_eq!(
            lines(
                &[
                    ("DATABASE_URL", "postgres://u:p@db.internal:5432/app"),
                    ("NOTES_URL", "file:///localhost:1/"),
                    ("REDIS_URL", "redis://localhost:6379"),
                    ("DB_HOST", "localhost"),
                    ("GREETING", "localhost:80"),
                    ("X_URL", "http://localhost:99999/"),
                ],
                &[6379]
            ),
            [""; 0]
        );
    }

    #[test]
    fn many_services_are_a_few_lines() {
        let all: Vec<(String, String)> =
            (1..=20).map(|n| (format!("S{n}_URL"), format!("http://localhost:{n}"))).collect();
        let all: Vec<(&str, &str)> = all.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
        let lines = lines(&all, &[]);
        assert_eq!((lines.len(), lines[MOST].trim()), (MOST + 1, "and 14 more local services"));
    }
}
