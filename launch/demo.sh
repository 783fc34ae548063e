#!/usr/bin/env bash
# The whole pipeline on procedural streets, from nothing: bash launch/demo.sh [--smoke] [--out DIR] [--seed N] ...
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source launch/environment.sh ""
exec cirn-dist demo "$@"
