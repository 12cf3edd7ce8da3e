# Building the trees of Silo, one for each type of build, and the client. Sourced, after prepare.sh.

build_dir() {
    case $1 in
    release) echo build ;;
    *) echo "build-$1" ;;
    esac
}

cmake_type() {
    case $1 in
    release | portable) echo Release ;;
    debug) echo Debug ;;
    asan | fuzz) echo Asan ;;
    coverage) echo Coverage ;;
    tsan) echo Tsan ;;
    *) die "unknown build type $1" ;;
    esac
}

# build_tree TYPE [TARGET ...]
build_tree() {
    local type=$1 dir more=()
    shift
    dir=$(build_dir "$type")
    [ "$type" != portable ] || more=(-DSILO_PORTABLE=ON)
    [ -z "${SILO_COMMIT:-}" ] || more+=(-DSILO_COMMIT="$SILO_COMMIT") # where there is no git to ask
    [ "$type" != fuzz ] || more+=(-DCMAKE_C_COMPILER=clang -DSILO_FUZZ=ON)
    if [ ! -f "$dir/build.ninja" ]; then
        say "configuring $dir"
        cmake -S . -B "$dir" -G Ninja -DCMAKE_BUILD_TYPE="$(cmake_type "$type")" \
            -DPython3_EXECUTABLE="$PYTHON" "${more[@]}"
    fi
    say "building $dir"
    ninja -C "$dir" -j "$JOBS" "$@" </dev/null
}

AHEAD_PID=

# build_ahead TYPE...: builds these trees in the background, with what other processes leave of the processors. What
# they print goes to a file: build_tree says later whether all is built.
build_ahead() {
    [ $# -gt 0 ] || return 0
    mkdir -p build/test-logs
    set -m # a process group of its own, so that it can be ended whole
    (
        renice -n 19 "$BASHPID" >/dev/null
        for type in "$@"; do build_tree "$type" || exit 1; done
    ) >build/test-logs/build-ahead.log 2>&1 </dev/null &
    AHEAD_PID=$!
    set +m
}

# Until nothing is built in the background any more.
build_ahead_wait() {
    [ -z "$AHEAD_PID" ] || wait "$AHEAD_PID" || true
    AHEAD_PID=
}

build_ahead_stop() {
    [ -z "$AHEAD_PID" ] || kill -- "-$AHEAD_PID" 2>/dev/null || true
    build_ahead_wait
}

# How programs of a sanitized build are to run.
sanitizer_options() {
    export ASAN_OPTIONS=detect_leaks=1:strict_string_checks=1:detect_stack_use_after_return=1
    export UBSAN_OPTIONS=print_stacktrace=1:halt_on_error=1
    export LSAN_OPTIONS=suppressions=$ROOT/cmake/lsan.supp:print_suppressions=0
    export TSAN_OPTIONS=suppressions=$ROOT/cmake/tsan.supp:halt_on_error=1:second_deadlock_stack=1
}

# A digest of the files named and of all below the directories named; build output does not count.
digest() {
    find "$@" -type f -not -path '*/node_modules/*' -not -path '*/dist/*' -not -path '*/build/*' \
        -print0 2>/dev/null | sort -z | xargs -0 sha256sum | sha256sum | cut -d ' ' -f 1
}

# npm_prepare DIRECTORY [INPUT ...]: installs what the lock file names and builds, each only when its input changed.
npm_prepare() {
    local dir=$1 stamp lock sources
    shift
    stamp=$dir/node_modules/.silo-stamp
    lock="$(node --version) $(digest "$dir/package-lock.json" "$dir/package.json")"
    if [ "$(cat "$stamp-lock" 2>/dev/null)" != "$lock" ]; then
        say "npm ci in $dir"
        (cd "$dir" && npm ci --no-audit --no-fund </dev/null)
        printf '%s\n' "$lock" >"$stamp-lock"
        rm -f "$stamp-build"
    fi
    sources=$(digest "$dir" "$@")
    if [ "$(cat "$stamp-build" 2>/dev/null)" != "$sources" ]; then
        say "npm run build in $dir"
        (cd "$dir" && npm run --silent build --if-present </dev/null)
        printf '%s\n' "$sources" >"$stamp-build"
    fi
}

prepare_client() { npm_prepare clients/typescript; }

# The client and the Quick Start program that uses it.
prepare_node_programs() {
    prepare_client
    npm_prepare examples/quickstart clients/typescript/src
}
