#!/usr/bin/env bash
# Sets logjax up and runs it on the Thunderbird log, which is simulated unless a file is given.
#
#   bash launch/quickstart.sh [flags of logjax]
#
# --config=configs/bgl.py runs another experiment. Relative paths start at the repository, whatever
# the working directory. The run is in runs/<name of the config>.
set -euo pipefail
# shellcheck source=launch/setup.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/setup.sh"
cd "$root"
# absl refuses --config.FIELD before a second --config, so ours is given only where there is none.
[[ " $*" =~ \ --?config[=\ ] ]] || set -- --config=configs/thunderbird.py "$@"
exec "$python" -m logjax.main "$@"
