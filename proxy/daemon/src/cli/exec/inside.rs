//! What the command finds inside, and the first line that says so.

use std::error::Error;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use decide::policy::{Contract, Mode};
use launch::{Absent, Cover, Form};

use crate::cli::out::{Line, Out, harmless};
use crate::folder::StateFolder;
use crate::gate::protocol::Prepared;
use crate::gate::socket::{Conn, Place};
use crate::vault::known::Sorted;

/// Where distributions keep the bundle of certificate authorities.
const BUNDLES: [&str; 5] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// Variables that name a bundle (facts/enforcement.md, section 4).
const BUNDLE_VARIABLES: [&str; 19] = [
    "SSL_CERT_FILE",
    "REQUESTS_CA_BUNDLE",
    "CURL_CA_BUNDLE",
    "PIP_CERT",
    "CONDA_SSL_VERIFY",
    "AWS_CA_BUNDLE",
    "CLOUDSDK_CORE_CUSTOM_CA_CERTS_FILE",
    "HTTPLIB2_CA_CERTS",
    "NODE_EXTRA_CA_CERTS",
    "NPM_CONFIG_CAFILE",
    "DENO_CERT",
    "GIT_SSL_CAINFO",
    "CARGO_HTTP_CAINFO",
    "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH",
    "NIX_SSL_CERT_FILE",
    "HEX_CACERTS_PATH",
    "CODEX_CA_CERTIFICATE",
    "BUNDLE_SSL_CA_CERT",
    "PERL_LWP_SSL_CA_FILE",
];

/// Variables that make programs use the system's bundle.
const SWITCHES: [(&str, &str); 3] =
    [("NODE_USE_SYSTEM_CA", "1"), ("UV_NATIVE_TLS", "1"), ("DENO_TLS_CA_STORE", "system")];

/// Variables that would send a program to another proxy, or keep it from the system's bundle.
const REMOVED: [&str; 9] = [
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "ALL_PROXY",
    "NO_PROXY",
    "http_proxy",
    "https_proxy",
    "all_proxy",
    "no_proxy",
    "SSL_CERT_DIR",
];

/// Permission bits of what is mounted over a bundle.
const READABLE: u32 = 0o644;

/// The first line of a run.
pub(super) struct Said(String);

impl Said {
    /// What is in force.
    pub(super) fn of(
        policy: &str,
        contract: Option<&Contract>,
        sorted: &Sorted,
        sockets: &[PathBuf],
    ) -> Self {
        let mode = match contract.map(|contract| contract.mode) {
            Some(Mode::Observe) => "observing",
            Some(Mode::Enforce) | None => "enforcing",
        };
        let kernel = rustix::system::uname();
        let release = kernel.release().to_string_lossy();
        let release: String = release.split('.').take(2).collect::<Vec<_>>().join(".");
        let mut line =
            format!("tollgate: {mode} · own network, kernel {release} · policy: {policy}");
        let sealed: Vec<&str> = sorted
            .found
            .iter()
            .flat_map(|found| found.variables.iter().map(String::as_str))
            .collect();
        let sockets: Vec<_> = sockets.iter().map(|path| path.to_string_lossy()).collect();
        for (what, names) in [
            ("key sealed", sealed),
            (
                "socket shared, who listens there is not governed",
                sockets.iter().map(AsRef::as_ref).collect(),
            ),
            ("withheld", sorted.withheld.iter().map(String::as_str).collect()),
            (
                "real key kept inside, what it pays is not governed",
                sorted.kept.iter().map(String::as_str).collect(),
            ),
        ] {
            if !names.is_empty() {
                line = format!("{line} · {what}: {}", names.join(", "));
            }
        }
        Self(line)
    }

    /// With further lines.
    pub(super) fn and(mut self, lines: &[String]) -> Self {
        for line in lines {
            self.0.push('\n');
            // A path in it is one line, whatever is in it.
            self.0.push_str(&harmless(line));
        }
        self
    }

    /// Says it, on standard error, with the form that is in force.
    pub(super) fn say(&self, form: Form) {
        let mut err = Out::stderr();
        let (first, rest) = self.0.split_once('\n').unwrap_or((&self.0, ""));
        for line in [first, in_force(form)].into_iter().chain(rest.lines()) {
            // Where standard error is closed nobody wants to know.
            drop(err.line(&Line::of(line)));
        }
    }
}

/// The form in force, and what the other one would add.
const fn in_force(form: Form) -> &'static str {
    match form {
        Form::KernelPrograms => {
            "          form: kernel programs · without sudo: a user namespace, in which the command is not root"
        }
        Form::UserNamespace => {
            "          form: user namespace, nftables · with sudo: kernel programs, which also let Unix datagrams be"
        }
    }
}

/// What the command finds inside.
pub(super) fn prepared(
    prepared: &Prepared,
    sorted: &Sorted,
    state: &StateFolder,
    policy: Option<&Path>,
    upstream_ca: &[PathBuf],
    conn: &Conn,
) -> Result<launch::Prepared, Box<dyn Error + Send + Sync>> {
    let bundles: Vec<PathBuf> =
        BUNDLES.iter().map(PathBuf::from).filter(|path| path.is_file()).collect();
    let bundle =
        bundles.first().ok_or("no bundle of certificate authorities: install ca-certificates")?;
    let mut trusted = std::fs::read(bundle)?;
    if let Some(own) = std::env::var_os("SSL_CERT_FILE").filter(|own| Path::new(own) != bundle) {
        trusted.push(b'\n');
        trusted.extend(certificates(&std::fs::read_to_string(own).unwrap_or_default()).bytes());
    }
    trusted.push(b'\n');
    trusted.extend_from_slice(prepared.ca_pem.as_bytes());
    let covers = bundles.iter().map(|path| Cover {
        path: path.clone(),
        bytes: trusted.clone(),
        mode: READABLE,
        owner: None,
    });
    let place = Place::of(state)?;
    let mut absent = vec![Absent { path: state.shown().to_owned(), inode: Some(state.identity()) }];
    absent.extend(place.folder(state).map(|folder| Absent { path: folder, inode: None }));
    let mut read_only = vec![std::env::current_exe()?];
    read_only.extend(policy.map(std::path::absolute).transpose()?);
    read_only.extend(trusted_by_name(upstream_ca)?);
    Ok(launch::Prepared {
        environment: environment(prepared, sorted, bundle),
        covers: covers.collect(),
        read_only,
        absent,
        gate_alive: Some(conn.stream().try_clone()?.into()),
    })
}

/// The certificates of a file that a variable names, and nothing else of it: what stands there becomes
/// readable to everybody inside.
fn certificates(file: &str) -> String {
    const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
    const END: &str = "-----END CERTIFICATE-----";
    let base64 = |line: &str| {
        line.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+/=".contains(&byte))
    };
    let mut kept = String::new();
    for block in file.split(BEGIN).skip(1) {
        let Some((body, _)) = block.split_once(END) else { continue };
        if body.lines().all(|line| base64(line.trim())) {
            kept.push_str(&[BEGIN, body, END, "\n"].concat());
        }
    }
    kept
}

/// What the next run trusts an upstream by, where a variable or a flag names it.
fn trusted_by_name(upstream_ca: &[PathBuf]) -> std::io::Result<Vec<PathBuf>> {
    let variables = ["SSL_CERT_FILE", "SSL_CERT_DIR"].into_iter().filter_map(std::env::var_os);
    variables
        .map(PathBuf::from)
        .chain(upstream_ca.iter().cloned())
        .map(std::path::absolute)
        .collect()
}

/// Variables that are set, and those that are taken away.
fn environment(
    prepared: &Prepared,
    sorted: &Sorted,
    bundle: &Path,
) -> Vec<(OsString, Option<OsString>)> {
    let gone = REMOVED.iter().copied().chain(sorted.withheld.iter().map(String::as_str));
    let mut edits: Vec<(OsString, Option<OsString>)> =
        gone.map(|name| (name.into(), None)).collect();
    edits.extend(BUNDLE_VARIABLES.iter().map(|name| ((*name).into(), Some(bundle.into()))));
    edits.extend(SWITCHES.iter().map(|(name, value)| ((*name).into(), Some((*value).into()))));
    edits.extend(
        prepared.env.iter().map(|(name, value)| (name.into(), Some(value.0.as_str().into()))),
    );
    edits
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_file_that_a_variable_names_only_certificates_are_shown_inside() {
        let own = "-----BEGIN CERTIFICATE-----\nQUJD\n-----END CERTIFICATE-----\n";
        let key = "-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n-----END PRIVATE KEY-----\n";
        assert_eq!(certificates(&format!("# comment\n{key}{own}{key}")), own);
        assert_eq!(certificates("OPENAI_API_KEY=sk-secret\n"), "");
        let posing = "-----BEGIN CERTIFICATE-----\nkey: s3cret!\n-----END CERTIFICATE-----\n";
        assert_eq!(certificates(posing), "");
    }
}
