#!/bin/sh
# Runs the services from the built image, without a Docker engine, as b2b_pipeline_tests/test_docker.py runs them
# from the checkout: a real PostgreSQL, the proxy in front. As root, after docker/build-without-engine.sh:
#   docker/try-image.sh [IMAGE]
set -eu
cd "$(dirname "$0")/.."
B2B_TEST_CONTAINER=$(buildah --storage-driver vfs from --pull-never "${1:-b2b-pipeline}")
trap 'buildah --storage-driver vfs rm "$B2B_TEST_CONTAINER" >/dev/null' EXIT
export B2B_TEST_CONTAINER
"${PYTHON:-.venv/bin/python}" -m pytest -q b2b_pipeline_tests/test_docker.py
