#!/usr/bin/env bash
# The pipeline with the oldest libraries that setup.cfg allows, in an environment of its own: bash launch/test_oldest.sh
# Stages, rendering, scores and report, on procedural streets; then the network is loaded, and predicts.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
"${PYTHON:-python3}" -m venv "$place/env"
"$place/env/bin/python" -m pip install --quiet --disable-pip-version-check --constraint launch/oldest.txt .
cd "$place"
env/bin/cirn-dist demo --smoke --out run
env/bin/cirn-dist evaluate run run/data/scored
env/bin/cirn-dist export run --out network.safetensors
env/bin/python - << 'PYTHON'
import cirn_dist
from PIL import Image

found = cirn_dist.load("network.safetensors").predict(Image.new("RGB", (96, 72)))
assert found.ids.shape == (72, 96), found.ids.shape
PYTHON
echo "the oldest versions hold: $(grep -v '^#' "$OLDPWD/launch/oldest.txt" | tr '\n' ' ')"
