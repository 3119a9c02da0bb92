#!/usr/bin/env bash
# Stops the engine that engine-up.sh started below $1 and takes back what it did to the machine's network.
set -uo pipefail
dir=${1:?the folder given to engine-up.sh}
pid=$(cat "$dir/dockerd.pid" 2>/dev/null) || exit 0
kill "$pid"
for _ in $(seq 100); do kill -0 "$pid" 2>/dev/null || break; sleep 0.1; done
umount "$dir/run/netns/default" 2>/dev/null
ip link del docker0 2>/dev/null
iptables -P FORWARD ACCEPT 2>/dev/null
rm -rf "$dir"
