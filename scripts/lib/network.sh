# shellcheck shell=bash
# Network namespaces, veth pairs and what runs in them; all gone when the script ends, however it
# ends. Sourced, not run. Needs common.sh.

SERVER_V4=198.18.0.1
SERVER_V6=fd00::1
CLIENT_V4=198.18.0.2
CLIENT_V6=fd00::2
# Names carry the pid, so that two of us do not collide.
SERVER_NS="corelane-server-$$"
CLIENT_NS="corelane-client-$$"
MIDDLE_NS="corelane-middle-$$"

network_pids=()

# clean_up_network: ends what was started here, by its pid, and removes the namespaces. Safe to call
# at any time and more than once.
clean_up_network() {
    local pid name
    for pid in "${network_pids[@]}"; do
        stop_process "$pid" now
    done
    for name in "$SERVER_NS" "$CLIENT_NS" "$MIDDLE_NS"; do
        [ -e "/run/netns/$name" ] || continue
        # What still runs inside was started by us: nobody else knows the namespace.
        for pid in $(ip netns pids "$name" 2>/dev/null); do
            kill -KILL "$pid" 2>/dev/null || true
        done
        ip netns del "$name" 2>/dev/null || true
    done
}

# stop_process PID [now]: asks; asks again after 10 s, or at once (the second SIGTERM ends corelane
# without draining); then kills.
stop_process() {
    local pid=$1 again=100 tenth other left=()
    [ "${2:-}" != now ] || again=3
    for tenth in {1..150}; do
        case $tenth in
        1 | "$again") kill -TERM "$pid" 2>/dev/null || break ;;
        140) kill -KILL "$pid" 2>/dev/null || break ;;
        *) kill -0 "$pid" 2>/dev/null || break ;;
        esac
        sleep 0.1
    done
    wait "$pid" 2>/dev/null || true
    # Forgotten, since the system may give its pid to somebody else.
    for other in "${network_pids[@]}"; do
        [ "$other" = "$pid" ] || left+=("$other")
    done
    network_pids=("${left[@]}")
}

# make_network [QUEUES]: the two namespaces, joined by one veth pair.
make_network() {
    make_namespace "$SERVER_NS"
    make_namespace "$CLIENT_NS"
    join "$SERVER_NS" veth0 "$CLIENT_NS" veth1 "${1:-1}"
    assign_addresses
}

# make_relayed_network: the two namespaces, joined through a third by two veth pairs.
make_relayed_network() {
    make_namespace "$SERVER_NS"
    make_namespace "$CLIENT_NS"
    make_namespace "$MIDDLE_NS"
    join "$SERVER_NS" veth0 "$MIDDLE_NS" to-server 1
    join "$CLIENT_NS" veth1 "$MIDDLE_NS" to-client 1
    # With offloads on, the relay would see frames larger than the MTU and unfinished checksums.
    local end
    for end in "$SERVER_NS veth0" "$MIDDLE_NS to-server" "$CLIENT_NS veth1" "$MIDDLE_NS to-client"; do
        # shellcheck disable=SC2086 # two words: the namespace and the interface
        offloads_off $end
    done
    assign_addresses
}

make_namespace() {
    { ip netns add "$1" && ip netns exec "$1" true; } ||
        fail "cannot make and enter network namespaces: it takes root with CAP_SYS_ADMIN"
    # shellcheck disable=SC2016 # the inner shell expands
    # Duplicate address detection leaves an address unusable for a second or two.
    ip netns exec "$1" sh -c 'for f in all default; do
        echo 0 > /proc/sys/net/ipv6/conf/$f/accept_dad; done' ||
        fail "IPv6 is off in this kernel; Corelane's demo wants both families"
    ip -n "$1" link set lo up
}

# join NAMESPACE INTERFACE NAMESPACE INTERFACE QUEUES
join() {
    ip -n "$1" link add "$2" numrxqueues "$5" numtxqueues "$5" type veth \
        peer name "$4" numrxqueues "$5" numtxqueues "$5" netns "$3" ||
        fail "cannot make a veth pair: this kernel needs CONFIG_VETH"
    ip -n "$1" link set "$2" up
    ip -n "$3" link set "$4" up
}

offloads_off() {
    ip netns exec "$1" ethtool -K "$2" tx off tso off gso off gro off sg off >/dev/null
}

assign_addresses() {
    ip -n "$SERVER_NS" addr add "$SERVER_V4/24" dev veth0
    ip -n "$SERVER_NS" addr add "$SERVER_V6/64" dev veth0 nodad
    ip -n "$CLIENT_NS" addr add "$CLIENT_V4/24" dev veth1
    ip -n "$CLIENT_NS" addr add "$CLIENT_V6/64" dev veth1 nodad
}

in_server() { ip netns exec "$SERVER_NS" "$@"; }
in_client() { ip netns exec "$CLIENT_NS" "$@"; }

# start_in NAMESPACE LOG COMMAND...: in the background; its pid is in $started.
start_in() {
    local namespace=$1 log=$2
    shift 2
    : >"$log"
    ip netns exec "$namespace" "$@" >"$log" 2>&1 </dev/null &
    started=$!
    network_pids+=("$started")
}

# wait_for_line PID LOG PATTERN: until a line of LOG matches; fails if the process ends before, or
# after 30 s.
wait_for_line() {
    local _
    for _ in {1..300}; do
        grep -q -- "$3" "$2" && return
        if ! kill -0 "$1" 2>/dev/null; then
            cat "$2" >&2
            fail "it ended before it was ready (its words are above)"
        fi
        sleep 0.1
    done
    cat "$2" >&2
    fail "it was not ready within 30 s (its words are above)"
}
