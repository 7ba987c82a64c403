#!/bin/sh
# Sets up a fresh Debian 12 machine: packages, virtual environment, locked Python packages. Does nothing twice.
#   setup.sh run     what experiments need
#   setup.sh test    what the tests and `make check` need on top, building and booting the VM image included
#   setup.sh image   what building and booting the VM image needs
set -eu
cd "$(dirname "$0")"
purpose=${1:-run}
venv=${VENV:-.venv}
list() { sed 's/[[:space:]]*#.*//' "$1" | tr '\n' ' '; } # FILE: one package a line, with remarks
packages=$(list packages.txt)
case $purpose in image | test) packages="$packages $(list image/host-packages.txt)" ;; esac
# In headless Chromium the tests look at the pages (113 MB to fetch, some 25 s); without it they say that they did not.
if [ "$purpose" = test ]; then packages="$packages chromium"; fi

# The environment belongs to whoever has the clone, also under `sudo make`.
as_root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi; }

missing=
for package in $packages; do
    dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing="$missing $package"
done
if [ -n "$missing" ]; then
    echo "installing:$missing"
    log=$(mktemp)
    # The package lists of a fresh machine may be empty or old.
    { as_root apt-get update && as_root env DEBIAN_FRONTEND=noninteractive \
        apt-get install -y --no-install-recommends $missing; } >"$log" 2>&1 ||
        { tail -n 20 "$log" >&2; echo "setup: apt-get failed; the whole output is in $log" >&2; exit 2; }
    rm -f "$log"
fi

install() { # NAME: install NAME.txt unless this very file is installed already
    stamp="$venv/.installed-$1"
    cmp -s "$1.txt" "$stamp" 2>/dev/null && return 0
    # Mininet comes from Debian and exists for /usr/bin/python3 only.
    [ -x "$venv/bin/python" ] || ./as-owner.sh /usr/bin/python3 -m venv --system-site-packages "$venv"
    echo "installing the Python packages of $1.txt into $venv"
    ./as-owner.sh "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --require-hashes -r "$1.txt" ||
        { echo "setup: pip could not install $1.txt (see above)" >&2; exit 2; }
    ./as-owner.sh cp "$1.txt" "$stamp"
}

install requirements
if [ "$purpose" = test ]; then install requirements-dev; fi

# Root writes no bytecode into somebody else's clone, and would translate every module at every start.
if [ "$(stat -c %u .)" != 0 ]; then
    for package in */__init__.py; do dirname "$package"; done | xargs ./as-owner.sh "$venv/bin/python" -m compileall -q
fi
