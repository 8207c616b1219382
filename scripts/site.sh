#!/usr/bin/env bash
# Builds docs/ as a site, into target/site. Needs mdBook, which takes minutes to install: cargo install --locked mdbook. The links are
# checked without it, by tests/docs.rs, with every test run.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=scripts/lib/packages.sh
source scripts/lib/packages.sh

require_rust
mdbook --version >/dev/null 2>&1 || fail "missing: mdBook. Get it with: cargo install --locked --version 0.5.4 mdbook"
rm -rf target/site-src target/site
mkdir -p target
cp -r docs target/site-src
# What is not part of the site is in the repository.
sed -i 's|](\.\./\([^)]*\))|](https://github.com/jobrunr-scaler/jobrunr-scaler/blob/main/\1)|g' target/site-src/*.md
mdbook build
n_pages=$(grep --count '](' docs/SUMMARY.md)
[[ $(find target/site -maxdepth 1 -name '*.html' ! -name print.html ! -name index.html ! -name 404.html ! -name toc.html | wc -l) -ge $n_pages ]] ||
  fail "the site does not have the $n_pages pages of docs/SUMMARY.md"
