# Sourced by the other scripts: makes .venv in the checkout, or reuses it, and installs the package with the tested
# versions. PYTHON names the interpreter (default python3, 3.11 or newer). $1 is the extra to install, if any.
cd "$(dirname "${BASH_SOURCE[0]}")/.."
extra=${1:+[$1]}
"${PYTHON:-python3}" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
  echo "cirn-dist needs Python 3.11 or newer; set PYTHON to one" >&2
  exit 1
}
[ -x .venv/bin/python ] || "${PYTHON:-python3}" -m venv .venv
# Installed again only when what is installed would change.
wanted=$(cat setup.cfg launch/constraints.txt pyproject.toml | cksum)"$extra"
if [ "$(cat .venv/installed"$extra" 2>/dev/null)" != "$wanted" ]; then
  echo "installing cirn_dist$extra into .venv (a few minutes the first time)"
  .venv/bin/python -m pip install --quiet --disable-pip-version-check \
    --constraint launch/constraints.txt --editable ".$extra"
  echo "$wanted" > .venv/installed"$extra"
fi
export PATH="$PWD/.venv/bin:$PATH"
