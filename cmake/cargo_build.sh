#!/bin/sh
# cargo_build.sh CARGO MANIFEST TARGET_DIR ARCHIVE: builds the bridge and copies its archive to ARCHIVE.
# One checkout at a time: the archive in the target directory is replaced by every build.
set -eu
cargo=$1 manifest=$2 target_dir=$3 archive=$4
mkdir -p "$target_dir" "$(dirname "$archive")"
exec 9>"$target_dir/silo.lock"
flock 9
"$(dirname "$0")/cargo.sh" "$cargo" "$manifest" "$target_dir" build
cp -f "$target_dir/release/libsdbx.a" "$archive.new"
mv -f "$archive.new" "$archive"
touch "$archive"
