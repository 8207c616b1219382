#!/usr/bin/env bash
# Feeds the parsers of what comes from outside with inputs that libFuzzer makes up: addresses, the configuration, manifests,
# schedules, trigger metadata. It begins with inputs of the tests and of what is shipped. An input that makes a parser panic,
# takes 10 s or 512 MB stays in fuzz/artifacts; give it a test, then the fix.
#
#   scripts/fuzz.sh                  every target for a minute
#   scripts/fuzz.sh 600 address      one target, or several, for as many seconds
#
# Needs a C++ compiler and cargo-fuzz, which it installs. The stable toolchain is enough: without a sanitizer, which only
# unsafe code would need, nothing of it is unstable. The first build takes some minutes.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=scripts/lib/packages.sh
source scripts/lib/packages.sh

seconds=${1:-60}
targets=("${@:2}")
((${#targets[@]})) || targets=(address configuration manifest schedule trigger)

require_rust
command -v c++ >/dev/null || install_packages g++
cargo fuzz --version >/dev/null 2>&1 || cargo install --locked --version 0.13.2 cargo-fuzz ||
  fail "missing: cargo-fuzz, and it could not be installed"

# The versions of the main build.
[[ fuzz/Cargo.lock -nt Cargo.lock ]] || cp Cargo.lock fuzz/Cargo.lock

# seed TARGET: writes each record of standard input, which ends with a NUL, to the target's seeds.
seed() {
  local folder=fuzz/seeds/$1 record
  mkdir -p "$folder"
  while IFS= read -r -d '' record; do
    printf '%s' "$record" >"$folder/$(printf '%s' "$record" | sha256sum | cut -c 1-16)"
  done
}

rm -rf fuzz/seeds
# Texts in quotes in the tests that begin like an address.
grep --no-filename --only-matching --extended-regexp '"(jdbc:|postgres|mysql|mariadb|sqlite)[^" ]*"' \
  src/config/address/tests.rs | tr -d '"' | tr '\n' '\0' | seed address
grep --recursive --no-filename --only-matching --extended-regexp '"metric=[^"]*"' tests | tr -d '"' | tr ' ' '\n' |
  sed 's/^metric=/\x00metric=/' | seed trigger
find k8s docs -name '*.yaml' -print0 | xargs -0 -I{} sh -c 'cat {}; printf "\0"' | seed manifest
{
  printf 'JOBRUNR_SCALER_URL=jdbc:postgresql://h/db\nJOBRUNR_SCALER_STORAGES_ORDERS_REFRESH=PT2S\n\0'
  grep --invert-match --ignore-case file config.example.yaml
  # One key of a storage each.
  grep --only-matching --extended-regexp 'key\("[^"]*"\)' src/config/tests.rs | sed 's/^key("//; s/")$//' |
    sed 's|.*|\x00storages:\n  orders:\n    url: postgres://h/db\n    &|'
  printf '\0'
} | seed configuration
tail -n +2 tests/data/next-run-vectors.tsv | cut -f 1,2 | tr '\t' '\n' | paste -d '\n' - - |
  awk 'NR % 2 { expression = $0; next } { printf "%s\n%s%c", expression, $0, 0 }' | seed schedule

for target in "${targets[@]}"; do
  mkdir -p "fuzz/corpus/$target"
  echo "== $target: $(find "fuzz/seeds/$target" -type f | wc -l) seeds, $seconds s"
  cargo fuzz run --sanitizer none "$target" "fuzz/corpus/$target" "fuzz/seeds/$target" -- \
    -max_total_time="$seconds" -timeout=10 -rss_limit_mb=512 -max_len=8192 -print_final_stats=1
done
echo "No input was found that a parser cannot bear."
