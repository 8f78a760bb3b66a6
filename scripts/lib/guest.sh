#!/usr/bin/env bash
# What scripts/kernels asks of Corelane in a guest. It is root there, and the guest ends with it.
# shellcheck disable=SC2317 # check() calls functions by name
set -u
# shellcheck source=scripts/lib/common.sh
. /corelane/lib/common.sh
# shellcheck source=scripts/lib/network.sh
. /corelane/lib/network.sh

LENGTH=10000000
work=$(mktemp -d)
failed=0

# check WHAT COMMAND...: says whether it went well, and if not, what it said.
check() {
    local what=$1 status
    shift
    (
        set -e -o pipefail
        "$@"
    ) >"$work/said" 2>&1
    status=$?
    if [ "$status" -eq 0 ]; then
        echo "ok      $what"
        return 0
    fi
    echo "FAILED  $what (status $status)"
    tail -n 30 "$work/said" | sed 's/^/        | /'
    failed=1
    return 1
}

# never COMMAND...: it must fail. `!` alone does not end a function under set -e.
never() {
    if "$@"; then
        echo "this went well, and should not have: $*"
        return 1
    fi
}

# soon COMMAND...: it must go well within 20 s.
soon() {
    local _
    for _ in {1..200}; do
        "$@" >"$work/tried" 2>&1 && return
        sleep 0.1
    done
    cat "$work/tried"
    return 1
}

ask() { in_client curl -sS --max-time 10 "$@"; }

says_hello() {
    local host
    for host in "$SERVER_V4" "[$SERVER_V6]"; do
        [ "$(ask "http://$host/")" = "hello, world" ]
    done
}

sends_many_octets() {
    local host expected got
    expected=$(python3 -c "print(''.join(chr(32 + i % 95) for i in range($LENGTH)), end='')" | sha256sum)
    for host in "$SERVER_V4" "[$SERVER_V6]"; do
        got=$(ask --max-time 120 "http://$host/bytes/$LENGTH" | sha256sum)
        echo "$host: $got, should be $expected"
        [ "$got" = "$expected" ]
    done
}

echoes() {
    local host
    head -c 1000000 /dev/urandom >"$work/sent"
    for host in "$SERVER_V4" "$SERVER_V6"; do
        in_client timeout 60 nc -N "$host" 7 <"$work/sent" >"$work/got"
        cmp "$work/sent" "$work/got"
    done
}

# The kernel has its own ports on the same addresses.
leaves_the_kernel_its_own() {
    local host nc
    in_client ping -c 1 -W 5 "$SERVER_V4"
    in_client ping -c 1 -W 5 "$SERVER_V6"
    for host in "$SERVER_V4" "$SERVER_V6"; do
        server_side timeout 20 nc -l -N "$host" 8080 <<<"the kernel" >"$work/listener" 2>&1 &
        nc=$!
        soon in_client sh -c "timeout 5 nc -N $host 8080 </dev/null | grep 'the kernel'"
        wait "$nc" || true
    done
}

shows_connections() {
    local holder
    { sleep 20 | in_client nc "$SERVER_V4" 7; } &
    holder=$!
    soon sh -c "corelane ss --info | grep -E 'ESTAB.*$CLIENT_V4'"
    kill "$holder"
    corelane stats >"$work/stats"
    grep -E '^ *redirected_tcp +[1-9]' "$work/stats"
    corelane stats --json | python3 -m json.tool >/dev/null
}

# counted NAME: what `corelane stats` says.
counted() { corelane stats | awk -v name="$1" '$1 == name { print $2 }'; }

denies() {
    corelane deny add "$CLIENT_V4" "$CLIENT_V6"
    never ask --max-time 2 "http://$SERVER_V4/"
    never ask --max-time 2 "http://[$SERVER_V6]/"
    corelane deny list
    [ "$(counted dropped_denied)" -ge 2 ]
    corelane deny remove "$CLIENT_V4" "$CLIENT_V6"
    says_hello
}

limits_syns() {
    local _
    corelane syn-limit set --rate 1 --burst 1
    for _ in {1..5}; do
        ask --max-time 0.5 "http://$SERVER_V4/" || true
    done
    corelane syn-limit show
    [ "$(counted dropped_syn_limit)" -ge 1 ]
    corelane syn-limit off
    says_hello
}

# Of each thread of $server: user $1, no capability, only its own system calls.
has_no_privileges() {
    local task uid=$1
    for task in "/proc/$server/task"/*; do
        grep -E '^(Name|Uid|Cap...|NoNewPrivs|Seccomp):' "$task/status"
        grep -Eq "^Uid:\s$uid\s$uid\s$uid\s$uid$" "$task/status"
        [ "$(grep -Ec '^Cap(Inh|Prm|Eff|Amb):\s0000000000000000$' "$task/status")" -eq 4 ]
        grep -Eq '^Seccomp:\s2$' "$task/status"
        grep -Eq '^NoNewPrivs:\s1$' "$task/status"
    done
}

# server_side COMMAND...: where veth0 is, by hand in a namespace, by systemd among the guest's own.
server_side() { in_server "$@"; }

has_program() { server_side ip -details link show veth0 | tee /dev/stderr | grep -q 'prog/xdp'; }

is_closed() {
    never has_program
    local host status
    for host in "$SERVER_V4" "[$SERVER_V6]"; do
        status=0
        ask "http://$host/" || status=$?
        # Refused by the kernel.
        [ "$status" -eq 7 ]
    done
}

# ends SIGNAL STATUS: $server does, within 20 s.
ends() {
    local status=0 _
    kill "-$1" "$server"
    for _ in {1..200}; do
        kill -0 "$server" 2>/dev/null || break
        sleep 0.1
    done
    wait "$server" || status=$?
    if [ "$status" -ne "$2" ]; then
        echo "FAILED  SIG$1 ends it with status $2, not $status"
        failed=1
        return 1
    fi
    echo "ok      SIG$1 ends it with status $2"
    # Bash says aloud what was killed.
} 2>/dev/null

# start_server ARGUMENT...: sets $server.
start_server() {
    start_in "$SERVER_NS" "$work/server" corelane serve --interface veth0 "$@" http:80 echo:7
    server=$started
    check "corelane serve $*" wait_for_line "$server" "$work/server" '^ready' || return 1
    sed 's/^/        | /' "$work/server"
}

gro_is() { server_side ethtool -k veth0 | grep "^generic-receive-offload: $1"; }

by_hand() {
    echo "-- by hand, between two namespaces"
    make_network 2
    if start_server; then
        check "its XDP program is there" has_program
        check "/ over IPv4 and IPv6" says_hello
        check "/bytes/$LENGTH over both, with the right digest" sends_many_octets
        check "echo of a million octets over both" echoes
        check "ping and another port are the kernel's" leaves_the_kernel_its_own
        check "corelane ss and stats" shows_connections
        check "corelane deny" denies
        check "corelane syn-limit" limits_syns
        check "it is user nobody without a capability, under seccomp" has_no_privileges 65534
        ends TERM 0
        check "no XDP program is left, and the kernel answers the ports as closed" is_closed
    fi
    if start_server --idle interrupt; then
        check "/ over both" says_hello
        check "/bytes/$LENGTH over both" sends_many_octets
        ends KILL 137
        check "no XDP program is left after SIGKILL" is_closed
    fi
    server_side ethtool -K veth0 gro on
    if start_server --mode generic; then
        check "receive offload is off" gro_is off
        check "/ over both" says_hello
        check "/bytes/$LENGTH over both" sends_many_octets
        check "echo of a million octets over both" echoes
        ends TERM 0
        check "no XDP program is left" is_closed
        check "receive offload is on again" gro_is on
    fi
    clean_up_network
}

# The unit as docs/security.md has it.
install_unit() {
    awk '/^    \[(Unit|Service)\]/ { inside = 1 }
         inside && /^[^ ]/ { exit }
         inside { sub(/^    /, ""); print }' /corelane/security.md >/etc/systemd/system/corelane.service
    cat /etc/systemd/system/corelane.service
    grep -q ExecStart /etc/systemd/system/corelane.service
    useradd --system --no-create-home --shell /usr/sbin/nologin corelane
    cat >/etc/corelane.toml <<TOML
interface = "veth0"
services = ["http:80", "echo:7"]
TOML
    systemctl daemon-reload
    systemd-analyze verify /etc/systemd/system/corelane.service
    systemctl enable corelane
}

# make_veth0: among the guest's own interfaces, with the client's namespace at the other end.
make_veth0() {
    ip link add veth0 numrxqueues 2 numtxqueues 2 type veth \
        peer name veth1 numrxqueues 2 numtxqueues 2 netns "$CLIENT_NS"
    ip addr add "$SERVER_V4/24" dev veth0
    ip addr add "$SERVER_V6/64" dev veth0 nodad
    ip link set veth0 up
    ip -n "$CLIENT_NS" addr add "$CLIENT_V4/24" dev veth1
    ip -n "$CLIENT_NS" addr add "$CLIENT_V6/64" dev veth1 nodad
    ip -n "$CLIENT_NS" link set veth1 up
}

# At once: it returns when the server is ready.
started_by_systemctl() {
    systemctl start corelane
    says_hello
}

property() { systemctl show -P "$1" corelane; }

# The unit's process, started anew since it was $1.
another_serves() {
    soon sh -c "pid=\$(systemctl show -P MainPID corelane) && [ \$pid -ne 0 ] && [ \$pid -ne $1 ]"
    soon says_hello
}

keeps_nothing_of_the_units() {
    property User
    property AmbientCapabilities
    [ "$(property User)" = corelane ]
    has_no_privileges "$(id -u corelane)"
}

cannot_be_reloaded_and_serves_on() {
    never systemctl reload corelane
    [ "$(property MainPID)" = "$server" ]
    says_hello
}

restarts() {
    systemctl restart corelane
    says_hello
    [ "$(property MainPID)" != "$server" ]
    property NRestarts
    [ "$(property NRestarts)" = 0 ]
}

comes_back_after_a_crash() {
    kill -KILL "$server"
    another_serves "$server"
}

waits_for_its_interface() {
    ip link del veth0
    # Longer than systemd's start limit is patient, by default.
    sleep 20
    systemctl status corelane --no-pager || true
    make_veth0
    another_serves "$server"
}

stops() {
    systemctl stop corelane
    property Result
    [ "$(property Result)" = success ]
    is_closed
}

# with_lines LINE...: the unit with these lines more in [Service].
with_lines() {
    mkdir -p /run/systemd/system/corelane.service.d
    { echo "[Service]" && printf '%s\n' "$@"; } >/run/systemd/system/corelane.service.d/check.conf
    systemctl daemon-reload
    systemctl restart corelane
    says_hello
    journalctl --sync
    journalctl -u corelane -n 20 --no-pager -o cat
}

# CAP_NET_BIND_SERVICE is 10, CAP_NET_ADMIN 12, CAP_NET_RAW 13, CAP_IPC_LOCK 14, CAP_PERFMON 38, CAP_BPF 39.
starts_with_no_more_than_it_needs() {
    with_lines "ExecStartPre=/bin/sh -c 'id -un; grep ^Cap /proc/self/status'" | tee "$work/journal"
    grep -x corelane "$work/journal"
    [ "$(grep -Ec 'Cap(Inh|Prm|Eff|Bnd|Amb):\s+000000c000007400' "$work/journal")" -eq 5 ]
}

# Linux 6.1 refuses the program without it (the verifier lets nothing smaller than eight octets overwrite
# a number on the stack), which must be said; 6.12 takes it.
without_perfmon() {
    local lines=("AmbientCapabilities="
        "AmbientCapabilities=CAP_BPF CAP_NET_ADMIN CAP_NET_RAW CAP_IPC_LOCK CAP_NET_BIND_SERVICE")
    case $(uname -r) in
    6.1.*)
        with_lines "${lines[@]}" || true
        never systemctl --quiet is-active corelane
        journalctl --sync
        journalctl -u corelane -n 20 --no-pager -o cat | tee "$work/journal"
        grep "without CAP_PERFMON" "$work/journal"
        ;;
    *)
        with_lines "${lines[@]}"
        sends_many_octets
        ;;
    esac
    systemctl stop corelane
}

in_generic_mode() {
    ethtool -K veth0 gro on
    with_lines "ExecStart=" "ExecStart=/usr/local/bin/corelane serve --config /etc/corelane.toml --mode generic"
    gro_is off
    sends_many_octets
    systemctl stop corelane
    soon gro_is on
    is_closed
}

main_pid() { server=$(systemctl show -P MainPID corelane); }

by_systemd() {
    echo "-- by systemd, with the unit of docs/security.md"
    server_side() { "$@"; }
    make_namespace "$CLIENT_NS"
    check "the unit is right" install_unit || return
    check "veth0" make_veth0
    check "systemctl start, and at once / over IPv4 and IPv6" started_by_systemctl || return
    main_pid
    check "it runs as its user, and has none of the unit's capabilities any more" keeps_nothing_of_the_units
    check "/bytes/$LENGTH over both" sends_many_octets
    check "corelane ss and stats" shows_connections
    check "systemctl reload is refused, and it serves on" cannot_be_reloaded_and_serves_on
    check "systemctl restart" restarts
    main_pid
    check "it comes back after SIGKILL" comes_back_after_a_crash
    main_pid
    check "it comes back with its interface" waits_for_its_interface
    check "systemctl stop; no XDP program is left, and the ports are closed" stops
    check "it is started as its user with six capabilities, in no set more" starts_with_no_more_than_it_needs
    check "without CAP_PERFMON it serves, or on 6.1 says why not" without_perfmon
    check "in generic mode receive offload comes back" in_generic_mode
    [ "$failed" -eq 0 ] || journalctl -u corelane -n 60 --no-pager -o short-monotonic | sed 's/^/        | /'
}

# The tests that are there, as they are.
by_tests() {
    local test
    [ -e /corelane/tests.skip ] || return
    echo "-- tests"
    for test in /corelane/tests/*; do
        # shellcheck disable=SC2046 # words
        check "${test##*/}" env CI=true "$test" --test-threads 1 $(cat /corelane/tests.skip)
        grep -E '^test result' "$work/said" | sed 's/^/        | /'
    done
}

facts() {
    echo "Linux $(uname -r), $(systemctl --version | head -n 1), $(nproc) CPUs, unprivileged_bpf_disabled" \
        "$(cat /proc/sys/kernel/unprivileged_bpf_disabled), accelerated by $(systemd-detect-virt)"
}

facts
ip link set lo up
export COLUMNS=120
# Only some of the kernel's modules are here.
depmod
if check "it has veth" modprobe veth; then
    by_hand
    by_systemd
    by_tests
fi
if [ "$failed" -eq 0 ]; then
    echo PASS
else
    echo FAIL
fi
exit "$failed"
