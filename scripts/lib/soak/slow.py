"""Clients that sit, for scripts/soak: in each way that costs a server something, and for how long it
bears them. Prints JSON: how many were given up by the server, and who was not and should have been.

usage: slow.py SECONDS
"""

import contextlib
import json
import select
import socket
import sys
import time

SERVERS = ("198.18.0.1", "fd00::1")
# Of each kind, to each address.
EACH = 4
HEAD = b"GET / HTTP/1.1\r\nHost: slow\r\n"


def connect(server, port, receive_buffer=None):
    family = socket.AF_INET6 if ":" in server else socket.AF_INET
    sock = socket.socket(family)
    if receive_buffer:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    sock.settimeout(20)
    sock.connect((server, port))
    return sock


class Silent:
    """Asks nothing."""

    port, begin, drip, given_up = 80, b"", b"", True


class SlowHead:
    """slowloris: a head that does not end."""

    port, begin, drip, given_up = 80, HEAD + b"X-Slow: ", b"x", True


class ZeroWindow:
    """Asks for much and takes nothing of it (sockstress)."""

    port, begin, drip, given_up = 80, b"GET /bytes/50000000 HTTP/1.1\r\nHost: slow\r\n\r\n", b"", True


class SlowReader:
    """Takes a little, again and again."""

    port, begin, drip, given_up = 19, b"", b"", False


class SlowEcho:
    """Says a word now and then, and is answered."""

    port, begin, drip, given_up = 7, b"hello", b"word", False


def start(kind, server):
    sock = connect(server, kind.port, 4_096 if kind in (ZeroWindow, SlowReader) else None)
    sock.sendall(kind.begin)
    sock.setblocking(False)
    return sock


def step(kind, sock):
    """Whether the server has ended it."""
    try:
        if kind.drip:
            sock.send(kind.drip)
        if kind is ZeroWindow:
            # Without reading: a reset shows as an error, and wakes up who waits.
            poll = select.poll()
            poll.register(sock, 0)
            return bool(poll.poll(0))
        return sock.recv(512) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True


def main():
    end = time.monotonic() + float(sys.argv[1])
    kinds = (Silent, SlowHead, ZeroWindow, SlowReader, SlowEcho)
    sitting = [(kind, start(kind, server)) for kind in kinds for server in SERVERS * EACH]
    opened, given_up, kept = len(sitting), 0, []
    while time.monotonic() < end:
        for each in list(sitting):
            kind, sock = each
            if not step(kind, sock):
                continue
            sitting.remove(each)
            sock.close()
            given_up += kind.given_up
            if not kind.given_up:
                kept.append(f"{kind.__name__}: the server has ended it")
        time.sleep(1)
    kept += [f"{kind.__name__}: the server has not given it up" for kind, _ in sitting if kind.given_up]
    for _, sock in sitting:
        with contextlib.suppress(OSError):
            sock.close()
    print(json.dumps({"opened": opened, "given_up": given_up, "kept": sorted(set(kept))}))


main()
