#!/usr/bin/env bash
# Sets logjax up and measures how fast SeqGAN is on this machine: JSON lines, and a table at last.
#
#   bash launch/benchmark.sh [flags of logjax.main]
#
# It runs in the repository, whatever the working directory, so relative paths in flags start there.
set -euo pipefail
# shellcheck source=launch/setup.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/setup.sh"
cd "$root"
[[ " $*" =~ \ --?config[=\ ] ]] || set -- --config=configs/benchmark.py "$@"
exec "$python" -m logjax.main --mode=benchmark "$@"
