#!/usr/bin/env bash
# Sets logjax up and runs it on the Thunderbird log, simulated where there is none on this machine.
#
#   bash launch/quickstart.sh [flags of logjax.main]
#
# --config=configs/bgl.py --workdir=runs/bgl runs another experiment instead. It runs in the
# repository, whatever the working directory, so relative paths in flags start there.
set -euo pipefail
# shellcheck source=launch/setup.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/setup.sh"
cd "$root"
# Ours stand only where the user gave none: with --config given twice, --config.FIELD is refused.
[[ " $*" =~ \ --?workdir[=\ ] ]] || set -- --workdir=runs/thunderbird "$@"
[[ " $*" =~ \ --?config[=\ ] ]] || set -- --config=configs/thunderbird.py "$@"
exec "$python" -m logjax.main "$@"
