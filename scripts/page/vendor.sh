#!/usr/bin/env bash
# Makes query/serve/page/vendor/ from the npm registry, pinned by package-lock.json beside this file.
# Users need none of this: the results are committed. Needs Node 20 or later.
set -euo pipefail
here="$(cd "$(dirname "$0")" && pwd)"
vendor="$(cd "$here/../../query/serve/page/vendor" && pwd)"
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
cp "$here/package.json" "$here/package-lock.json" "$work"
cd "$work"
npm ci --ignore-scripts --no-audit --no-fund --silent
bundle() {  # name of the file, package
  local version
  version="$(node -p "require('./node_modules/$2/package.json').version")"
  node_modules/@esbuild/*/bin/esbuild "./node_modules/$2" --bundle --format=esm --minify --target=es2022 --legal-comments=none \
    --banner:js="/* $2 $version; licence: LICENSE-$1.txt */" --log-level=warning --outfile="$vendor/$1.js"
  cp "node_modules/$2/LICENSE" "$vendor/LICENSE-$1.txt"
}
bundle flechette @uwdata/flechette
bundle kdbush kdbush
(cd "$vendor" && sha256sum ./*.js)
