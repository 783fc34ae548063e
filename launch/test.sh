#!/usr/bin/env bash
# The whole test suite, from nothing: bash launch/test.sh [pytest arguments]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source launch/environment.sh test
ruff check .
ruff format --check .
mypy
exec python -m pytest "$@"
