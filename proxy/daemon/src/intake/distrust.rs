//! A client that does not take the gate's certificate is told apart from one that merely went away.
//!
//! Such a program has certificates of its own: it looks at none of the bundles and variables that name the
//! deployment's CA, or it takes only one certificate (pinning). Nothing it asks can be read, so somebody has to
//! hear of it.

use std::io;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use rustls::AlertDescription;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite};

use super::Connection;
use crate::listen::hello::Replay;
use crate::metrics::Distrust;
use crate::route::Route;
use crate::subject::Subject;

/// How long after a handshake a client that closes without a word is taken to have refused the certificate. Some
/// (Node) look at it only then. One that connects ahead of its need stays longer.
const LOOKS_WITHIN: Duration = Duration::from_secs(1);
/// How much of a first request is read in one call.
const FIRST: usize = 4096;

/// How a handshake that failed shows that the client does not take the certificate; `None` where it failed otherwise.
pub(super) fn of(error: &io::Error) -> Option<Distrust> {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        Some(rustls::Error::AlertReceived(alert)) => of_alert(*alert),
        Some(_) => None,
        None => matches!(
            error.kind(),
            io::ErrorKind::UnexpectedEof
                | io::ErrorKind::ConnectionReset
                | io::ErrorKind::ConnectionAborted
                | io::ErrorKind::BrokenPipe
        )
        .then_some(Distrust::Closed),
    }
}

fn of_alert(alert: AlertDescription) -> Option<Distrust> {
    #[expect(clippy::wildcard_enum_match_arm, reason = "any other alert is about something else")]
    match alert {
        AlertDescription::UnknownCA => Some(Distrust::UnknownCa),
        AlertDescription::BadCertificate => Some(Distrust::BadCertificate),
        AlertDescription::CertificateUnknown => Some(Distrust::CertificateUnknown),
        AlertDescription::UnsupportedCertificate
        | AlertDescription::CertificateRevoked
        | AlertDescription::CertificateExpired
        | AlertDescription::AccessDenied => Some(Distrust::OtherAlert),
        AlertDescription::CloseNotify | AlertDescription::UserCanceled => Some(Distrust::Closed),
        _ => None,
    }
}

/// Waits a little for what the client says first. `None` where it closes without a word.
pub(super) async fn unless_closed<S>(mut stream: S) -> Option<Replay<S>>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut first = BytesMut::with_capacity(FIRST);
    match tokio::time::timeout(LOOKS_WITHIN, stream.read_buf(&mut first)).await {
        Ok(Ok(0) | Err(_)) => None,
        Ok(Ok(_)) => Some(Replay::new(first.freeze(), stream)),
        Err(_nothing_yet) => Some(Replay::new(Bytes::new(), stream)),
    }
}

/// Lets everybody know who has to.
pub(super) fn tell(connection: &Connection, subject: &Subject, route: &Route, how: Distrust) {
    connection.gate.metrics.certificates.distrusted.with_label_values(&[how.name()]).inc();
    let first = subject.run.note_distrusted(&route.host);
    let (agent, run, host, how) = (&subject.run.agent, &subject.run.id, &route.host, how.name());
    // Who tries again and again is counted.
    if first {
        tracing::warn!(
            agent,
            run,
            host,
            how,
            "a client does not trust the gate: give the program the certificates of `tollgate ca`, or allow HOST:PORT:opaque where it takes only the server's own"
        );
    } else {
        tracing::debug!(agent, run, host, how, "a client does not trust the gate");
    }
}

#[cfg(test)]
mod tests;
