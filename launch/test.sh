#!/usr/bin/env bash
# Sets logjax up and runs its tests on 4 simulated CPU devices (tests/conftest.py asks for them).
#
#   bash launch/test.sh [arguments of pytest]
set -euo pipefail
# shellcheck source=launch/setup.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/setup.sh"
cd "$root"
# A process a core, which takes whole files: those share what their tests made.
exec "$python" -m pytest --numprocesses=auto --dist=loadfile "$@"
