#!/usr/bin/env bash
# Runs logjax as several processes on this machine, as they would run on several hosts.
#
#   bash launch/multihost.sh [flags of logjax.main]
#
# PROCESSES is their number (2), JAX_NUM_CPU_DEVICES the number of devices of each (1). The exit
# code is that of the last process that failed.
set -euo pipefail
# shellcheck source=launch/setup.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/setup.sh"
cd "$root"
export JAX_PLATFORMS=cpu JAX_NUM_CPU_DEVICES="${JAX_NUM_CPU_DEVICES:-1}"

count="${PROCESSES:-2}" pids=() code=0
free_port='import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
coordinator="127.0.0.1:$("$python" -c "$free_port")"
trap 'kill -TERM "${pids[@]}" 2>/dev/null' TERM INT
for ((i = 0; i < count; i++)); do
  "$python" -m logjax.main "$@" --coordinator="$coordinator" --processes="$count" --process="$i" &
  pids+=($!)
done
for pid in "${pids[@]}"; do
  # A signal interrupts `wait`, which has to be called again then.
  until wait "$pid"; do
    last=$?
    if ! kill -0 "$pid" 2>/dev/null; then code=$last && break; fi
  done
done
exit "$code"
