# Sourced by the other scripts here: what the site's own file says, see site-example.sh.

# use_site NAME: source the site's file; set `program`, the words that start cirn-dist, and `srun_options`.
use_site() {
  local file="${CIRN_SITE:-}" one
  if [ -z "$file" ]; then
    for one in ./cirn-site.sh "${XDG_CONFIG_HOME:-${HOME:-}/.config}/cirn-dist/site.sh"; do
      [ ! -f "$one" ] || { file=$one && break; }
    done
  elif [ ! -f "$file" ]; then
    echo "$1: CIRN_SITE is $file: no such file" >&2
    return 1
  fi
  if [ -n "$file" ]; then
    set +eu # modules and environments are not written for these
    source "$file"
    set -eu
  fi
  read -ra program <<< "${CIRN_PREFIX:-} cirn-dist"
  read -ra srun_options <<< "--kill-on-bad-exit=1 ${CIRN_SRUN:-}"
  # With srun's options the program may be in a container alone.
  [ -n "${CIRN_SRUN:-}" ] || command -v "${program[0]}" > /dev/null || {
    echo "$1: no ${program[0]} on PATH: activate its environment, then submit again; or see ${file:-site-example.sh}" >&2
    return 1
  }
}

# on_one_node COMMAND...: here, or in what srun's options make of a node, a container.
on_one_node() {
  if [ -n "${CIRN_SRUN:-}" ]; then
    srun --nodes=1 --ntasks=1 "${srun_options[@]}" "$@"
  else
    "$@"
  fi
}
