#!/usr/bin/env bash
# Checks the workflows of GitHub Actions with actionlint (and shellcheck within them), that every action is pinned to a commit and every
# workflow begins with few rights, and that CI has the lints of .ci/run. Needs Go.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=scripts/lib/packages.sh
source scripts/lib/packages.sh

readonly ACTIONLINT_VERSION=1.7.12

command -v shellcheck >/dev/null || install_packages shellcheck
require_go
PATH=$PATH:$(go env GOPATH)/bin
command -v actionlint >/dev/null || go install "github.com/rhysd/actionlint/cmd/actionlint@v$ACTIONLINT_VERSION"
actionlint -color

for file in .github/workflows/*.yml; do
  # The release behind each commit stands beside it.
  ! grep --extended-regexp '^ *(- )?uses:' "$file" | grep --invert-match --extended-regexp '@[0-9a-f]{40} # v[0-9]+\.[0-9]+\.[0-9]+$' ||
    fail "$file: an action is not pinned to a commit"
  grep --quiet --line-regexp 'permissions:' "$file" || fail "$file: there are no permissions for all of it"
  [[ $(sed -n '/^permissions:$/,/^[a-z]/p' "$file" | grep '^  ') == "  contents: read" ]] || fail "$file: all of it may do more than read"
  ! grep --extended-regexp 'uses: actions/checkout' --after-context 2 "$file" | grep --quiet 'persist-credentials: true' ||
    fail "$file: a checkout leaves the token behind"
  # Without a name or pattern it would take what other actions upload.
  awk '
    function end_step() { if (downloads && !limited) failed = 1; downloads = with = limited = 0 }
    /^ *- / || /^ ? ?[A-Za-z]/ { end_step() }
    /uses: actions\/download-artifact/ { downloads = 1 }
    /^ +with:/ { with = 1 }
    with && /^ +(name|pattern):/ { limited = 1 }
    END { end_step(); exit failed }
  ' "$file" || fail "$file: a download takes every artifact of the run; give it a name or pattern"
done
n_lints=0
while read -r command; do
  grep --quiet --fixed-strings -- "- run: $command" .github/workflows/ci.yml || fail "ci.yml does not run, as .ci/run does: $command"
  n_lints=$((n_lints + 1))
done < <(grep --only-matching 'cargo \(clippy\|doc\) --locked.*' .ci/run)
((2 <= n_lints)) || fail ".ci/run has $n_lints of the lints that were expected, clippy and doc"
echo "The workflows are as they should be."
