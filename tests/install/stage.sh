#!/bin/sh
# Installs into the build folder and uses what was installed as a stranger would: examples/ built through pkg-config and
# through CMake, each with the shared and the static library, from a place that the tree was moved to.
# usage: stage.sh SOURCE BUILD CC CMAKE
set -eu
source=$1 build=$2 cc=$3 cmake=$4
stage=$build/stage
rm -rf "$stage"
mkdir -p "$stage"
log=$stage/log
show_log() { [ $? = 0 ] || tail -40 "$log"; }
trap show_log EXIT
"$cmake" --install "$build" --prefix "$stage/first" >"$log" 2>&1
mv "$stage/first" "$stage/tree"
tree=$stage/tree

lib=$(dirname "$(find "$tree" -name 'librfhe.so')")
for file in bin/rfhe include/rfhe/rfhe.h share/man/man1/rfhe.1 share/man/man1/rfhe-version.1 \
  share/bash-completion/completions/rfhe share/zsh/site-functions/_rfhe share/fish/vendor_completions.d/rfhe.fish \
  share/doc/rfhe/licenses.md; do
  [ -f "$tree/$file" ] || { echo "stage: $file was not installed"; exit 1; }
done
[ -f "$lib/librfhe.a" ] && [ -f "$lib/pkgconfig/rfhe.pc" ] && [ -f "$lib/cmake/rfhe/rfhe-config.cmake" ]
version=$("$tree/bin/rfhe" version)

run() { # PROGRAM KIND
  LD_LIBRARY_PATH=$lib "$1" >"$stage/out" 2>>"$log" || { echo "stage: $1 fails"; exit 1; }
  case $1 in
    */version*) [ "$(head -1 "$stage/out")" = "lib$version" ] || { echo "stage: $1 is of another version"; exit 1; } ;;
  esac
  links=no
  if ldd "$1" | grep -q librfhe; then links=shared; fi
  case $2:$links in shared:shared | static:no) ;; *) echo "stage: $1 is not linked $2"; exit 1 ;; esac
}

export PKG_CONFIG_PATH="$lib/pkgconfig"
for example in "$source"/examples/*.c; do
  name=$(basename "$example" .c)
  # shellcheck disable=SC2046 # words
  $cc -std=c11 -o "$stage/$name-shared" "$example" $(pkg-config --cflags --libs rfhe) -lm >>"$log" 2>&1
  # shellcheck disable=SC2046 # words
  $cc -std=c11 -o "$stage/$name-static" "$example" $(pkg-config --static --cflags --libs rfhe | sed 's/-lrfhe\b/-l:librfhe.a/') \
    >>"$log" 2>&1
done
for kind in OFF ON; do
  "$cmake" -S "$source/examples" -B "$stage/cmake-$kind" -DCMAKE_C_COMPILER="$cc" -DCMAKE_PREFIX_PATH="$tree" \
    -DRFHE_STATIC=$kind >>"$log" 2>&1
  "$cmake" --build "$stage/cmake-$kind" >>"$log" 2>&1
done
for example in "$source"/examples/*.c; do
  name=$(basename "$example" .c)
  run "$stage/$name-shared" shared
  run "$stage/$name-static" static
  run "$stage/cmake-OFF/$name" shared
  run "$stage/cmake-ON/$name" static
done
echo "stage: examples built and run through pkg-config and CMake, shared and static"
