/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* What the XDP program and user space (src/xdp/program.rs) share: map layouts and counters. */
#ifndef CORELANE_H
#define CORELANE_H

#include <linux/types.h>

/* An IPv6 address, or an IPv4 address as ::ffff:a.b.c.d: what wire::Address holds. */
struct corelane_address {
	__be32 words[4];
};

/* Key of `services`: who connects to it talks to us. */
struct corelane_service {
	struct corelane_address address;
	__be16 port;
	__u16 padding; /* 0 */
};

/* Value of `addresses`: the ports that our own active opens use, in host order, both ends
 * included. first > last: none.
 */
struct corelane_client_ports {
	__u16 first;
	__u16 last;
};

/* Value of `settings`. */
struct corelane_settings {
	__u16 mac[3]; /* of the interface, as on the wire: frames to others are not ours */
	__u16 padding; /* 0 */
};

/* Key of `kernel_datagrams`: a datagram whose first fragment went to the kernel. Only TCP is ever
 * marked, so the protocol is not part of it.
 */
struct corelane_datagram {
	struct corelane_address source;
	struct corelane_address destination;
	__be32 id;
};

/* Datagrams of the kernel whose fragments are on their way; the least recently used is forgotten. */
#define CORELANE_MAX_DATAGRAMS 1024
/* Limits that user space names in its errors. */
#define CORELANE_MAX_SERVICES 1024
#define CORELANE_MAX_ADDRESSES 256
/* Entries of `xsks` unless user space sets another number before loading. */
#define CORELANE_DEFAULT_QUEUES 64

/* Index into `counters`, one per outcome. A unit test holds the Rust names to these. */
enum corelane_counter {
	/* To the kernel. */
	CORELANE_PASSED_OTHER_MAC, /* not to the interface's MAC address: broadcast, multicast */
	CORELANE_PASSED_NOT_IP, /* ARP and the like */
	CORELANE_PASSED_VLAN, /* two VLAN tags, or a service tag */
	CORELANE_PASSED_MALFORMED, /* an IP header that no kernel accepts */
	CORELANE_PASSED_ICMP, /* echo, neighbour discovery, errors about the kernel's flows */
	CORELANE_PASSED_OTHER_PROTOCOL, /* UDP and the like */
	CORELANE_PASSED_OTHER_ADDRESS, /* TCP to an address that is not served */
	CORELANE_PASSED_OTHER_PORT, /* TCP to a served address, to a port of the kernel */
	CORELANE_PASSED_FRAGMENT, /* TCP fragments of a datagram of the kernel */
	/* To the socket of the queue. */
	CORELANE_REDIRECTED_TCP,
	CORELANE_REDIRECTED_ICMP, /* errors that quote a flow of ours */
	CORELANE_REDIRECTED_FRAGMENT, /* TCP fragments of ours, or whose first was not seen */
	/* Dropped. */
	CORELANE_DROPPED_NO_SOCKET, /* ours, but the queue has no socket */
	CORELANE_DROPPED_MALFORMED, /* to a served address, headers cut short or lying; odd VLAN tags */
	CORELANE_DROPPED_HEADER_CHAIN, /* to a served address, more IPv6 headers than we follow */
	CORELANE_DROPPED_TINY_FRAGMENT, /* a first fragment to a served address without the ports */
	CORELANE_COUNTERS,
};

#endif
