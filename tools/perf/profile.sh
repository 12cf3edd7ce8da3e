#!/usr/bin/env bash
# profile.sh: a scenario of silo-bench against a server under perf; ./dev profile. See docs/guides/benchmarking.md.
#
# Usage: profile.sh SCENARIO [OPTIONS of silo-bench]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
. tools/dev/prepare.sh
. tools/dev/build.sh

WAIT_SECONDS=40

# profile_wait DIR: until every perf that record.sh started has written its file.
profile_wait() {
    local file waited=0
    for file in "$1"/perf.*.pid; do
        while kill -0 "$(cat "$file")" 2>/dev/null && [ "$waited" -lt $((WAIT_SECONDS * 10)) ]; do
            sleep 0.1
            waited=$((waited + 1))
        done
    done
}

main() {
    local scenario=${1:-} dir=build/profile status=0 data
    [ -n "$scenario" ] && [ "${scenario#-}" = "$scenario" ] || die "profile needs a scenario; silo-bench --help lists them"
    shift
    need_packages "${APT_PROFILE[@]}"
    prepare_build
    build_tree release silo silo-bench
    mkdir -p "$dir"
    rm -f "$dir"/perf.*
    SILO_PROFILE_SERVER=$ROOT/build/bin/silo SILO_PROFILE_DIR=$ROOT/$dir \
        build/bin/silo-bench "$scenario" --serve --server tools/perf/record.sh "$@" </dev/null || status=$?
    profile_wait "$dir"
    for data in "$dir"/perf.*.data; do
        [ -s "$data" ] || die "perf recorded nothing; $(cat "$dir"/perf.*.log 2>/dev/null)"
        perf script --no-inline -i "$data" -F comm,pid,tid,ip,sym,dso >"${data%.data}.script" 2>/dev/null
    done
    "$PYTHON" tools/perf/flame.py --title "silo-bench $scenario $*" --svg "$dir/$scenario.svg" \
        --table "$dir/$scenario.txt" "$dir"/perf.*.script
    rm -f "$dir"/perf.*
    cat "$dir/$scenario.txt"
    say "flame graph: $dir/$scenario.svg"
    return "$status"
}

main "$@"
