#!/bin/sh
# Runs a command. Called by root in a clone that is somebody else's (sudo make ..) it runs it as that user, at that
# user's home: nothing that the command leaves, here or there, is root's.
set -eu
clone=$(dirname "$0")
owner=$(stat -c %u "$clone")
if [ "$(id -u)" != 0 ] || [ "$owner" = 0 ]; then exec "$@"; fi
group=$(stat -c %g "$clone")
groups=$(id -G "$owner" 2>/dev/null | tr ' ' ,)
# What sudo was called for may be KVM.
if [ -e /dev/kvm ]; then groups=${groups:-$group},$(stat -c %g /dev/kvm); fi
if [ "$(stat -c %u "${HOME:-/}")" != "$owner" ]; then
    HOME=$(getent passwd "$owner" | cut -d: -f6)
    export HOME="${HOME:-/nonexistent}"
    unset XDG_CONFIG_HOME XDG_CACHE_HOME XDG_DATA_HOME XDG_STATE_HOME MPLCONFIGDIR
fi
exec setpriv --reuid="$owner" --regid="$group" --groups="${groups:-$group}" "$@"
