# shellcheck shell=bash disable=SC2034 # the arrays are for those who source this
# What scripts/demo and scripts/test share: words, packages, the toolchain. Sourced, not run.

# What the build needs: clang and llc compile the BPF programs, libclang makes bindings; libxdp's
# configure asks for m4, pkg-config, libelf, zlib and libpcap.
BUILD_PACKAGES=(gcc libc6-dev clang llvm libclang-dev libelf-dev zlib1g-dev libpcap-dev m4 make
    pkg-config)
# What makes networks and drives a server in them; wrk looks "http" up in netbase's /etc/services.
NETWORK_PACKAGES=(iproute2 ethtool util-linux curl wrk netbase netcat-openbsd)

say() { printf '\n== %s\n' "$*"; }
note() { printf '   %s\n' "$*"; }
fail() {
    printf '%s: %s\n' "${0##*/}" "$*" >&2
    exit 1
}

is_root() { [ "$(id -u)" -eq 0 ]; }

# install_missing PACKAGE...: installs what is not there; without root it says what is missing.
install_missing() {
    if ! command -v dpkg-query >/dev/null || ! command -v apt-get >/dev/null; then
        note "no apt here: make sure that you have what these Debian packages hold:"
        note "$*"
        return
    fi
    local package missing=()
    for package in "$@"; do
        dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' ||
            missing+=("$package")
    done
    if [ "${#missing[@]}" -eq 0 ]; then
        note "nothing is missing"
        return
    fi
    note "missing: ${missing[*]}"
    is_root || fail "not root, so nothing can be installed; run: sudo apt-get install ${missing[*]}"
    local log
    log=$(mktemp)
    export DEBIAN_FRONTEND=noninteractive
    # Stale lists are the common reason for a failing install; a failing update is no reason to stop.
    apt-get update -q >"$log" 2>&1 </dev/null || note "apt-get update failed; trying with what is there"
    if ! apt-get install -y -q --no-install-recommends "${missing[@]}" >>"$log" 2>&1 </dev/null; then
        tail -n 20 "$log" >&2
        rm -f "$log"
        fail "apt-get could not install: ${missing[*]}"
    fi
    rm -f "$log"
    note "installed"
}

# Finds cargo where rustup puts it, also under sudo.
find_cargo() {
    command -v cargo >/dev/null && return
    local home candidates=("${CARGO_HOME:-$HOME/.cargo}/bin")
    if [ -n "${SUDO_USER:-}" ]; then
        home=$(getent passwd "$SUDO_USER" | cut -d: -f6)
        candidates+=("$home/.cargo/bin")
        export RUSTUP_HOME="${RUSTUP_HOME:-$home/.rustup}"
    fi
    for home in "${candidates[@]}"; do
        if [ -x "$home/cargo" ]; then
            PATH="$home:$PATH"
            return
        fi
    done
    fail "no cargo found: install Rust from https://rustup.rs, then run this again"
}

# Where cargo puts what it builds.
target_directory() {
    cargo metadata --no-deps --format-version 1 --locked |
        python3 -c 'import json, sys; print(json.load(sys.stdin)["target_directory"])'
}

# raise_file_limit: room for wrk's 1024 connections and as many at the kernel's server. The soft limit
# is 1024 on most systems, and wrk then counts connect errors.
raise_file_limit() {
    local wanted=4096 soft
    soft=$(ulimit -Sn)
    [ "$soft" = unlimited ] || [ "$soft" -ge "$wanted" ] || ulimit -Sn "$wanted" 2>/dev/null ||
        fail "at most $(ulimit -Hn) files may be open, and 1024 connections need $wanted: raise the limit (ulimit -Hn $wanted)"
}

# Says in one sentence why this kernel cannot run Corelane, if it cannot.
check_kernel() {
    # 44 is AF_XDP, which Python has no name for.
    python3 -c 'import socket; socket.socket(44, socket.SOCK_RAW).close()' 2>/dev/null ||
        fail "this kernel ($(uname -r)) has no AF_XDP sockets for us: it needs CONFIG_XDP_SOCKETS (4.18 or later; 6.1 is our floor), and a container needs CAP_NET_RAW"
}
