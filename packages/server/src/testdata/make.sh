#!/bin/sh
# Makes the certificates of the tests anew: a CA, two certificates of a server, a client's, and a stranger's.
set -eu
cd "$(dirname "$0")"
key() { openssl ecparam -name prime256v1 -genkey -noout -out "$1"; }
signed() { # name, subject, key, extension
  openssl req -new -key "$3" -subj "$2" -out "$1.csr"
  printf '%s\n' "$4" > "$1.ext"
  openssl x509 -req -in "$1.csr" -CA ca.pem -CAkey ca-key.pem -CAcreateserial -days 36500 -extfile "$1.ext" -out "$1.pem"
  rm "$1.csr" "$1.ext"
}
key ca-key.pem
openssl req -x509 -new -key ca-key.pem -subj "/CN=torus test CA" -days 36500 -out ca.pem
key server-key.pem
signed server "/CN=first" server-key.pem "subjectAltName=DNS:localhost,IP:127.0.0.1"
signed server-next "/CN=second" server-key.pem "subjectAltName=DNS:localhost,IP:127.0.0.1"
key agent-key.pem
signed agent "/O=team-a/OU=dev/CN=agent-1" agent-key.pem "subjectAltName=DNS:agent-1.example"
key stranger-key.pem
openssl req -x509 -new -key stranger-key.pem -subj "/O=team-a/OU=dev/CN=agent-1" -days 36500 -out stranger.pem
rm ca-key.pem ca.srl
