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
	__u8 denies_ipv4; /* whether `denied_ipv4` is worth a look-up */
	__u8 denies_ipv6; /* the same of `denied_ipv6` */
	__u64 syn_interval; /* ns that one SYN of a source costs; 0: no limit */
	__u64 syn_span; /* ns that a source may have used up: as many SYNs at once */
	struct corelane_address ipv4_mask; /* what of an address names a source of SYNs */
	struct corelane_address ipv6_mask;
};

/* Value of `services`. */
enum corelane_service_flags {
	CORELANE_SERVED = 1 << 0,
	CORELANE_SENDS_COOKIES = 1 << 1, /* its SYNs are answered as `cookies` says */
};

/* What SYN cookies may say of a SYN's options, how checksums are judged, how the answer leaves. */
enum corelane_offers {
	CORELANE_OFFERS_MSS = 1 << 0,
	CORELANE_OFFERS_SCALE = 1 << 1,
	CORELANE_OFFERS_SACK = 1 << 2,
	CORELANE_OFFERS_TIMESTAMPS = 1 << 3,
	CORELANE_OFFERS_ECN = 1 << 4,
	CORELANE_TAKES_PARTIAL_CHECKSUMS = 1 << 5,
	CORELANE_ANSWERS_BY_REDIRECT = 1 << 6, /* and not by XDP_TX */
};

/* Value of `cookies`: what the SYN-ACKs of a service say, in host order. */
struct corelane_cookie {
	__u64 sent;
	__u16 mss;
	__u16 window;
	__u8 window_shift;
	__u8 offers; /* what is gone along with, if the SYN offers it */
	__u8 traffic_class;
	__u8 hop_limit;
};

/* The key of one time. */
struct corelane_cookie_key {
	__u64 epoch;
	__u64 key[2];
};

#define CORELANE_COOKIE_SIZES 8

/* Value of `secrets`. */
struct corelane_secrets {
	struct corelane_cookie_key keys[2]; /* of an even and of an odd epoch */
	__u64 timestamp_key[2];
	__u16 mss_ipv4[CORELANE_COOKIE_SIZES]; /* the sizes that a cookie can say, ascending */
	__u16 mss_ipv6[CORELANE_COOKIE_SIZES];
};

/* Keys of `denied_ipv4` and `denied_ipv6`, as BPF_MAP_TYPE_LPM_TRIE wants them. */
struct corelane_ipv4_prefix {
	__u32 length;
	__be32 address;
};

struct corelane_ipv6_prefix {
	__u32 length;
	__be32 address[4];
};

/* Value of both. */
struct corelane_denied {
	__u64 frames; /* dropped */
	__u32 length; /* of the prefix: a look-up yields the longest match, this says which */
	__u32 padding; /* 0 */
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
/* The same of each of `denied_ipv4` and `denied_ipv6`, and of `syn_sources`. */
#define CORELANE_DEFAULT_DENIED 65536
#define CORELANE_DEFAULT_SYN_SOURCES 65536

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
	/* Back to where they came from. */
	CORELANE_ANSWERED_SYN, /* by a SYN cookie */
	/* Dropped. */
	CORELANE_DROPPED_NO_SOCKET, /* ours, but the queue has no socket */
	CORELANE_DROPPED_MALFORMED, /* to a served address, headers cut short or lying; odd VLAN tags */
	CORELANE_DROPPED_HEADER_CHAIN, /* to a served address, more IPv6 headers than we follow */
	CORELANE_DROPPED_TINY_FRAGMENT, /* a first fragment to a served address without the ports */
	CORELANE_DROPPED_DENIED, /* ours, but from a denied prefix */
	CORELANE_DROPPED_SYN_LIMIT, /* to a service, more SYNs than a source may send */
	CORELANE_COUNTERS,
};

#endif
