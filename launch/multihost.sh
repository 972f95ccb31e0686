#!/usr/bin/env bash
# Runs logjax as two processes on this machine that talk to each other as two hosts do.
#
#   bash launch/multihost.sh [flags of logjax.main]
#
# PROCESSES is their number, JAX_NUM_CPU_DEVICES that of each one's devices (else as many cores as
# it has to itself, at most two). Each line says which process wrote it. When one ends with an error
# the others have PATIENCE seconds to say so and end, and are killed then. The exit code is that of
# process 0, or if that is 0 the first other one. It runs in the repository, whatever the working
# directory, so relative paths in flags start there.
set -euo pipefail
# shellcheck source=launch/setup.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/setup.sh"
cd "$root"

processes="${PROCESSES:-2}" patience="${PATIENCE:-90}"
[[ "$processes" =~ ^[1-9][0-9]?$ ]] || die "PROCESSES=$processes must be a number from 1 to 99"
[[ "$patience" =~ ^[0-9]+$ ]] || die "PATIENCE=$patience must be a whole number of seconds"
share=$(($(getconf _NPROCESSORS_ONLN) / processes))
export JAX_NUM_CPU_DEVICES="${JAX_NUM_CPU_DEVICES:-$((share < 1 ? 1 : share > 2 ? 2 : share))}"
export JAX_PLATFORMS=cpu
free_port='import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
JAX_COORDINATOR_ADDRESS="127.0.0.1:$("$python" -c "$free_port")"
export JAX_COORDINATOR_ADDRESS JAX_NUM_PROCESSES="$processes"

# Writes its input with the number of a process before each line.
numbered() {
  local line
  while IFS= read -r line || [[ -n "$line" ]]; do printf '[%d] %s\n' "$1" "$line"; done
}

pipes="$(mktemp -d)"
trap 'rm -rf -- "$pipes"' EXIT
pids=() readers=() codes=()
# Passes a signal on, once, to all that were started; the others are not started any more.
asked='' heard=0
pass_on() {
  asked="$1" heard="${#pids[@]}"
  if ((heard)); then kill "-$1" "${pids[@]}" 2>/dev/null || true; fi
}
trap 'pass_on TERM' TERM
trap 'pass_on INT' INT
# A job's own process group: Ctrl-C then reaches this script alone, which passes it on once.
set -m
for ((i = 0; i < processes; i++)); do
  if [[ -n "$asked" ]]; then break; fi
  mkfifo "$pipes/out$i" "$pipes/err$i"
  numbered "$i" <"$pipes/out$i" &
  readers+=($!)
  numbered "$i" <"$pipes/err$i" >&2 &
  readers+=($!)
  JAX_PROCESS_ID="$i" "$python" -m logjax.main "$@" </dev/null >"$pipes/out$i" 2>"$pipes/err$i" &
  pids+=($!)
done
set +m
processes="${#pids[@]}"
if [[ -n "$asked" ]] && ((heard < processes)); then
  kill "-$asked" "${pids[@]:heard}" 2>/dev/null || true  # it came while this one was started
fi
if ((processes == 0)); then exit "$([[ "$asked" == INT ]] && echo 130 || echo 143)"; fi

deadline=''
# Bash writes what it knows of processes that are killed, with line numbers: not to be seen.
exec 3>&2
while ((${#codes[@]} < processes)); do
  for i in "${!pids[@]}"; do
    if [[ -n "${codes[i]:-}" ]]; then
      continue
    elif kill -0 "${pids[i]}"; then
      if [[ -n "$deadline" ]] && ((SECONDS >= deadline)); then
        say "process $i goes on alone: it is killed" 2>&3
        kill -KILL -- "-${pids[i]}" || true
      fi
    else
      codes[i]=0
      wait "${pids[i]}" || codes[i]=$?
      if ((codes[i])); then deadline="${deadline:-$((SECONDS + patience))}"; fi
    fi
  done
  sleep 0.2 || true
done 2>/dev/null
wait "${readers[@]}" || true
for i in "${!codes[@]}"; do
  if ((codes[i])); then exit "${codes[i]}"; fi
done
