# shellcheck shell=bash
# What a new machine needs: installs it where we can, and says how to get it where we cannot. A library, to be sourced.

# Prints to standard error and fails, so that a function can end with it.
fail() {
  echo "$*" >&2
  return 1
}

# Installs those of the named Debian packages that are not installed yet.
install_packages() {
  local missing=() name
  for name in "$@"; do
    [[ $(dpkg-query --show --showformat='${db:Status-Status}' "$name" 2>/dev/null) == installed ]] || missing+=("$name")
  done
  ((${#missing[@]})) || return 0
  command -v apt-get >/dev/null ||
    { fail "missing: ${missing[*]} (Debian's names). There is no apt-get here: install them with this system's package manager, and put their programs on the PATH."; return; }
  ((EUID == 0)) ||
    { fail "missing: ${missing[*]}. Only root can install them: sudo apt-get install ${missing[*]}"; return; }
  echo "Installing ${missing[*]}" >&2
  # Another apt-get may be at work on a new machine: wait for it. The lists are fetched once for a whole run.
  local apt=(apt-get -qq -o DPkg::Lock::Timeout=600)
  if [[ -z ${APT_LISTS_UPDATED:-} ]]; then
    "${apt[@]}" update >&2 || { fail "apt-get update failed; still missing: ${missing[*]}"; return; }
    export APT_LISTS_UPDATED=1
  fi
  DEBIAN_FRONTEND=noninteractive "${apt[@]}" install --yes --no-install-recommends "${missing[@]}" </dev/null >&2 ||
    fail "apt-get could not install ${missing[*]}"
}

# Makes sure of cargo and of a C compiler and linker, which the crates with C inside need (SQLite, aws-lc).
require_rust() {
  # rustup's directory is not on the PATH of a shell that was there before rustup.
  PATH=$PATH:${CARGO_HOME:-${HOME:-}/.cargo}/bin
  command -v cargo >/dev/null ||
    { fail "missing: Rust (cargo). Get it with rustup: https://rustup.rs"; return; }
  command -v cc >/dev/null || install_packages gcc libc6-dev
}

# Makes sure of Go 1.21 or later: from then on it fetches a newer one by itself where a module wants that. Debian 12 has 1.19.
require_go() {
  local version
  command -v go >/dev/null || install_packages golang-go || return
  version=$(go env GOVERSION)
  [[ $(printf '%s\n' go1.21 "$version" | sort --version-sort | head -n 1) == go1.21 ]] ||
    fail "Go is $version, but 1.21 or later is needed. Get it from https://go.dev/dl, and put it first on the PATH."
}
