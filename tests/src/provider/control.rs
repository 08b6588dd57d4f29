//! The control port: `GET /log` answers the records as JSON, `POST /reset` forgets them.

use std::convert::Infallible;
use std::sync::Arc;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::json;
use tokio::net::TcpListener;

use super::log::Log;

/// Accepts until the listener fails.
pub(super) async fn serve(listener: TcpListener, log: Arc<Log>) {
    while let Ok((stream, _)) = listener.accept().await {
        let log = log.clone();
        tokio::spawn(async move {
            let service = service_fn(move |request| {
                let answer = answer(&request, &log);
                async move { Ok::<_, Infallible>(answer) }
            });
            drop(
                hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service)
                    .await,
            );
        });
    }
}

fn answer(request: &Request<Incoming>, log: &Log) -> Response<Full<Bytes>> {
    let (status, body) = if request.method() == Method::GET && request.uri().path() == "/log" {
        (StatusCode::OK, json!({"accepted": log.accepted(), "requests": log.records()}).to_string())
    } else if request.method() == Method::POST && request.uri().path() == "/reset" {
        log.reset();
        (StatusCode::OK, "{}".to_owned())
    } else {
        (StatusCode::NOT_FOUND, json!({"error": "GET /log or POST /reset"}).to_string())
    };
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response
}
