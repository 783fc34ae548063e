#!/usr/bin/env bash
# The suite for a machine with GPUs, from nothing: bash launch/test_gpu.sh [OUT] [pytest arguments]
# OUT (default gpu-results) gets measured.json and failures.txt, both written as they come.
# WITH=/path/to/python uses an interpreter that has the packages already: nothing is installed.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
out=$(realpath -m "${1:-gpu-results}")
shift || true
if [ -n "${WITH:-}" ]; then
  python=$WITH
  export PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}"
else
  source launch/environment.sh test
  python=python
fi
mkdir -p "$out"
rm -f "$out/measured.json" "$out/failures.txt"
export CIRN_GPU_OUT="$out" PYTHONPATH="tests/gpu${PYTHONPATH:+:$PYTHONPATH}"
code=0
pytest() {
  local ended=0
  "$python" -m pytest -q --timeout 300 --durations 12 -p suite -p no:cacheprovider "$@" || ended=$?
  [ $ended = 0 ] || [ $ended = 5 ] || code=$ended  # 5: what was asked for is in the other half
}
# Whole runs wait for processes to start, several at a time; what is timed has the machine for itself.
pytest tests/gpu --ignore tests/gpu/test_paper_stages.py -n "${JOBS:-6}" "$@"
pytest tests/gpu/test_paper_stages.py -p no:xdist "$@"
rm -f "$out/measured.lock"
echo "measured: $out/measured.json"
[ ! -e "$out/failures.txt" ] || echo "failed: $out/failures.txt"
exit $code
