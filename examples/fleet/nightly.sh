#!/usr/bin/env bash
# A fleet's night for any CI system: the same as nightly.yml in plain shell.
#
#   nightly.sh measure DIR SEED DEVICE I/N [ARGS...]   on each machine: one share of the plan into DIR/runs
#   nightly.sh verdict DIR NIGHT DEVICE...             where all of DIR/runs has been brought together
#
# `verdict` needs each DEVICE that must be in the run. It leaves DIR/nights/NIGHT, DIR/report.html and DIR/history.html,
# and exits as the whole does: 0 within limits, 1 a limit exceeded, 2 a usage or internal error, 3 incomplete.
set -euo pipefail

measure() {
  local dir=$1 seed=$2 device=$3 shard=$4 code=0
  shift 4
  accuracy nightly --seed "$seed" --device "$device" --shard "$shard" \
    --out "$dir/runs/${device//:/-}-${shard//\//-of-}" "$@" || code=$?
  # 1 and 3 are verdicts of a part, and the part is stored; the whole gives the verdict that counts.
  case $code in 0 | 1 | 3) ;; *) exit "$code" ;; esac
}

verdict() {
  local dir=$1 night=$2 code=0
  shift 2
  local wanted=()
  for device in "$@"; do wanted+=(--device "$device"); done
  mkdir -p "$dir/nights"
  accuracy merge "$dir"/runs/* --out "$dir/nights/$night" --history "$dir/nights" "${wanted[@]}" || code=$?
  case $code in 0 | 1 | 3) ;; *) exit "$code" ;; esac
  cp "$dir/nights/$night/report.html" "$dir/report.html"
  accuracy history "$dir/nights" --out "$dir/history.html"
  exit "$code"
}

case ${1-} in
  measure | verdict) "$@" ;;
  *) sed -n '2,8s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
esac
