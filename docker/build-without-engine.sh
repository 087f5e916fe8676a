#!/bin/sh
# Builds the image without a Docker engine, as root on Debian with buildah and debootstrap:
#   docker/build-without-engine.sh [IMAGE]
# No registry is asked for python:3.11-slim: a Debian 12 (its Python is 3.11) is made under that name where there is none.
set -eu
cd "$(dirname "$0")/.."
image="${1:-b2b-pipeline}"
base=docker.io/library/python:3.11-slim

buildah() { command buildah --storage-driver vfs "$@"; }

if ! buildah inspect --type image "$base" >/dev/null 2>&1; then
    root=$(mktemp -d)
    trap 'rm -rf "$root"' EXIT
    debootstrap --variant=minbase --include=ca-certificates,python3,python3-venv bookworm "$root/debian"
    ln -s /usr/bin/python3 "$root/debian/usr/local/bin/python"
    rm -rf "$root"/debian/var/cache/apt/* "$root"/debian/var/lib/apt/lists/*
    container=$(buildah from scratch)
    buildah add --quiet "$container" "$root/debian" / >/dev/null
    buildah config --env PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin "$container"
    buildah commit --quiet --rm "$container" "$base"
fi

set -- --isolation chroot --network host --pull-never --tag "$image" --file docker/Dockerfile --build-arg "PYTHON_IMAGE=$base"
if [ -n "${PIP_INDEX_URL:-}" ]; then set -- "$@" --build-arg PIP_INDEX_URL; fi
if [ -n "${PIP_CERT:-}" ]; then set -- "$@" --build-arg PIP_CERT --volume "$PIP_CERT:$PIP_CERT:ro"; fi
buildah bud --ignorefile docker/Dockerfile.dockerignore "$@" .
