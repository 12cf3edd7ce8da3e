# What every command of ./dev stands on: words, and the programs that the machine must have. Sourced, from the root.
ROOT=$PWD

# Everything that is installed, in one place.
APT_BUILD=(gcc libc6-dev lld cmake ninja-build pkg-config python3 util-linux
    libnghttp2-dev libuv1-dev libprotobuf-c-dev protobuf-c-compiler protobuf-compiler libjansson-dev libmsgpack-dev
    libxxhash-dev libssl-dev libcmocka-dev)
APT_TEST=(python3-grpcio python3-protobuf python3-msgpack python3-xxhash protobuf-compiler-grpc openssl faketime jq
    iproute2 nftables)
APT_LINT=(clang-format clang-tidy)
APT_PROFILE=(linux-perf)
APT_COVERAGE=(lcov)
APT_PACKAGE=(dpkg-dev binutils xz-utils)
APT_PACKAGE_TEST=(lintian debootstrap)
APT_FUZZ=(clang libclang-rt-14-dev llvm)
APT_RUST=(rustc-web cargo-web)
APT_NODE=(nodejs npm)
CARGO_MIN=1.85
NODE_MIN=18

# Debian's python: the one that sees the packages above.
PYTHON=/usr/bin/python3
JOBS=$(nproc)

say() { printf '\n==> [%4ds] %s\n' "$SECONDS" "$*"; }
die() {
    printf '\n./dev: %s\n' "$*" >&2
    exit 1
}

as_root() {
    if [ "$(id -u)" -eq 0 ]; then
        "$@"
    elif command -v sudo >/dev/null; then
        sudo "$@"
    else
        die "cannot run \"$*\": neither root nor sudo"
    fi
}

# Installs those of the packages that are missing.
need_packages() {
    local missing=() name
    for name in "$@"; do
        if [ "$(dpkg-query -W -f '${db:Status-Status}' "$name" 2>/dev/null)" != installed ]; then
            missing+=("$name")
        fi
    done
    [ ${#missing[@]} -gt 0 ] || return 0
    say "installing Debian packages: ${missing[*]}"
    command -v apt-get >/dev/null || die "this machine has no apt-get; install by hand: ${missing[*]}"
    as_root apt-get -o DPkg::Lock::Timeout=300 update
    as_root env DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=300 install -y \
        --no-install-recommends "${missing[@]}" </dev/null
}

# version_at_least HAVE WANT
version_at_least() { [ "$(printf '%s\n%s\n' "$2" "$1" | sort -V | head -n 1)" = "$2" ]; }

have_cargo() {
    local version
    version=$(cargo --version 2>/dev/null | awk '{print $2}') || return 1
    [ -n "$version" ] && version_at_least "$version" "$CARGO_MIN"
}

have_node() {
    local version
    version=$(node --version 2>/dev/null) || return 1
    version_at_least "${version#v}" "$NODE_MIN" && command -v npm >/dev/null
}

prepare_rust() {
    have_cargo && return 0
    if [ -x "$HOME/.cargo/bin/cargo" ]; then
        export PATH="$HOME/.cargo/bin:$PATH"
        have_cargo && return 0
    fi
    need_packages "${APT_RUST[@]}"
    hash -r
    have_cargo || die "cargo $CARGO_MIN or newer is needed; $(cargo --version 2>&1 || true)"
}

prepare_node() {
    have_node && return 0
    need_packages "${APT_NODE[@]}"
    hash -r
    have_node || die "node $NODE_MIN or newer and npm are needed; node is $(node --version 2>&1 || true)"
}

prepare_build() {
    need_packages "${APT_BUILD[@]}"
    prepare_rust
}
