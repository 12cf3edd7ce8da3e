#!/usr/bin/env bash
# fuzz.sh: builds the fuzzers and runs them; ./dev fuzz. See docs/internals/testing.md.
#
# Usage: fuzz.sh [--only NAME ...] [--merge] [SECONDS]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
. tools/dev/prepare.sh
. tools/dev/build.sh

FUZZ_SECONDS=60
FUZZ_INPUT_BYTES=4096
FUZZ_PIDS=()
FUZZ_DIR=build-fuzz/fuzz # below it corpus, seeds, crashes and logs, each with an entry for each fuzzer

fuzz_names() { find fuzz -name '*_fuzz.c' -printf '%f\n' | sed 's/_fuzz\.c$//' | sort; }

# fuzz_start NAME SECONDS: in the background. What it finds is kept in build-fuzz for the next run.
fuzz_start() {
    local name=$1 seconds=$2 bin=build-fuzz/bin/fuzz-$1 dir options=()
    rm -rf "$FUZZ_DIR/crashes/$name" "$FUZZ_DIR/seeds/$name"
    for dir in corpus seeds crashes; do mkdir -p "$FUZZ_DIR/$dir/$name"; done
    mkdir -p "$FUZZ_DIR/logs" "fuzz/corpus/$name"
    "$bin" --seeds "$FUZZ_DIR/seeds/$name" >/dev/null
    [ ! -f "fuzz/$name.dict" ] || options=(-dict="fuzz/$name.dict")
    "$bin" -max_total_time="$seconds" -max_len="$FUZZ_INPUT_BYTES" -timeout=10 -print_final_stats=1 "${options[@]}" \
        -artifact_prefix="$FUZZ_DIR/crashes/$name/" "$FUZZ_DIR/corpus/$name" "fuzz/corpus/$name" "$FUZZ_DIR/seeds/$name" \
        >"$FUZZ_DIR/logs/$name.log" 2>&1 </dev/null &
    FUZZ_PIDS+=($!)
}

# fuzz_report NAME STATUS: one line, and for a failure what it was and how to see it again.
fuzz_report() {
    local name=$1 status=$2 log=$FUZZ_DIR/logs/$1.log runs artefact
    runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log" | tail -n 1)
    printf '%-12s %12s runs, coverage %s%s\n' "$name" "${runs:-?}" \
        "$(sed -n 's/.* cov: \([0-9]*\) .*/\1/p' "$log" | tail -n 1)" "$([ "$status" -eq 0 ] || echo ', FAILED')"
    [ "$status" -ne 0 ] || return 0
    grep -aE 'runtime error|invariant broken|^SUMMARY' "$log" | sort -u | sed 's/^/    /' || true
    for artefact in "$FUZZ_DIR/crashes/$name"/*; do
        [ -f "$artefact" ] || continue
        printf '    again: build-fuzz/bin/fuzz-%s %s\n' "$name" "$artefact"
    done
    printf '    all of it: %s\n' "$log"
}

# fuzz_merge NAME: fuzz/corpus/NAME becomes the fewest inputs that reach all code that any of those known reaches.
fuzz_merge() {
    local name=$1 dir=$FUZZ_DIR/merged/$1
    rm -rf "$dir"
    mkdir -p "$dir"
    "build-fuzz/bin/fuzz-$name" -set_cover_merge=1 -use_counters=0 -max_len="$FUZZ_INPUT_BYTES" -timeout=10 "$dir" \
        "fuzz/corpus/$name" "$FUZZ_DIR/corpus/$name" >"$FUZZ_DIR/logs/$name-merge.log" 2>&1 </dev/null ||
        die "merging the corpus of $name failed; see $FUZZ_DIR/logs/$name-merge.log"
    find "fuzz/corpus/$name" -type f -delete
    find "$dir" -type f -size -"$((FUZZ_INPUT_BYTES + 1))"c -exec cp -t "fuzz/corpus/$name" {} +
    printf '%-12s %4d inputs, %6d bytes\n' "$name" "$(find "fuzz/corpus/$name" -type f | wc -l)" \
        "$(find "fuzz/corpus/$name" -type f -exec cat {} + | wc -c)"
}

main() {
    local seconds=$FUZZ_SECONDS names=() merge='' name i status passed=0 failed=0
    while [ $# -gt 0 ]; do
        case $1 in
        --only)
            [ $# -ge 2 ] && [ -f "fuzz/$2_fuzz.c" ] || die "--only needs the name of a fuzzer: $(fuzz_names | xargs)"
            names+=("$2")
            shift
            ;;
        --merge) merge=1 ;;
        *[!0-9]* | '') die "unknown option $1; ./dev help lists them" ;;
        *) seconds=$1 ;;
        esac
        shift
    done
    [ ${#names[@]} -gt 0 ] || mapfile -t names < <(fuzz_names)
    need_packages "${APT_FUZZ[@]}"
    prepare_build
    build_tree fuzz "${names[@]/#/fuzz-}"
    sanitizer_options
    say "${#names[@]} fuzzers, $JOBS at a time, $seconds s each"
    for name in "${names[@]}"; do
        while [ "$(jobs -rp | wc -l)" -ge "$JOBS" ]; do sleep 0.2; done
        fuzz_start "$name" "$seconds"
    done
    for i in "${!names[@]}"; do
        status=0
        wait "${FUZZ_PIDS[$i]}" || status=$?
        fuzz_report "${names[$i]}" "$status"
        if [ "$status" -eq 0 ]; then passed=$((passed + 1)); else failed=$((failed + 1)); fi
    done
    FUZZ_PIDS=()
    if [ -n "$merge" ]; then
        say "minimising into fuzz/corpus"
        for name in "${names[@]}"; do fuzz_merge "$name"; done
    fi
    printf '\n%d fuzzers passed, %d failed\n' "$passed" "$failed"
    [ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
}

trap '[ ${#FUZZ_PIDS[@]} -eq 0 ] || kill "${FUZZ_PIDS[@]}" 2>/dev/null || true' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
main "$@"
