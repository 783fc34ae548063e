#!/usr/bin/env bash
# One job per stage, each after the one before it (afterok), where one long job is not wanted:
#   bash launch/slurm/chain.sh --nodes=2 --gpus-per-node=8 -- gta5_cityscapes KEY=VALUE... --out RUN
# What is before -- goes to sbatch, what is after it to `cirn-dist run`. Prints each job's number and stage.
set -euo pipefail
options=()
while [ $# -gt 0 ] && [ "$1" != -- ]; do
  options+=("$1")
  shift
done
[ $# -gt 1 ] || {
  echo "usage: chain.sh [SBATCH OPTION]... -- CONFIG [KEY=VALUE]... [--out RUN]" >&2
  exit 2
}
shift
scripts=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
source "$scripts/site.sh"
use_site chain.sh
stages=$(on_one_node "${program[@]}" run "$@" --dry-run) # the run's folder, then its stages
after=()
for stage in $(tail -n +2 <<< "$stages"); do
  job=$(sbatch --parsable --job-name="cirn-$stage" --kill-on-invalid-dep=yes "${after[@]}" "${options[@]}" \
    "$scripts/pipeline.sbatch" "$@" --until "$stage")
  after=(--dependency="afterok:$job")
  echo "$job $stage"
done
