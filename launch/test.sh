#!/usr/bin/env bash
# The whole test suite, from nothing: bash launch/test.sh [pytest arguments]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source launch/environment.sh test
# The project's own folders: a checkout also holds its user's runs, data and scripts.
ruff check cirn_dist tests
ruff format --check cirn_dist tests
mypy
vulture
# A file to a process, the long ones first, as they are collected.
exec pytest -n 2 --dist loadfile --no-loadscope-reorder "$@"
