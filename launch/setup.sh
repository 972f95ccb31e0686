# Sourced by the scripts beside it: makes .venv with the locked packages, by uv or by venv and pip.
#
# Sets $root, the repository, and $python. The file .venv/installed says what was installed, so that
# the next call needs no network. PYTHON=/path/to/python3 chooses the Python of a new .venv.
set -euo pipefail

root="$(CDPATH='' cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd -P)"
venv="$root/.venv" python="$root/.venv/bin/python" lock="$root/requirements.lock"

say() { printf 'logjax: %s\n' "$*" >&2; }
die() { say "$@"; exit 1; }

make_venv() {
  local name names=(python3.13 python3.12 python3.11 python3)
  local probe='import sys, ensurepip, venv; sys.exit(sys.version_info < (3, 11))'
  if command -v uv >/dev/null; then
    uv venv --quiet --seed --clear --python "${PYTHON:->=3.11,<3.14}" "$venv" ||
      die "uv cannot make $venv"
    return
  fi
  if [[ -n "${PYTHON:-}" ]]; then names=("$PYTHON"); fi
  for name in "${names[@]}"; do  # run, since a version manager's stand-in may not start
    if "$name" -c "$probe" 2>/dev/null; then
      "$name" -m venv --clear "$venv" || die "cannot make $venv"
      return
    fi
  done
  die "Python 3.11 or newer with its module venv is needed, and ${names[*]} is not: install uv, or \
Python (Debian and Ubuntu: apt-get install python3 python3-venv), or set PYTHON=/path/to/python3"
}

fetch() {
  if command -v uv >/dev/null; then uv pip install --quiet --python "$python" "$@" && return
  else "$python" -m pip install -qq --no-input --disable-pip-version-check "$@" && return; fi
  die "the installation failed for the reason above. It needs the network or a mirror, 1.5 GB of \
disk, and a Python with builds of the locked packages: 3.11 to 3.13, as PYTHON=python3.12"
}

wanted="$(cat "$lock" "$root/pyproject.toml" | cksum) $root"
installed="$(cat "$venv/installed" 2>/dev/null)" || true
if [[ ! -x "$python" || "$installed" != "$wanted" ]]; then
  say 'setting up .venv: some minutes and about 1.5 GB of disk, this once'
  if [[ ! -x "$python" || -z "$installed" ]]; then make_venv; fi
  rm -f "$venv/installed"
  # promise, which tensorflow-datasets needs, has no wheel: setuptools comes first and builds it.
  awk '/^[a-z]/ { wanted = /^setuptools==/ } wanted' "$lock" >"$venv/setuptools.lock"
  fetch --require-hashes -r "$venv/setuptools.lock"
  fetch --require-hashes --no-build-isolation --only-binary :all: --no-binary promise -r "$lock"
  fetch --no-deps --no-build-isolation -e "$root"
  printf '%s\n' "$wanted" >"$venv/installed"
elif [[ -n "${PYTHON:-}" && "$("$PYTHON" -V 2>&1)" != "$("$python" -V)" ]]; then
  die ".venv has $("$python" -V) and PYTHON=$PYTHON has another: remove $venv to change it"
fi
