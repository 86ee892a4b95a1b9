#!/bin/sh
# Installs from Debian 12's archive what is missing; does nothing when all is there. Without root and without sudo it
# prints the one line to run and stops with exit code 4.
# usage: setup.sh [clang|lint]...   building, tests and demo; `clang` adds what the clang, tsan and fuzz presets need,
#                                   `lint` what `make lint` needs
set -eu
# Tools, then the library's own needs, then those of tests and demo.
packages="cmake ninja-build pkg-config gcc g++ libc6-dev python3-minimal
libprotobuf-c-dev protobuf-c-compiler libonnx-dev libjansson-dev libsqlite3-dev libsodium-dev libmpfr-dev
zlib1g-dev libdnnl-dev libturbojpeg0-dev libspng-dev
libcmocka-dev libonnx-testdata dataset-fashion-mnist jq mandoc"
for group in "$@"; do
  case $group in
    clang) packages="$packages clang-14 libclang-rt-14-dev libomp-14-dev" ;;
    lint) packages="$packages clang-format-14 shellcheck" ;;
    *) echo "setup: there is no group '$group'" >&2; exit 2 ;;
  esac
done

missing=""
for p in $packages; do
  dpkg-query -W -f='${Status}' "$p" 2>/dev/null | grep -q 'ok installed' || missing="$missing $p"
done
[ -z "$missing" ] && exit 0
if [ "$(id -u)" = 0 ]; then
  run=""
elif command -v sudo >/dev/null && sudo -n true 2>/dev/null; then
  run="sudo"
else
  echo "setup: these packages are missing; run:  sudo apt-get install --no-install-recommends$missing" >&2
  exit 4
fi
echo "setup: installing$missing"
export DEBIAN_FRONTEND=noninteractive
$run apt-get update -qq
# shellcheck disable=SC2086 # word splitting is wanted
$run apt-get install -y -qq --no-install-recommends $missing >/dev/null
