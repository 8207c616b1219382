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
for values in every-value least; do
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

# What OpenShift's restricted-v2 accepts: no user, no group, nothing else that it would have to allow.
render --values k8s/helm/tests/least.yaml --set openshift=always --show-only templates/deployment.yaml |
  "$python" -c '
import sys, yaml
pod = yaml.safe_load(sys.stdin)["spec"]["template"]["spec"]
container, = pod["containers"]
assert pod["securityContext"] == {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}, pod["securityContext"]
assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]} and not container["securityContext"]["allowPrivilegeEscalation"]
assert all(set(volume) - {"name"} <= {"configMap", "secret", "projected", "emptyDir"} for volume in pod["volumes"])
'
# And what the Pod Security Standard `restricted` asks for, in the base and the whole example, PostgreSQL included.
for folder in k8s/base k8s/overlays/example; do
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
