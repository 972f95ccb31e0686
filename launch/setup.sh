# Sourced by the scripts beside it: finds Python, makes .venv and installs the locked packages.
#
# Leaves $root, the repository, and $python, the interpreter to run logjax with. What is installed
# is written to .venv/installed, so that a second run installs nothing and needs no network; a run
# that was interrupted leaves the word 'unfinished' there, and the next one starts afresh.
set -euo pipefail

root="$(CDPATH='' cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd -P)"
venv="$root/.venv"
python="$venv/bin/python"
lock="$root/requirements.lock"
stamp="$venv/installed"
log="$venv/install.log"

say() { printf 'logjax: %s\n' "$*" >&2; }

die() {
  say "$@"
  exit 1
}

# Overwrites one line on a terminal, or clears it when given nothing; says nothing when piped.
progress() {
  if [[ -t 2 ]]; then printf '\r\033[K%s' "${*:+logjax: $*}" >&2; fi
}

# Prints the first Python that can make an environment for logjax, or dies of what is missing.
find_python() {
  local probe='import sys; print("%d.%d" % sys.version_info[:2]); sys.exit(sys.version_info < (3, 11))'
  local name version found='' without_venv='' names=(python3.13 python3.12 python3.11 python3)
  if [[ -n "${PYTHON:-}" ]]; then names=("$PYTHON"); fi
  for name in "${names[@]}"; do
    # Running it is the test: a version manager's stand-in is on the PATH and yet may not start.
    if ! version="$("$name" -c "$probe" 2>/dev/null)"; then
      if [[ -n "$version" ]]; then found+="${found:+, }Python $version ($(command -v -- "$name"))"; fi
    elif ! "$name" -c 'import ensurepip, venv' 2>/dev/null; then
      without_venv="${without_venv:-$(command -v -- "$name") has no venv module; install it \
(Debian and Ubuntu: apt-get install python$version-venv) and run this again}"
    else
      printf '%s\n' "$name"
      return
    fi
  done
  if [[ -n "$without_venv" ]]; then die "$without_venv"; fi
  die "Python 3.11 or newer is needed and ${found:-no Python} was found${PYTHON:+ at PYTHON=$PYTHON}; \
install one (Debian and Ubuntu: apt-get install python3 python3-venv), \
or name it: PYTHON=/path/to/python3 bash $0"
}

# What the environment was made from; equal text, nothing to do.
fingerprint() {
  printf '%s %s %s\n' "$("$python" -V)" "$(cat "$lock" "$root/pyproject.toml" | cksum)" "$root"
}

pip_install() {
  "$python" -m pip install --disable-pip-version-check --no-input --progress-bar=off \
    --no-build-isolation --use-pep517 "$@" 2>&1
}

# Keeps pip's lines in the log and shows how far it is.
follow() {
  local line fetched=0 total
  total="$(grep -c '==' "$lock")"
  while IFS= read -r line; do
    printf '%s\n' "$line" >>"$log" 2>/dev/null || true  # a full disk is told of below
    case "$line" in
      Collecting* | Processing*) progress "fetching packages, $((fetched += 1)) of about $total" ;;
      Installing*) progress 'installing packages' ;;
    esac
  done
  progress
}

# Says in one line why pip failed, from the cause that its log names.
explain_failure() {
  local why unreachable='connection broken|NewConnectionError|Timeout|ProxyError|SSLError'
  why="$(grep '^ERROR' "$log" | tail -n 1)" || why="$(tail -n 1 "$log")"
  if grep -q 'No space left on device' "$log"; then
    die "the disk is full: $root/.venv needs about 1.5 GB; make room and run this again"
  elif grep -qE "$unreachable" "$log"; then
    die "the package index cannot be reached (pip says: $why); \
connect to the network, or name a mirror in PIP_INDEX_URL, \
and run this again; details in $log"
  elif grep -q 'No matching distribution found' "$log"; then
    die "a locked package has no build for $("$python" -V) on $(uname -sm) (pip says: $why); \
try another Python: PYTHON=python3.12 bash $0"
  fi
  die "the installation failed (pip says: $why); details in $log"
}

install_everything() {
  trap 'progress; say "interrupted; run this again to set up afresh"; exit 130' INT
  if [[ "$installed" == unfinished ]] || ! "$python" -m pip -V &>/dev/null; then
    local base answer
    base="$(find_python)"
    say "setting up .venv with $("$base" -V): some minutes and about 1.5 GB of disk, this once"
    rm -rf "$venv"
    mkdir -p "$venv"
    echo unfinished >"$stamp"
    answer="$("$base" -m venv "$venv" 2>&1)" ||
      die "$base could not make $venv (is the disk full?): ${answer##*$'\n'}"
  else
    say 'bringing .venv up to date'
    echo unfinished >"$stamp"
  fi
  : >"$log"
  # setuptools comes first and alone: without build isolation it must be there before the packages
  # that have no wheel (promise) and logjax itself, which are built with it.
  awk '/^[a-z]/ { wanted = /^setuptools==/ } wanted' "$lock" >"$venv/setuptools.lock"
  pip_install -r "$venv/setuptools.lock" | follow || explain_failure
  pip_install --only-binary=:all: --no-binary=promise -r "$lock" | follow || explain_failure
  pip_install --no-deps -e "$root" | follow || explain_failure
  fingerprint >"$stamp"
  trap - INT
  say ".venv is ready after $SECONDS s"
}

installed="$(cat "$stamp" 2>/dev/null)" || installed=''
if [[ ! -x "$python" || "$installed" != "$(fingerprint)" ]]; then
  install_everything
elif [[ -n "${PYTHON:-}" && "$("$PYTHON" -V 2>&1)" != "$("$python" -V)" ]]; then
  die ".venv was made with $("$python" -V), which PYTHON=$PYTHON is not; remove $venv to change it"
fi
