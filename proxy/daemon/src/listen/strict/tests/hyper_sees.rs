//! hyper behind the strict reader and hyper alone.

use std::convert::Infallible;
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, Uri};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};

use super::*;

/// One request as a service gets it. A body that broke has none.
#[derive(Debug, PartialEq, Eq)]
struct Got {
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Option<Bytes>,
    fault: Option<EnvelopeFault>,
}

/// Serves `stream` to its end.
async fn served<S>(stream: S, faults: Option<Arc<Faults>>) -> (Vec<Got>, bool)
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let got = Arc::new(Mutex::new(Vec::new()));
    let service = |request: Request<Incoming>| {
        let framed = faults.as_ref().map(Faults::next);
        let got = Arc::clone(&got);
        async move {
            let (head, body) = request.into_parts();
            let body = body.collect().await.ok().map(http_body_util::Collected::to_bytes);
            let one = Got {
                method: head.method,
                uri: head.uri,
                headers: head.headers,
                body,
                fault: framed.and_then(|framed| framed.fault()),
            };
            got.lock().unwrap_or_else(PoisonError::into_inner).push(one);
            Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new()))
        }
    };
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .max_buf_size(HEAD_BYTES + 1024)
        .serve_connection(TokioIo::new(stream), service_fn(service))
        .await;
    (std::mem::take(&mut *got.lock().unwrap()), served.is_ok())
}

fn run<T>(work: impl Future<Output = T>) -> T {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    runtime.enable_all().start_paused(true).build().unwrap().block_on(work)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    /// Nothing that passes makes hyper refuse by itself, and nothing that hyper takes was not seen whole: a request
    /// with a fault is the last one.
    #[test]
    fn every_request_that_passes_is_one_to_hyper_too(
        bytes in streams(),
        cuts in prop::collection::vec(any::<usize>(), 0..6),
    ) {
        let (passed, fault) = seen(&bytes, &cuts, 8192);
        let (strict, faults) = Strict::new(Client::sending(&bytes, &cuts));
        let (got, _) = run(served(strict, Some(faults)));
        let (alone, _) = run(served(Client::sending(&passed, &[]), None));
        prop_assert_eq!(alone.len(), got.len());
        for (one, other) in got.iter().zip(&alone) {
            prop_assert_eq!((&one.method, &one.uri, &one.headers, &one.body), (&other.method, &other.uri, &other.headers, &other.body));
        }
        for (number, one) in got.iter().enumerate() {
            let expected = fault.as_ref().filter(|(request, _)| *request == number as u64);
            prop_assert_eq!(one.fault.as_ref(), expected.map(|(_, fault)| fault));
            if one.fault.is_some() {
                prop_assert_eq!(number + 1, got.len());
            }
        }
        // The faulty request was handed on, so that it is refused and recorded.
        if let Some((request, _)) = fault {
            prop_assert_eq!(got.len() as u64, request + 1);
        }
    }
}

#[test]
fn a_faulty_request_is_answered_and_its_connection_closed() {
    let smuggling = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n\
        0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n";
    let broken = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5;x\r\nhello\r\n0\r\n\r\n\
        GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n";
    for (bytes, body) in [(smuggling, Some(Bytes::new())), (broken, None)] {
        let (near, far) = tokio::io::duplex(1 << 16);
        let answer = run(async move {
            let (mut reading, mut writing) = tokio::io::split(near);
            let (strict, faults) = Strict::new(far);
            tokio::io::AsyncWriteExt::write_all(&mut writing, bytes.as_bytes()).await.unwrap();
            // The client keeps its half open: it is the gate that closes.
            let mut answer = String::new();
            let client = tokio::io::AsyncReadExt::read_to_string(&mut reading, &mut answer);
            let ((got, clean), _) = tokio::join!(served(strict, Some(faults)), client);
            assert_eq!(got.len(), 1, "{got:?}");
            assert!(got[0].fault.is_some() && got[0].body == body && clean, "{got:?}");
            answer
        });
        assert_eq!(answer.matches("HTTP/1.1 200").count(), 1, "{answer}");
    }
}
