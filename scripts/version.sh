#!/usr/bin/env bash
# The version: Cargo.toml has it, and everything else follows.
#
#   scripts/version.sh              prints it
#   scripts/version.sh --check      fails if a file has another one
#   scripts/version.sh --set 0.2.0  writes it everywhere, Cargo.lock and the changelog included
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=scripts/lib/packages.sh
source scripts/lib/packages.sh

readonly CHART=k8s/helm/jobrunr-scaler/Chart.yaml
readonly PACKAGE=artifacthub/external-scaler/artifacthub-pkg.yml
# Files that name the image, each as often as it does.
readonly IMAGES=(k8s/base/scaler.yaml k8s/overlays/protect/deployment.yaml "$CHART" "$PACKAGE" docs/installation.md)
# Files that give the image a tag.
readonly TAGS=(k8s/overlays/protect/kustomization.yaml k8s/overlays/example/kustomization.yaml)

current() {
  sed -n '/^\[package\]/,/^\[/s/^version = "\(.*\)"$/\1/p' Cargo.toml
}

is_prerelease() {
  [[ $1 == *-* ]] && echo true || echo false
}

check() {
  local version=$1 file
  for file in "${IMAGES[@]}"; do
    grep --quiet "jobrunr-scaler:$version\"\?\$" "$file" || fail "the image in $file is not of version $version, which Cargo.toml has"
    ! grep --only-matching 'jobrunr-scaler:[0-9][^"` ]*' "$file" | grep --invert-match --quiet "jobrunr-scaler:$version\$" ||
      fail "$file names another version of the image than $version, which Cargo.toml has"
  done
  for file in "${TAGS[@]}"; do
    [[ $(sed -n '/^  - name: .*\/jobrunr-scaler$/,/newTag:/s/^ *newTag: //p' "$file") == "$version" ]] ||
      fail "the newTag of jobrunr-scaler in $file is not $version, which Cargo.toml has"
  done
  [[ $(sed -n 's/^\(version\|appVersion\): //p' "$CHART" | sort --unique) == "$version" ]] ||
    fail "version and appVersion in $CHART are not $version, which Cargo.toml has"
  [[ $(sed -n 's/^version: //p' "$PACKAGE") == "$version" ]] ||
    fail "the version in $PACKAGE is not $version, which Cargo.toml has"
  for file in "$CHART" "$PACKAGE"; do
    [[ $(sed -n 's/^\(  artifacthub.io\/\)\?prerelease: "\?\([a-z]*\)"\?$/\2/p' "$file") == "$(is_prerelease "$version")" ]] ||
      fail "prerelease in $file must be $(is_prerelease "$version") for $version"
  done
  [[ $(grep --after-context=1 '^name = "jobrunr-scaler"$' Cargo.lock | sed -n 's/^version = "\(.*\)"$/\1/p') == "$version" ]] ||
    fail "Cargo.lock does not have $version: cargo update --workspace"
}

set_version() {
  local old=$1 new=$2 file
  [[ $new =~ ^[0-9]+\.[0-9]+\.[0-9]+(-[0-9A-Za-z.]+)?$ ]] || fail "$new is not a version, such as 0.2.0 or 0.2.0-rc.1"
  sed -i "/^\[package\]/,/^\[/s/^version = \"$old\"\$/version = \"$new\"/" Cargo.toml
  for file in "${IMAGES[@]}"; do
    sed -i "s/jobrunr-scaler:$old\b/jobrunr-scaler:$new/; s/^\(version\|appVersion\): $old\$/\1: $new/" "$file"
  done
  for file in "${TAGS[@]}"; do
    sed -i "/^  - name: .*\/jobrunr-scaler\$/,/newTag:/s/newTag: $old\$/newTag: $new/" "$file"
  done
  sed -i "s/^\(  artifacthub.io\/prerelease\): .*/\1: \"$(is_prerelease "$new")\"/" "$CHART"
  sed -i "s/^prerelease: .*/prerelease: $(is_prerelease "$new")/; s/^createdAt: .*/createdAt: $(date --utc +%FT00:00:00Z)/" "$PACKAGE"
  # The changes of candidates are changes of the release: their headings go. What is not released yet becomes the release, below an
  # empty section for what comes after it.
  grep --quiet --fixed-strings "## [$new]" CHANGELOG.md ||
    sed -i "/^## \[${new%%-*}-[^]]*\]/,+1d; s/^## \[Unreleased\]\$/## [Unreleased]\n\n## [$new] - $(date --utc +%F)/" CHANGELOG.md
  cargo update --quiet --workspace
}

case ${1:-} in
'') current ;;
--check) check "$(current)" ;;
--set)
  set_version "$(current)" "${2:?"usage: $0 --set VERSION"}"
  check "$(current)"
  ;;
*) fail "usage: $0 [--check | --set VERSION]" ;;
esac
