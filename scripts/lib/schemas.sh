# shellcheck shell=bash
# JSON schemas for kubeconform, made from what Kubernetes, KEDA, the Prometheus operator and cert-manager publish themselves as Go modules.
# A library, to be sourced after packages.sh.

# The version of each that the manifests are checked against.
KUBERNETES_VERSION=1.36.3
KEDA_VERSION=2.21.0
PROMETHEUS_OPERATOR_VERSION=0.85.0
CERT_MANAGER_VERSION=1.21.2
KUBECONFORM_VERSION=0.8.0
HELM_VERSION=3.22.0

# Makes sure of Go, helm, kubeconform and what makes the schemas.
require_manifest_tools() {
  command -v jq || install_packages jq
  # The first python3 on the PATH may be another than Debian's, and its packages are not Debian's then.
  python=python3
  "$python" -c 'import yaml' 2>/dev/null || { install_packages python3 python3-yaml && python=/usr/bin/python3; }
  require_go
  PATH=$PATH:$(go env GOPATH)/bin
  command -v helm || go install "helm.sh/helm/v3/cmd/helm@v$HELM_VERSION"
  command -v kubeconform || go install "github.com/yannh/kubeconform/cmd/kubeconform@v$KUBECONFORM_VERSION"
}

# Where a Go module is after its download: go_module PATH@VERSION
go_module() {
  go mod download -json "$1" | jq --raw-output --exit-status .Dir
}

# Writes KIND-GROUP-VERSION.json for every kind into a folder; of the core group the version stands for the group, too.
make_schemas() {
  local folder=$1 swagger crds kubeconform
  swagger=$(go_module "k8s.io/kubernetes@v$KUBERNETES_VERSION")/api/openapi-spec/swagger.json
  # OpenAPI 2 is nearly JSON schema: what is unknown has to be refused, and what may be a number or a text says so.
  jq '{definitions: .definitions | map_values(walk(
        if type != "object" then .
        elif .format? == "int-or-string" then {anyOf: [{type: "string"}, {type: "integer"}]}
        elif .type? == "object" and .properties? and (.additionalProperties? | not) then .additionalProperties = false
        else . end))}' "$swagger" >"$folder/definitions.json"
  jq --raw-output '.definitions | to_entries[] | .key as $name | .value["x-kubernetes-group-version-kind"][]?
        | [(.kind | ascii_downcase), (if .group == "" then .version else .group end), .version, $name] | @tsv' \
    "$folder/definitions.json" | while IFS=$'\t' read -r kind group version name; do
    # shellcheck disable=SC2016 # $ref is no variable
    printf '{"$ref": "definitions.json#/definitions/%s"}' "$name" >"$folder/$kind-$group-$version.json"
  done
  kubeconform=$(go_module "github.com/yannh/kubeconform@v$KUBECONFORM_VERSION")
  crds=("$(go_module "github.com/kedacore/keda/v2@v$KEDA_VERSION")"/config/crd/bases/keda.sh_*.yaml
    "$(go_module "github.com/prometheus-operator/prometheus-operator@v$PROMETHEUS_OPERATOR_VERSION")"/example/prometheus-operator-crd/monitoring.coreos.com_{podmonitors,prometheusrules,servicemonitors}.yaml
    "$(go_module "github.com/cert-manager/cert-manager@v$CERT_MANAGER_VERSION")"/deploy/crds/cert-manager.io_certificates.yaml)
  (cd "$folder" && FILENAME_FORMAT='{kind}-{fullgroup}-{version}' "$python" "$kubeconform/scripts/openapi2jsonschema.py" "${crds[@]}" >/dev/null)
}
