#!/usr/bin/env python3
"""A tiny Kubernetes API for scripts/e2e.sh: lists, watches and applies pods of one ReplicaSet, whose names are its arguments.

Prints `listening PORT`. `GET /costs` answers with a line per pod: its name and its deletion cost.
"""

import http.server
import json
import sys
import threading

COST = "controller.kubernetes.io/pod-deletion-cost"
MANAGED = {
    "manager": "jobrunr-scaler-protect",
    "operation": "Apply",
    "fieldsType": "FieldsV1",
    "fieldsV1": {"f:metadata": {"f:annotations": {f"f:{COST}": {}}}},
}
state = threading.Condition()
costs = {name: None for name in sys.argv[1:]}
events = []


def pod(name):
    cost = costs[name]
    return {
        "kind": "PartialObjectMetadata",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": {
            "namespace": "jobs",
            "name": name,
            "uid": f"uid-of-{name}",
            "resourceVersion": str(len(events)),
            "annotations": {} if cost is None else {COST: cost},
            "managedFields": [] if cost is None else [MANAGED],
            "ownerReferences": [
                {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "workers", "uid": "rs", "controller": True}
            ],
        },
    }


class Api(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def answer(self, text, kind="application/json"):
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())

    def do_GET(self):
        if self.path == "/costs":
            with state:
                self.answer("".join(f"{name} {cost or 0}\n" for name, cost in costs.items()), "text/plain")
        elif "watch=true" in self.path:
            self.watch(int(self.path.split("resourceVersion=")[1].split("&")[0]))
        else:
            with state:
                items = [pod(name) for name in costs]
                version = {"resourceVersion": str(len(events))}
            kind = {"kind": "PartialObjectMetadataList", "apiVersion": "meta.k8s.io/v1"}
            self.answer(json.dumps({**kind, "metadata": version, "items": items}))

    def watch(self, version):
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Connection", "close")
        self.end_headers()
        while True:
            with state:
                state.wait_for(lambda: version < len(events))
                new = events[version:]
            for event in new:
                self.wfile.write((json.dumps(event) + "\n").encode())
            self.wfile.flush()
            version += len(new)

    def do_PATCH(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        name = self.path.split("?")[0].rsplit("/", 1)[1]
        with state:
            costs[name] = body["metadata"].get("annotations", {}).get(COST)
            events.append(None)
            events[-1] = {"type": "MODIFIED", "object": pod(name)}
            state.notify_all()
            self.answer(json.dumps(pod(name)))


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Api)
print(f"listening {server.server_address[1]}", flush=True)
server.serve_forever()
