#!/usr/bin/env bash
# Sets logjax up and measures the speed of SeqGAN on this machine: JSON lines, then a table.
#
#   bash launch/benchmark.sh [flags of logjax]
#
# Relative paths start at the repository, whatever the working directory.
set -euo pipefail
# shellcheck source=launch/setup.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/setup.sh"
cd "$root"
[[ " $*" =~ \ --?config[=\ ] ]] || set -- --config=configs/benchmark.py "$@"
exec "$python" -m logjax.main --mode=benchmark "$@"
