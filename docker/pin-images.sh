#!/bin/sh
# Writes the digests that the images have today into docker/.env, so that a build tomorrow takes the very same ones.
# Run it again to take newer ones. Needs Docker with buildx, and the registry.
set -eu
cd "$(dirname "$0")"

for pair in PYTHON_IMAGE=docker.io/library/python:3.11-slim POSTGRES_IMAGE=docker.io/library/postgres:17 \
    NGINX_IMAGE=docker.io/nginxinc/nginx-unprivileged:1.28; do
    name=${pair%%=*} image=${pair#*=}
    digest=$(docker buildx imagetools inspect "$image" --format '{{.Manifest.Digest}}')
    case "$digest" in
        sha256:*) ;;
        *) echo "$image: the registry gave no digest" >&2 && exit 1 ;;
    esac
    sed -i.before "/^$name=/d" .env && rm .env.before
    echo "$name=${image%:*}@$digest" >>.env && echo "$image is $digest"
done
