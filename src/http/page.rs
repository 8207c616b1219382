//! The page that shows what was decided recently and why, and the same as JSON.
//!
//! It is complete without JavaScript. With it, the page fetches itself again when the server says that something has changed. It
//! shows what this process was asked, and changes nothing.
//!
//! - `view`: what there is to show, typed; `JSON` is its serialization. `query` selects from it.
//! - `html`: from a view to HTML, by maud, which escapes everything; `course`: the line of the last half hour.
//! - `events`: the stream that says that something has changed.

mod course;
mod events;
mod html;
mod problems;
mod query;
mod view;
mod words;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::http::{HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Extension, Router};
use tokio::sync::watch;
use tokio::time::Instant;

use self::query::Query;
use self::view::View;
use super::Deadline;
use crate::clock::Clock;
use crate::monitor::StorageHandles;
use crate::recent::Recent;

/// Requests within this time share what was collected. The stream of events waits longer after a change.
const VIEW_LIFETIME: Duration = Duration::from_millis(400);

/// Everything comes from here, nothing is run that stands in the page, and no other page embeds it.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; form-action \
                      'self'; base-uri 'none'; frame-ancestors 'none'";

const STYLE: &str = include_str!("page/style.css");
const SCRIPT: &str = include_str!("page/script.js");
const ICON: &str = include_str!("page/icon.svg");

/// The page's sources.
#[derive(Clone)]
pub struct Page(Arc<Shared>);

struct Shared {
    recent: Recent,
    storages: watch::Receiver<StorageHandles>,
    clock: Clock,
    last: Mutex<Option<(Instant, Arc<View>)>>,
}

impl Page {
    /// A page about these decisions and storages.
    #[must_use]
    pub fn new(recent: Recent, storages: watch::Receiver<StorageHandles>, clock: Clock) -> Self {
        Self(Arc::new(Shared { recent, storages, clock, last: Mutex::default() }))
    }

    pub(super) fn router(self) -> Router {
        let (page, json, events) = (self.clone(), self.clone(), self);
        let file = |kind: &'static str, text: &'static str| get(async move || respond(kind, text));
        Router::new()
            .route("/", get(async move |uri: Uri| page.html(&uri)))
            .route("/api/triggers", get(async move |uri: Uri| json.json(&uri)))
            .route(
                "/events",
                get(async move |Extension(deadline): Extension<Deadline>| {
                    deadline.extend(events::LIFETIME);
                    respond("text/event-stream", events::body(events.0.recent.changes()))
                }),
            )
            .route("/page.css", file("text/css; charset=utf-8", STYLE))
            .route("/page.js", file("text/javascript; charset=utf-8", SCRIPT))
            .route("/icon.svg", file("image/svg+xml", ICON))
    }

    fn html(&self, uri: &Uri) -> Response {
        let query = Query::parse(uri.query().unwrap_or_default());
        let page = html::page(&self.view(), &query).into_string();
        respond("text/html; charset=utf-8", page)
    }

    fn json(&self, uri: &Uri) -> Response {
        let query = Query::parse(uri.query().unwrap_or_default());
        let mut selected = self.view().selected(&query);
        if query.scaled_object.is_none() {
            // Of a thousand triggers it would have megabytes.
            selected.triggers.iter_mut().for_each(|trigger| trigger.columns.clear());
        }
        match serde_json::to_string(&selected) {
            Ok(json) => respond("application/json", json),
            Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
        }
    }

    /// Returns everything there is to show, collected at most once per [`VIEW_LIFETIME`].
    fn view(&self) -> Arc<View> {
        let shared = &self.0;
        let mut last = shared.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, view)) = last.as_ref().filter(|(at, _)| at.elapsed() < VIEW_LIFETIME) {
            return Arc::clone(view);
        }
        let storages = shared.storages.borrow().clone();
        let view = Arc::new(View::collect(&shared.recent, &storages, shared.clock.now()));
        *last = Some((Instant::now(), Arc::clone(&view)));
        view
    }
}

fn respond(kind: &'static str, body: impl IntoResponse) -> Response {
    let mut response = body.into_response();
    let headers = [
        (header::CONTENT_TYPE, kind),
        (header::CACHE_CONTROL, "no-store"),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
    ];
    for (name, value) in headers {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    let same_origin = HeaderValue::from_static("same-origin");
    response.headers_mut().insert("cross-origin-resource-policy", same_origin);
    response
}
