//! Server for the one method of gRPC's health protocol that the kubelet calls,
//! `grpc.health.v1.Health/Check` (grpc/grpc, doc/health-checking.md and doc/PROTOCOL-HTTP2.md), for
//! whatever service it names.

use std::net::TcpListener;

use anyhow::{Context as _, Result};
use bytes::Bytes;
use h2::{RecvStream, server::SendResponse};
use http::{HeaderMap, HeaderValue, Request, Response};
use serde_json::json;
use tokio::{net::TcpStream, time::sleep};

use super::health::Health;
use crate::log::log;

/// gRPC message: not compressed, two bytes long, field 1 of `HealthCheckResponse`, an enum.
const SERVING: &[u8] = &[0, 0, 0, 0, 2, 0x08, 1];
const NOT_SERVING: &[u8] = &[0, 0, 0, 0, 2, 0x08, 2];

/// Serves connections in this thread.
pub(super) fn serve(listener: TcpListener, health: Health) {
    if let Err(error) = try_serve(listener, health) {
        log("listen_failed", &json!({ "error": format!("{error:#}") }));
    }
}

fn try_serve(listener: TcpListener, health: Health) -> Result<()> {
    listener.set_nonblocking(true).context("make the socket non-blocking")?;
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().context("tokio")?;
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::from_std(listener).context("give it to tokio")?;
        loop {
            match listener.accept().await {
                Ok((stream, _)) => {
                    tokio::spawn(connection(stream, health));
                }
                Err(error) => log("accept_failed", &json!({ "error": error.to_string() })),
            }
        }
    })
}

async fn connection(stream: TcpStream, health: Health) {
    let client = stream.peer_addr().ok();
    let failed = |error: h2::Error| {
        log(
            "no_request",
            &json!({ "protocol": "grpc", "client": client, "error": error.to_string() }),
        );
    };
    let mut connection = match h2::server::handshake(stream).await {
        Ok(connection) => connection,
        Err(error) => return failed(error),
    };
    while let Some(accepted) = connection.accept().await {
        match accepted {
            Ok((request, respond)) => {
                let path = request.uri().path();
                log("request", &json!({ "protocol": "grpc", "client": client, "path": path }));
                tokio::spawn(async move {
                    let answered = answer(request, respond, health).await;
                    log(
                        "answer",
                        &json!({
                            "protocol": "grpc",
                            "client": client,
                            "status": answered.as_ref().ok(),
                            "sent": answered.is_ok(),
                        }),
                    );
                });
            }
            Err(error) => return failed(error),
        }
    }
}

async fn answer(
    request: Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
    health: Health,
) -> Result<&'static str, h2::Error> {
    sleep(health.delay).await;
    let mut response = Response::new(());
    response.headers_mut().insert("content-type", HeaderValue::from_static("application/grpc"));
    if request.uri().path() != "/grpc.health.v1.Health/Check" {
        // UNIMPLEMENTED, as an answer without a message.
        response.headers_mut().insert("grpc-status", HeaderValue::from_static("12"));
        respond.send_response(response, true)?;
        return Ok("UNIMPLEMENTED");
    }
    let (message, status) =
        if health.fails() { (NOT_SERVING, "NOT_SERVING") } else { (SERVING, "SERVING") };
    let mut body = respond.send_response(response, false)?;
    body.send_data(Bytes::from_static(message), false)?;
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static("0"));
    body.send_trailers(trailers)?;
    Ok(status)
}
