#!/usr/bin/env bash
# Starts a container engine of its own, below the folder $1, and prints its DOCKER_HOST.
# Bridges get benchmark addresses (198.18.0.0/15), so that they collide with no private network.
# Stop it with engine-down.sh on the same folder. Needs root and Debian's docker.io and iptables.
set -euo pipefail
dir=${1:?a folder for the engine}
mkdir -p "$dir/data" "$dir/run"
setsid nohup dockerd -H "unix://$dir/docker.sock" --pidfile "$dir/dockerd.pid" \
  --data-root "$dir/data" --exec-root "$dir/run" --storage-driver overlay2 --log-level warn \
  --bip 198.18.0.1/24 --default-address-pool base=198.19.0.0/16,size=24 \
  >"$dir/dockerd.log" 2>&1 </dev/null &
for _ in $(seq 150); do
  if docker -H "unix://$dir/docker.sock" version >/dev/null 2>&1; then
    echo "unix://$dir/docker.sock"
    exit 0
  fi
  sleep 0.2
done
tail -n 20 "$dir/dockerd.log" >&2
exit 1
