#!/bin/sh
# cargo.sh CARGO MANIFEST TARGET_DIR COMMAND [ARGUMENTS]: runs a command of cargo in a target directory that checkouts share.
#
# Cargo names what it builds of the bridge alike in every checkout and takes a file for unchanged when its time is not newer
# than what was built: another checkout's build would pass for this one's. So what was last built from elsewhere is built anew.
# Whoever goes on with the directory afterwards holds its lock, silo.lock, or runs this again.
set -eu
cargo=$1 manifest=$2 target_dir=$3
shift 3
mkdir -p "$target_dir"
bridge=$(cd "$(dirname "$manifest")" && pwd)
if [ "$(cat "$target_dir/silo.checkout" 2>/dev/null || true)" != "$bridge" ]; then
    CARGO_TARGET_DIR=$target_dir "$cargo" clean --quiet --release --locked --manifest-path "$manifest" --package silo-bridge
    printf '%s\n' "$bridge" >"$target_dir/silo.checkout"
fi
command=$1
shift
CARGO_TARGET_DIR=$target_dir exec "$cargo" "$command" --release --locked --manifest-path "$manifest" "$@"
