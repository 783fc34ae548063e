#!/usr/bin/env bash
# The whole test suite, from nothing: bash launch/test.sh [pytest arguments]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source launch/environment.sh test
ruff check .
ruff format --check .
mypy
# A file to a process, the long ones first, as they are collected.
exec python -m pytest -n 2 --dist loadfile --no-loadscope-reorder "$@"
