#!/usr/bin/env bash
# Makes and checks what a release consists of, as far as this machine can: into target/release-VERSION.
#
#   scripts/release.sh --dry-run                      all of it
#   scripts/release.sh --dry-run --profile release    compiled in less time, for a test of this script
#   scripts/release.sh --notes                        prints the release notes
#   scripts/release.sh --sbom FILE                    writes the bill of materials alone
#
# Nothing is published, tagged or pushed: .github/workflows/release.yml does that when a tag is pushed. It needs root for the image.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=scripts/lib/packages.sh
source scripts/lib/packages.sh
# shellcheck source=scripts/lib/schemas.sh
source scripts/lib/schemas.sh

version=$(scripts/version.sh)

# The section of the changelog: that of this version, or what is not released yet.
notes() {
  local section="[$version]"
  grep --quiet --fixed-strings "## $section" CHANGELOG.md || section="[Unreleased]"
  awk -v section="## $section" 'index($0, section) == 1 {found = 1; next} /^## / {found = 0} found' CHANGELOG.md
}

# CycloneDX: every crate of the program for any platform, with version and license, from cargo's own metadata.
sbom() {
  cargo metadata --format-version 1 --locked --features protect | python3 scripts/lib/sbom.py "$version" >"$1"
}

profile=dist
case ${1:-} in
--notes) notes && exit ;;
--sbom) sbom "${2:?"usage: $0 --sbom FILE"}" && exit ;;
--dry-run) [[ ${2:-} != --profile ]] || profile=$3 ;;
*) fail "usage: $0 --dry-run [--profile release] | --notes | --sbom FILE" ;;
esac

step() {
  printf '\n== %s\n' "$*"
}

require_rust
require_manifest_tools >/dev/null
command -v kubectl >/dev/null || install_packages kubernetes-client
command -v python3 >/dev/null || install_packages python3
scripts/version.sh --check
folder=target/release-$version
rm -rf "$folder"
mkdir -p "$folder"

step "Release notes"
notes >"$folder/notes.md"
[[ $(grep --count '^- ' "$folder/notes.md") -gt 0 ]] || fail "CHANGELOG.md has nothing about $version"

step "Image, and the static program in it"
scripts/image.sh --profile "$profile" --output "$PWD/$folder/jobrunr-scaler-$version-image.tar"
host=$(rustc -vV | sed -n 's/^host: //p')
target=${host/-gnu/-musl}
program=$folder/jobrunr-scaler-$version-$target
target_folder=$(cargo metadata --format-version 1 --no-deps | python3 -c 'import json, sys; print(json.load(sys.stdin)["target_directory"])')

step "Program, with completions and manual pages"
scripts/lib/pack.sh "$target_folder/$target/$profile/jobrunr-scaler" "$version" "$target" "$folder"

step "Bill of materials"
sbom "$folder/jobrunr-scaler-$version.cdx.json"

step "Chart"
helm package --destination "$folder" k8s/helm/jobrunr-scaler
helm template scaler "$folder/jobrunr-scaler-$version.tgz" --kube-version "$KUBERNETES_VERSION" --values k8s/helm/tests/every-value.yaml >/dev/null
kubectl kustomize k8s/base >"$folder/jobrunr-scaler-$version.yaml"

step "Checksums"
(cd "$folder" && sha256sum ./*.tar ./*.tar.gz ./*.tgz ./*.json ./*.yaml >SHA256SUMS && sha256sum --check --quiet SHA256SUMS)
tar --extract --gzip --to-stdout --file "$program.tar.gz" --wildcards '*/jobrunr-scaler' >"$folder/unpacked"
chmod +x "$folder/unpacked"
[[ $("$folder/unpacked" --version) == "jobrunr-scaler $version" ]] || fail "the packed program says that it is $("$folder/unpacked" --version)"
rm "$folder/unpacked"
ls -l "$folder"
echo "Nothing was published. Not made here: the programs and images for other processors, and macOS's program (release.yml does)."
