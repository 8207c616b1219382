#!/usr/bin/env bash
# Checks everything that is applied to a cluster: the Kustomize folders, the Helm chart with all of its values, and the alerts,
# against the schemas of Kubernetes, KEDA, the Prometheus operator and cert-manager. Needs no cluster. What it needs it installs.
set -euo pipefail
shopt -s extglob
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=scripts/lib/packages.sh
source scripts/lib/packages.sh
# shellcheck source=scripts/lib/schemas.sh
source scripts/lib/schemas.sh

chart=k8s/helm/jobrunr-scaler
require_rust
require_manifest_tools
command -v promtool || install_packages prometheus
command -v kubectl || install_packages kubernetes-client
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
make_schemas "$work"

# Reads manifests from standard input, whose name for a message it gets. No kind may be without a schema.
conform() {
  kubeconform -strict -summary -schema-location "$work/{{.ResourceKind}}-{{.Group}}-{{.ResourceAPIVersion}}.json" ||
    fail "$1 is not what Kubernetes or KEDA take"
}

render() {
  helm template scaler "$chart" --namespace keda --kube-version "$KUBERNETES_VERSION" "$@"
}

for folder in k8s/base k8s/overlays/*; do
  kubectl kustomize "$folder" | conform "$folder"
done
for file in k8s/scaledobject*.yaml k8s/base/secret.yaml k8s/overlays/tls/*scaledobject.yaml k8s/policy/*.yaml; do
  # shellcheck disable=SC2094 # conform does not write
  conform "$file" <"$file"
done

promtool check rules k8s/monitoring/alerts.yaml
promtool test rules k8s/monitoring/alerts-test.yaml

helm lint --strict --kube-version "$KUBERNETES_VERSION" "$chart" --values k8s/helm/tests/every-value.yaml
for values in every-value least unusual; do
  render --values "k8s/helm/tests/$values.yaml" >"$work/$values.yaml"
  conform "the chart with $values.yaml" <"$work/$values.yaml"
  # The program takes the configuration that the chart makes.
  render --values "k8s/helm/tests/$values.yaml" --show-only templates/config.yaml |
    "$python" -c 'import sys, yaml; print(yaml.safe_load(sys.stdin)["data"]["config.yaml"])' >"$work/config.yaml"
  echo "jdbc:mariadb://mariadb.billing/billing" >"$work/url"
  sed -i "s|/etc/jobrunr-scaler/storages/all-in-the-secret/url|$work/url|" "$work/config.yaml"
  for storage in $("$python" -c 'import sys, yaml; print(*yaml.safe_load(sys.stdin)["storages"])' <"$work/config.yaml"); do
    cargo run --quiet --locked --features protect -- grants-sql --config "$work/config.yaml" --storage "$storage" >/dev/null ||
      fail "the chart makes a configuration that the program does not take, with $values.yaml"
  done
done

n_refused=0
while IFS='|' read -r values expected; do
  [[ $values == \#* ]] && continue
  values=${values%%+([[:space:]])}
  if said=$(render --values k8s/helm/tests/least.yaml --set "$values" 2>&1); then
    fail "the chart takes what it should refuse: $values"
  fi
  grep --quiet --fixed-strings -- "${expected# }" <<<"$said" || fail "of $values the chart says: $said"
  ! grep --quiet '[=:#]secret' <<<"$said" || fail "of $values the chart prints a password: $said"
  n_refused=$((n_refused + 1))
done <k8s/helm/tests/refused.txt
if said=$(render 2>&1) || ! grep --quiet "No storage is given" <<<"$said"; then
  fail "without values the chart says: $said"
fi
((30 < n_refused)) || fail "only $n_refused refused values were tried"
echo "The chart refuses $n_refused wrong values as it should."

# A release changes all of them, or manifests would run the one before.
scripts/version.sh --check
mkdir "$work/copy"
tar --create Cargo.* CHANGELOG.md build.rs src benches scripts k8s docs artifacthub | tar --extract --directory "$work/copy"
# Right after a release, [Unreleased] is empty.
sed -i 's/^## \[Unreleased\]$/&\n\n### Added\n- Something./' "$work/copy/CHANGELOG.md"
for version in 987.6.5-rc.1 987.6.5-rc.2 987.6.5; do
  "$work/copy/scripts/version.sh" --set "$version"
  # A second time changes nothing.
  "$work/copy/scripts/version.sh" --set "$version"
  for folder in "$work"/copy/k8s/base "$work"/copy/k8s/overlays/*; do
    images=$(kubectl kustomize "$folder" | sed -n 's/^ *image: .*\/jobrunr-scaler:/of version /p' | sort --unique)
    [[ $images == "of version $version" ]] || fail "after version.sh --set $version, ${folder#"$work/copy/"} has images $images"
  done
  # A candidate's changes are those of its release.
  "$work/copy/scripts/release.sh" --notes | grep '^- ' >/dev/null || fail "there are no release notes of $version"
  [[ $(grep '^## \[987' "$work/copy/CHANGELOG.md") == "## [$version] - "????-??-?? ]] ||
    fail "the changelog does not have one section of $version, without those of its candidates"
done

# What OpenShift's restricted-v2 accepts: no user, no group, nothing else that it would have to allow.
render --values k8s/helm/tests/least.yaml --set openshift=always,protect.enabled=true | "$python" -c '
import sys, yaml
manifests = [manifest for manifest in yaml.safe_load_all(sys.stdin) if manifest]
pods = [m["spec"]["template"]["spec"] for m in manifests if m["kind"] in ("Deployment", "Job")]
pods += [m["spec"] for m in manifests if m["kind"] == "Pod"]
assert len(pods) == 4, len(pods)
for pod in pods:
    container, = pod["containers"]
    assert pod["securityContext"] == {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}, pod["securityContext"]
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}, container
    assert not container["securityContext"]["allowPrivilegeEscalation"], container
    assert all(set(volume) - {"name"} <= {"configMap", "secret", "projected", "emptyDir"} for volume in pod.get("volumes", []))
'
# The values for pods reach the pods of all components, and nothing selects the pods of another one.
"$python" - "$work"/{every-value,least}.yaml <<'CHECKS'
import re, sys, yaml

class Strict(yaml.SafeLoader):
    """Rejects a key that is there twice: of two, the cluster would silently take one."""
    def construct_mapping(self, node, deep=False):
        keys = [key.value for key, _ in node.value]
        assert len(set(keys)) == len(keys), f"a key is there twice:{node.start_mark}: {sorted(keys)}"
        return super().construct_mapping(node, deep)

def read(path):
    return [manifest for manifest in yaml.load_all(open(path), Strict) if manifest]

every, least = map(read, sys.argv[1:])
def kind(name, manifests=every):
    return [manifest for manifest in manifests if manifest["kind"] == name]

def is_hook(manifest, event):
    return manifest["metadata"].get("annotations", {}).get("helm.sh/hook") == event

pods = {m["metadata"]["name"]: m["spec"]["template"] for m in kind("Deployment") + kind("Job")}
pods |= {m["metadata"]["name"]: m for m in kind("Pod")}
assert set(pods) == {"jobs", "jobs-protect", "jobs-protect-remove", "jobs-check"}, set(pods)

def selected(selector):
    return [name for name, pod in pods.items() if selector.items() <= pod["metadata"]["labels"].items()]

for service in kind("Service"):
    assert selected(service["spec"]["selector"]) == ["jobs"], service
for key, kinds in {"podSelector": ["NetworkPolicy"], "selector": ["PodDisruptionBudget", "Deployment", "PodMonitor"]}.items():
    for manifest in sum(map(kind, kinds), []):
        chosen = manifest["spec"][key]["matchLabels"]
        assert selected(chosen) == [manifest["metadata"]["name"]], (manifest["kind"], selected(chosen))
for monitor in kind("ServiceMonitor"):
    chosen = monitor["spec"]["selector"]["matchLabels"].items()
    assert [s["metadata"]["name"] for s in kind("Service") if chosen <= s["metadata"]["labels"].items()] == ["jobs"]
for monitor in kind("ServiceMonitor") + kind("PodMonitor"):
    endpoint, = monitor["spec"].get("endpoints") or monitor["spec"]["podMetricsEndpoints"]
    assert endpoint == {"port": "http", "interval": "15s", "honorLabels": True}, endpoint
    assert monitor["metadata"]["labels"]["release"] == "prometheus"
monitor, = kind("PodMonitor")
assert monitor["spec"]["jobLabel"] in pods["jobs-protect"]["metadata"]["labels"]

scaler = pods["jobs"]["spec"]
for name, pod in pods.items():
    labels, annotations, spec = pod["metadata"]["labels"], pod["metadata"].get("annotations", {}), pod["spec"]
    for key in ("imagePullSecrets", "securityContext", "nodeSelector", "tolerations"):
        assert spec[key] == scaler[key], (name, key)
    assert spec["affinity"]["nodeAffinity"] == scaler["affinity"]["nodeAffinity"], name
    assert ("podAntiAffinity" in spec["affinity"]) == (name == "jobs"), name
    assert spec["containers"][0]["securityContext"] == scaler["containers"][0]["securityContext"], name
    mounts = {mount["name"] for mount in spec["containers"][0].get("volumeMounts", [])}
    assert mounts == {volume["name"] for volume in spec.get("volumes", [])}, name
    reads_storages = name != "jobs-protect-remove"
    # The key of the certificate is not for protect.
    tls = {"tls"} - ({"tls"} if "protect" in name else set())
    assert mounts == ({"config", "storages", "extra"} | tls if reads_storages else set()), (name, mounts)
    # A sidecar would keep the Job from ending.
    sidecars = spec["containers"][1:] + spec.get("initContainers", [])
    assert [sidecar["name"] for sidecar in sidecars] == (["proxy"] if reads_storages else []), name
    assert (labels.get("team") == "platform") == reads_storages, name
    assert (labels["example.com/cost-center"] == "") == reads_storages, name
    assert ("example.com/owner" in annotations) == (name in ("jobs", "jobs-protect")), name
    assert (spec.get("priorityClassName") == "system-cluster-critical") == reads_storages, name
check = pods["jobs-check"]["spec"]
assert len(check["containers"]) == 1 and check["initContainers"][0]["restartPolicy"] == "Always", check

# After protect and its rights are deleted, a Job with rights of its own removes the costs, and then goes with them.
hooks = [manifest for manifest in every if is_hook(manifest, "post-delete")]
assert sorted(m["kind"] for m in hooks) == ["Job", "Role", "Role", "RoleBinding", "RoleBinding", "ServiceAccount"], hooks
for hook in hooks:
    annotations = hook["metadata"]["annotations"]
    assert annotations["helm.sh/hook-delete-policy"] == "before-hook-creation,hook-succeeded", hook
    assert (int(annotations["helm.sh/hook-weight"]) < 0) == (hook["kind"] != "Job"), hook
    assert hook["metadata"]["name"] == "jobs-protect-remove", hook
    assert all(subject["name"] == "jobs-protect-remove" for subject in hook.get("subjects", [])), hook
def namespaces(name, manifests):
    return [m["metadata"]["namespace"] for m in manifests if m["kind"] == name and "jobs-protect" in m["metadata"]["name"]]
protect = [manifest for manifest in every if manifest not in hooks]
for name in ("Role", "RoleBinding"):
    assert namespaces(name, hooks) == namespaces(name, protect) == ["orders", "shop"], name
job, = kind("Job", hooks)
assert job["spec"]["activeDeadlineSeconds"] < 300 and 0 < job["spec"]["backoffLimit"], job["spec"]
assert pods["jobs-protect-remove"]["spec"]["serviceAccountName"] == "jobs-protect-remove"
def which(name):
    arguments = pods[name]["spec"]["containers"][0]["args"]
    return [argument for argument in arguments if argument.startswith(("--namespace=", "--selector="))]
assert which("jobs-protect-remove") == which("jobs-protect") and len(which("jobs-protect")) == 3, which("jobs-protect")
assert "--remove" in pods["jobs-protect-remove"]["spec"]["containers"][0]["args"]

# The policy is for triggers with the address of this release, and not for other Services that have a similar name.
policies = kind("ValidatingAdmissionPolicy")
assert len(policies) == 2, policies
for policy in policies:
    spec = policy["spec"]
    rules = " ".join(rule["expression"] for rule in spec["variables"] + spec["matchConditions"])
    assert policy["metadata"]["name"] in ("jobs-triggers.keda", "jobs-hints.keda"), policy["metadata"]
    pattern, = set(re.findall(r"t[.]metadata\['scalerAddress'\][.]trim\(\)[.]matches\('([^']*)'\)", rules))
    for address in ("jobs.keda:6000", "jobs:6000", "jobs.keda.svc:6000", "dns:///jobs.keda:6000", "http://jobs.keda:6000",
                    "dns://10.96.0.10/jobs.keda:6000", "DNS:///jobs.keda:6000", "//jobs.keda:6000", "http//jobs.keda:6000",
                    "h2c://jobs.keda:6000", "jobs keda:6000", "Jobs.keda:6000"):
        assert re.search(pattern, address), (pattern, address)
    for address in ("jobs.shop:6000", "jobs-of-others.keda:6000", "other-jobs.keda:6000", "other.jobs:6000", "jobs.kedas:6000",
                    "dns:///jobs.shop:6000", "dns:///other.keda:6000/jobs", "http://other.keda:6000/jobs.keda"):
        assert not re.search(pattern, address), (pattern, address)
bindings = kind("ValidatingAdmissionPolicyBinding")
assert [b["metadata"]["name"] for b in bindings] == [b["spec"]["policyName"] for b in bindings], bindings
assert {b["metadata"]["name"] for b in bindings} == {policy["metadata"]["name"] for policy in policies}, bindings

# The address that triggers get leads to a port that listens: of the Service, or of the pods where it has no address of its own.
for manifests, address in ((every, "jobs.keda:6000"), (least, None)):
    service, = kind("Service", manifests)
    ports = {port["name"]: port["port"] for port in service["spec"]["ports"]}
    if address is None:
        container = kind("Deployment", manifests)[0]["spec"]["template"]["spec"]["containers"][0]
        assert service["spec"]["clusterIP"] == "None"
        assert ports == {port["name"]: port["containerPort"] for port in container["ports"]}, ports
    else:
        extra, = [m for m in manifests if m["metadata"]["name"] == "jobs-extra"]
        assert extra["data"]["scalerAddress"] == address == f"jobs.keda:{ports['grpc']}", extra
CHECKS
# Before native sidecars, the pod of `helm test` has none and still ends.
rendered=$(render --values k8s/helm/tests/every-value.yaml --kube-version 1.28.0 --show-only templates/tests/check.yaml)
! grep --quiet -e initContainers -e "name: proxy" <<<"$rendered" || fail "the pod of helm test never ends with Kubernetes 1.28"
rendered=$(render --values k8s/helm/tests/least.yaml)
! grep --quiet protect <<<"$rendered" || fail "the chart protects pods although protect.enabled is false"
# And what the Pod Security Standard `restricted` asks for, in the base, protect and the whole example, PostgreSQL included.
for folder in k8s/base k8s/overlays/protect k8s/overlays/example; do
  kubectl kustomize "$folder" | "$python" -c '
import sys, yaml
for manifest in filter(None, yaml.safe_load_all(sys.stdin)):
    if manifest["kind"] != "Deployment":
        continue
    pod, name = manifest["spec"]["template"]["spec"], manifest["metadata"]["name"]
    assert pod["securityContext"]["runAsNonRoot"] and pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, name
    for container in pod["containers"]:
        context = container["securityContext"]
        assert not context["allowPrivilegeEscalation"] and context["capabilities"] == {"drop": ["ALL"]}, name
        assert not container["image"].endswith(":latest"), name
'
done
