#!/usr/bin/env bash
# Builds docs/ as a site, into target/site. Needs mdBook, which takes minutes to install: cargo install --locked mdbook. The links are
# checked without it, by tests/docs.rs, with every test run.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=scripts/lib/packages.sh
source scripts/lib/packages.sh

require_rust
command -v python3 >/dev/null || install_packages python3
mdbook --version >/dev/null 2>&1 || fail "missing: mdBook. Get it with: cargo install --locked --version 0.5.4 mdbook"
rm -rf target/site-src target/site
mkdir -p target
cp -r docs target/site-src
# What is not part of the site is in the repository. Pages in folders are one level deeper.
repository='https://github.com/jobrunr-scaler/jobrunr-scaler/blob/main/'
sed -i "s|](\.\./\([^)]*\))|]($repository\1)|g" target/site-src/*.md
sed -i "s|](\.\./\.\./\([^)]*\))|]($repository\1)|g" target/site-src/*/*.md
mdbook build
# Every page is there, and every link of the pages leads to something.
python3 - docs/SUMMARY.md target/site <<'PYTHON'
import pathlib, re, sys
from urllib.parse import unquote, urldefrag
summary, site = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
wrong = []
for page in re.findall(r"\]\(([^)]+)\.md\)", summary.read_text()):
    if not (site / (page + ".html")).is_file():
        wrong.append(f"{page}.md is in {summary}, but not in the site")
for page in site.rglob("*.html"):
    # The table of contents is also a page by itself, for browsers without scripts; print.html is all pages in one place.
    if page.name in ("toc.html", "print.html", "404.html"):
        continue
    for link in re.findall(r'(?:href|src)="([^"]+)"', page.read_text()):
        target, _ = urldefrag(link)
        if target and not re.match(r"[a-z]+:", target) and not (page.parent / unquote(target)).exists():
            wrong.append(f"{page.relative_to(site)}: {link} leads to nothing")
sys.exit("\n".join(wrong))
PYTHON
