//! Limits of calls: the time until a response begins, and the memory that calls hold.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{self, Context, Poll};
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use hyper::body::{Body, Bytes, Frame, Incoming, SizeHint};
use hyper::{Request, Response};
use tokio::time::timeout;
use tonic::Status;
use tonic::codegen::Service;
use tonic::service::Routes;

use super::paced::Backlog;
use crate::connections::{Call, Held, Memory, RateLimitedLog, Ticket};

/// The longest time until a response begins, receiving the request included. KEDA sends requests whole, and gets responses within
/// a second.
const CALL_TIMEOUT: Duration = Duration::from_secs(5);
/// The memory of an open call: HTTP/2's state, its task, its stream. Measured with many, and rounded up.
const CALL_BYTES: usize = 3 * 1024;
/// Its additional memory until its response begins: its headers, and what waits for the message.
const UNANSWERED_BYTES: usize = 4 * 1024;
/// The additional memory of health and reflection, whose buffers are larger.
const OTHER_BYTES: usize = 12 * 1024;
/// The bytes of a request are in memory twice while it is received: as received, and in the buffer of the message.
const COPIES: usize = 2;
const SERVICE: &str = "/externalscaler.ExternalScaler/";

/// Returns the memory that calls may hold: per address 10,000 streams and some hundred calls at a time, which is all that KEDA has;
/// in total so much that the process stays below 64 MiB.
pub(super) fn memory() -> Memory {
    const KIB: usize = 1024;
    const MIB: usize = 1024 * KIB;
    Memory::new(32 * KIB, 36 * MIB, 48 * MIB)
}

/// The log of rejected calls.
static REJECTED: RateLimitedLog = RateLimitedLog::new();

/// Answers a call if there is memory for it. A rejected call is dropped before it is processed.
pub(super) fn answer(
    routes: &Routes,
    ticket: &Arc<Ticket>,
    backlog: &Arc<Backlog>,
    request: Request<Incoming>,
) -> BoxFuture<'static, Result<Response<AnswerBody>, Infallible>> {
    let other = if request.uri().path().starts_with(SERVICE) { 0 } else { OTHER_BYTES };
    let waits = backlog.add();
    // Boxed, because a stream keeps the place of this future as long as it is open.
    match (ticket.call(CALL_BYTES + UNANSWERED_BYTES + other), ticket.hold(0)) {
        (Some(call), Some(received)) => {
            let request = request.map(|body| Received { body, held: received });
            let routes = routes.clone();
            async move {
                drop(waits);
                ask(routes, call, request).await
            }
            .boxed()
        }
        _ => {
            REJECTED.warn("calls rejected: the client has too many open calls", &ticket.peer());
            async move {
                drop(waits);
                Ok(rejection(Status::resource_exhausted("too many calls and streams are open; close some")))
            }
            .boxed()
        }
    }
}

async fn ask(
    mut routes: Routes,
    mut call: Call,
    request: Request<Received>,
) -> Result<Response<AnswerBody>, Infallible> {
    match timeout(CALL_TIMEOUT, routes.call(request)).await {
        Ok(response) => response.map(|response| {
            call.less(UNANSWERED_BYTES);
            if response.body().is_end_stream() {
                call.answered();
            }
            response.map(|body| AnswerBody { body, call: Some(call) })
        }),
        Err(_) => {
            REJECTED.warn("calls canceled: their requests were not complete in time", &call.peer());
            let text = format!("the request was not complete within {CALL_TIMEOUT:?}");
            Ok(rejection(Status::deadline_exceeded(text)))
        }
    }
}

fn rejection(status: Status) -> Response<AnswerBody> {
    status.into_http().map(|body| AnswerBody { body, call: None })
}

/// The body of a request. The received part counts as held memory until the message is complete.
struct Received {
    body: Incoming,
    held: Held,
}

impl Body for Received {
    type Data = Bytes;
    type Error = tonic::codegen::StdError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let frame = task::ready!(Pin::new(&mut self.body).poll_frame(cx));
        let n_bytes = frame.as_ref().and_then(|frame| frame.as_ref().ok()?.data_ref()).map_or(0, Bytes::len);
        if !self.held.more(COPIES * n_bytes) {
            let status = Status::resource_exhausted("too many requests are incomplete; finish some");
            return Poll::Ready(Some(Err(status.into())));
        }
        Poll::Ready(frame.map(|frame| frame.map_err(Into::into)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// The body of a response. Its call is open until the whole body was sent.
pub(super) struct AnswerBody {
    body: tonic::body::Body,
    call: Option<Call>,
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        self.call.iter_mut().for_each(Call::sent);
        let frame = task::ready!(Pin::new(&mut self.body).poll_frame(cx));
        self.call.iter_mut().for_each(Call::sending);
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
