//! A small API server: lists, watches and applies pods by Kubernetes' rules as far as `protect` depends on them, and answers with
//! errors on request.

use std::collections::{BTreeMap, VecDeque};
use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard};

use axum::body::{Body, Bytes, to_bytes};
use axum::http::{Method, Request, Response, StatusCode};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use kube::Config;
use serde_json::{Value as Json, json};
use tokio::net::TcpListener;
use tokio::sync::watch;

use jobrunr_scaler::protect::cluster::{ANNOTATION, Cluster};

pub(crate) const NAMESPACE: &str = "shop";

/// What the server answers instead of what was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) verb: &'static str,
    pub(crate) code: u16,
}

/// The code and the message with which writes of a pod are refused.
type Refusal = (u16, &'static str);

/// A pod, with the managers that have applied it, and the deletion cost that each wants.
struct StoredPod {
    uid: String,
    replica_set: Option<String>,
    is_terminating: bool,
    cost: Option<String>,
    managers: BTreeMap<String, Option<String>>,
}

impl StoredPod {
    fn new(name: &str) -> Self {
        Self {
            uid: format!("uid-of-{name}"),
            replica_set: Some("rs".to_owned()),
            is_terminating: false,
            cost: None,
            managers: BTreeMap::new(),
        }
    }
}

#[derive(Default)]
struct State {
    pods: BTreeMap<String, StoredPod>,
    /// What has happened, from version 1 on.
    events: Vec<Json>,
    /// Events up to this version are forgotten: a watch that begins there gets 410.
    forgotten: usize,
    failures: VecDeque<Failure>,
    /// Pods of which each write is refused, with what the answer is.
    refused: BTreeMap<String, Refusal>,
    /// Whether writes get no answer.
    hangs: bool,
    /// Requests by verb.
    requests: BTreeMap<String, usize>,
    /// Ends all watches.
    n_cuts: usize,
}

/// The server. Clones share it.
#[derive(Clone)]
pub(crate) struct Api {
    state: Arc<Mutex<State>>,
    changed: watch::Sender<usize>,
    pub(crate) url: String,
}

impl Api {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let api = Self { state: Arc::default(), changed: watch::Sender::new(0), url };
        let served = api.clone();
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let api = served.clone();
                let service = service_fn(move |request: Request<hyper::body::Incoming>| {
                    let api = api.clone();
                    async move { Ok::<_, Infallible>(api.answer(request.map(Body::new)).await) }
                });
                tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
            }
        });
        api
    }

    pub(crate) fn cluster(&self) -> Cluster {
        Cluster::new(Config::new(self.url.parse().unwrap())).unwrap()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// Creates a pod of a ReplicaSet.
    pub(crate) fn add_pod(&self, name: &str) {
        self.state().pods.insert(name.to_owned(), StoredPod::new(name));
        self.notify("ADDED", name);
    }

    pub(crate) fn remove_pod(&self, name: &str) {
        let json = self.pod_json(name);
        self.state().pods.remove(name);
        self.publish("DELETED", json);
    }

    /// Writes a cost as somebody else does.
    pub(crate) fn annotate(&self, name: &str, manager: &str, cost: &str) {
        {
            let mut state = self.state();
            let pod = state.pods.get_mut(name).unwrap();
            pod.cost = Some(cost.to_owned());
            pod.managers.values_mut().for_each(|theirs| *theirs = None);
            pod.managers.insert(manager.to_owned(), Some(cost.to_owned()));
        }
        self.notify("MODIFIED", name);
    }

    /// Fails the next requests.
    pub(crate) fn fail(&self, verb: &'static str, code: u16, times: usize) {
        self.state().failures.extend(std::iter::repeat_n(Failure { verb, code }, times));
    }

    /// Refuses all writes of a pod from now on; `None` allows them.
    pub(crate) fn refuse(&self, name: &str, refusal: Option<Refusal>) {
        let mut state = self.state();
        match refusal {
            Some(refusal) => drop(state.refused.insert(name.to_owned(), refusal)),
            None => drop(state.refused.remove(name)),
        }
    }

    /// Leaves writes without an answer from now on.
    pub(crate) fn hang(&self) {
        self.state().hangs = true;
    }

    /// Fails nothing more.
    pub(crate) fn allow(&self) {
        self.state().failures.clear();
    }

    /// How many failures were not answered yet.
    pub(crate) fn n_failures_left(&self) -> usize {
        self.state().failures.len()
    }

    /// Creates a pod while no watch is open, and forgets that it has.
    pub(crate) fn add_pod_unseen(&self, name: &str) {
        {
            let mut state = self.state();
            state.pods.insert(name.to_owned(), StoredPod::new(name));
            state.events.push(json!({}));
            state.forgotten = state.events.len();
            state.n_cuts += 1;
        }
        self.changed.send_modify(|n| *n += 1);
    }

    pub(crate) fn n_requests(&self, verb: &str) -> usize {
        self.state().requests.get(verb).copied().unwrap_or(0)
    }

    /// The cost of a pod as a ReplicaSet reads it.
    pub(crate) fn cost(&self, name: &str) -> i32 {
        self.state().pods[name].cost.as_ref().map_or(0, |cost| cost.parse().unwrap())
    }

    /// The pods that have a cost.
    pub(crate) fn annotated(&self) -> Vec<String> {
        let state = self.state();
        state.pods.iter().filter(|(_, pod)| pod.cost.is_some()).map(|(name, _)| name.clone()).collect()
    }

    /// Whether these pods are in the order in which a ReplicaSet removes them.
    pub(crate) fn is_order(&self, names: &[&str]) -> bool {
        let costs: Vec<i32> = names.iter().map(|name| self.cost(name)).collect();
        costs.windows(2).all(|pair| pair[0] < pair[1])
    }

    fn pod_json(&self, name: &str) -> Json {
        let state = self.state();
        let pod = &state.pods[name];
        let annotations = pod.cost.as_ref().map_or(json!({}), |cost| json!({ ANNOTATION: cost }));
        let managers: Vec<Json> = pod.managers.iter().map(|(manager, cost)| managed(manager, cost.is_some())).collect();
        let owners = pod.replica_set.as_ref().map_or(json!([]), |uid| {
            json!([{ "apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "workers", "uid": uid, "controller": true }])
        });
        let deletion = pod.is_terminating.then_some("2026-11-23T12:00:00Z");
        json!({
            "apiVersion": "meta.k8s.io/v1",
            "kind": "PartialObjectMetadata",
            "metadata": {
                "namespace": NAMESPACE, "name": name, "uid": pod.uid, "annotations": annotations, "ownerReferences": owners,
                "managedFields": managers, "deletionTimestamp": deletion,
            },
        })
    }

    fn notify(&self, kind: &str, name: &str) {
        let json = self.pod_json(name);
        self.publish(kind, json);
    }

    fn publish(&self, kind: &str, mut object: Json) {
        {
            let mut state = self.state();
            object["metadata"]["resourceVersion"] = json!((state.events.len() + 1).to_string());
            state.events.push(json!({ "type": kind, "object": object }));
        }
        self.changed.send_modify(|n| *n += 1);
    }

    async fn answer(&self, request: Request<Body>) -> Response<Body> {
        let query = request.uri().query().unwrap_or_default().to_owned();
        let verb = match request.method() {
            &Method::PATCH => "patch",
            _ if query.contains("watch=true") => "watch",
            _ => "list",
        };
        let failure = {
            let mut state = self.state();
            *state.requests.entry(verb.to_owned()).or_default() += 1;
            let position = state.failures.iter().position(|failure| failure.verb == verb);
            position.and_then(|position| state.failures.remove(position))
        };
        // No other namespace exists for this service account.
        if !request.uri().path().starts_with(&format!("/api/v1/namespaces/{NAMESPACE}/")) {
            return status(403, "User \"protect\" cannot list resource \"pods\"", json!([]));
        }
        match (failure, verb) {
            (Some(Failure { code, .. }), _) => status(code, &format!("no {verb} today"), json!([])),
            (None, "list") => self.list(),
            (None, "watch") => self.watch(&query),
            (None, _) => self.apply(request).await,
        }
    }

    fn list(&self) -> Response<Body> {
        let names: Vec<String> = self.state().pods.keys().cloned().collect();
        let items: Vec<Json> = names.iter().map(|name| self.pod_json(name)).collect();
        let version = self.state().events.len().to_string();
        let list = json!({
            "apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadataList",
            "metadata": { "resourceVersion": version }, "items": items,
        });
        Response::new(Body::from(list.to_string()))
    }

    fn watch(&self, query: &str) -> Response<Body> {
        let version = query.split('&').find_map(|pair| pair.strip_prefix("resourceVersion=")).unwrap();
        let next: usize = version.parse().unwrap();
        if next < self.state().forgotten {
            return status(410, "too old resource version", json!([]));
        }
        let (n_cuts, start) = (self.state().n_cuts, (self.clone(), next, self.changed.subscribe()));
        let events = futures::stream::unfold(start, move |(api, next, mut changed)| async move {
            loop {
                let event = {
                    let state = api.state();
                    if state.n_cuts != n_cuts {
                        return None;
                    }
                    state.events.get(next).map(|event| format!("{event}\n"))
                };
                match event {
                    Some(event) => return Some((Ok::<_, Infallible>(Bytes::from(event)), (api, next + 1, changed))),
                    None => drop(changed.changed().await),
                }
            }
        });
        Response::new(Body::from_stream(events))
    }

    /// Server-side apply, of the deletion cost only.
    async fn apply(&self, request: Request<Body>) -> Response<Body> {
        let path = request.uri().path().to_owned();
        let query = request.uri().query().unwrap_or_default().to_owned();
        assert_eq!(request.headers()["content-type"], "application/apply-patch+yaml");
        assert!(!query.contains("force=true"), "what others have written stays: {query}");
        let manager = query.split('&').find_map(|pair| pair.strip_prefix("fieldManager=")).unwrap().to_owned();
        let name = path.strip_prefix(&format!("/api/v1/namespaces/{NAMESPACE}/pods/")).unwrap().to_owned();
        let body = to_bytes(request.into_body(), 1_000_000).await.unwrap();
        let body: Json = serde_json::from_slice(&body).unwrap();
        let annotations = body["metadata"].get("annotations");
        let wanted = annotations.and_then(|all| all.get(ANNOTATION)).map(|cost| cost.as_str().unwrap().to_owned());
        if self.state().hangs {
            std::future::pending::<()>().await;
        }
        {
            let mut state = self.state();
            if let Some((code, message)) = state.refused.get(&name) {
                return status(*code, message, json!([]));
            }
            let Some(pod) = state.pods.get_mut(&name) else { return status(404, "no such pod", json!([])) };
            if body["metadata"]["uid"] != pod.uid {
                return status(409, "uid mismatch", json!([]));
            }
            match wanted {
                Some(cost) => {
                    let other = pod.managers.iter().find(|(other, theirs)| {
                        **other != manager && theirs.as_ref().is_some_and(|theirs| *theirs != cost)
                    });
                    if let Some((other, _)) = other {
                        let message = format!("conflict with \"{other}\"");
                        return status(
                            409,
                            &message,
                            json!([{ "reason": "FieldManagerConflict", "message": message }]),
                        );
                    }
                    pod.cost = Some(cost.clone());
                    pod.managers.insert(manager, Some(cost));
                }
                None => {
                    let had_cost = pod.managers.remove(&manager).flatten().is_some();
                    // Who applies an empty map owns that map.
                    if annotations.is_some() {
                        pod.managers.insert(manager, None);
                    }
                    if had_cost && pod.managers.values().all(Option::is_none) {
                        pod.cost = None;
                    }
                }
            }
        }
        self.notify("MODIFIED", &name);
        Response::new(Body::from(self.pod_json(&name).to_string()))
    }
}

/// An entry of `managedFields`, of a manager that owns the deletion cost or only the map that it is in.
fn managed(manager: &str, has_cost: bool) -> Json {
    let cost = format!("f:{ANNOTATION}");
    let annotations = if has_cost { json!({ ".": {}, cost: {} }) } else { json!({}) };
    json!({
        "manager": manager, "operation": "Apply", "apiVersion": "v1", "fieldsType": "FieldsV1",
        "fieldsV1": { "f:metadata": { "f:annotations": annotations } },
    })
}

/// A failure as the API server words it.
fn status(code: u16, message: &str, causes: Json) -> Response<Body> {
    let reason = match code {
        403 => "Forbidden",
        404 => "NotFound",
        409 => "Conflict",
        410 => "Expired",
        422 => "Invalid",
        429 => "TooManyRequests",
        _ => "InternalError",
    };
    let body = json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": message, "reason": reason,
        "details": { "causes": causes }, "code": code,
    });
    let mut response = Response::new(Body::from(body.to_string()));
    *response.status_mut() = StatusCode::from_u16(code).unwrap();
    response
}
