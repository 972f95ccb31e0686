#!/usr/bin/env bash
# Sets logjax up and runs its tests on 4 simulated CPU devices (tests/conftest.py asks for them).
#
#   bash launch/test.sh [arguments of pytest]
set -euo pipefail
# shellcheck source=launch/setup.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/setup.sh"
cd "$root"
# One process for each core takes whole files, whose tests share what they train.
exec "$python" -m pytest --numprocesses=auto --dist=loadfile "$@"
