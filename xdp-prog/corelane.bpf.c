// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * Which frames are ours: TCP to a service or to a client port of ours, its fragments, and ICMP
 * errors about it go to the AF_XDP socket of the queue. Everything else goes to the kernel.
 *
 * The rule behind every odd branch: no segment to a port of ours may reach the kernel's TCP, whose
 * RST would kill the connection. What the kernel drops by itself may pass or be dropped. So:
 *
 *  - Ports decide, whatever else is wrong with the segment: user space judges it and counts.
 *  - A frame to a served address whose ports cannot be found is dropped.
 *  - TCP's ports are always in the fragment at offset 0 (RFC 791: offsets count eight octets;
 *    RFC 8200 section 4.5 wants the whole header chain there, and the kernel insists). No such
 *    fragment with a port of ours passes, so the kernel can never reassemble a segment of ours,
 *    whatever later fragments it sees.
 *  - AH under IPv4, ESP and tunnels are the kernel's.
 *
 * The deny list and the limit on SYNs judge only what would be redirected: they can turn no verdict
 * about the kernel's traffic, nor cost it anything.
 *
 * Written for the verifier of Linux 6.1.
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <stdbool.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "corelane.h"

char LICENSE[] SEC("license") = "Dual MIT/GPL";

struct {
	__uint(type, BPF_MAP_TYPE_XSKMAP);
	__uint(max_entries, CORELANE_DEFAULT_QUEUES);
	__type(key, __u32);
	__type(value, __u32);
} xsks SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, CORELANE_MAX_SERVICES);
	__type(key, struct corelane_service);
	__type(value, __u32);
} services SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, CORELANE_MAX_ADDRESSES);
	__type(key, struct corelane_address);
	__type(value, struct corelane_client_ports);
} addresses SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct corelane_settings);
} settings SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, CORELANE_MAX_DATAGRAMS);
	__type(key, struct corelane_datagram);
	__type(value, __u32);
} kernel_datagrams SEC(".maps");

/* Two tries, since ::/0 must not deny the IPv4 addresses that are mapped into it. */
struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, CORELANE_DEFAULT_DENIED);
	__type(key, struct corelane_ipv4_prefix);
	__type(value, struct corelane_denied);
} denied_ipv4 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, CORELANE_DEFAULT_DENIED);
	__type(key, struct corelane_ipv6_prefix);
	__type(value, struct corelane_denied);
} denied_ipv6 SEC(".maps");

/* Sources of SYNs by their masked addresses, and when (bpf_ktime_get_ns) each will have its whole
 * burst again. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, CORELANE_DEFAULT_SYN_SOURCES);
	__type(key, struct corelane_address);
	__type(value, __u64);
} syn_sources SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, CORELANE_COUNTERS);
	__type(key, __u32); /* enum corelane_counter */
	__type(value, __u64);
} counters SEC(".maps");

/* Extension headers followed under IPv6: one of each kind that RFC 8200 section 4.1 lists, and one
 * to spare. */
#define MAX_EXTENSIONS 6
/* No header that we look for starts behind this: 22 octets of Ethernet, 40 of IPv6, six extensions
 * of at most 2048. Tells the verifier a bound, and all paths the same one. */
#define OFFSET_MASK 0x3fff

#define VLAN_ID_MASK 0x0fff
#define IPV4_MORE_FRAGMENTS 0x2000
#define IPV4_OFFSET_MASK 0x1fff
#define IPV6_MORE_FRAGMENTS 0x0001
#define IPV6_OFFSET_MASK 0xfff8

/* Where the flags of a TCP header are, and which of them make a SYN (RFC 9293 section 3.10.7: RST and
 * ACK are looked at first). */
#define TCP_FLAGS 13
#define TCP_SYN 0x02
#define TCP_RST 0x04
#define TCP_ACK 0x10

/* What goes behind the Ethernet header. */
struct link {
	__be16 protocol;
	__u16 offset; /* of the network header */
	bool unserved_tags; /* more than one 802.1Q tag: not what user space reads */
	bool priority_tags; /* every tag has VLAN 0: the kernel takes the frame as untagged */
};

struct ports {
	__be16 source;
	__be16 destination;
};

enum fragment {
	WHOLE,
	FIRST_FRAGMENT,
	LATER_FRAGMENT,
};

/* What the IP headers say. */
struct packet {
	struct corelane_address source;
	struct corelane_address destination;
	struct ports ports;
	__u32 offset; /* of the upper-layer header */
	__u32 end; /* where the IP header says that the packet ends */
	__be32 id; /* of a fragment */
	__u8 protocol; /* of the upper layer; of a later fragment, the header that it starts with */
	__u8 fragment;
	bool ipv6;
	bool opens; /* a SYN to a service, while there is a limit on those, or cookies */
	bool cookie; /* one that is to be answered by a SYN cookie */
	bool hidden; /* a fragmented IPv6 packet starts with a header before its upper layer */
};

struct vlan_tag {
	__be16 control;
	__be16 protocol;
};

/* The start of every IPv6 extension header; a fragment header's other fields. */
struct extension {
	__u8 next;
	__u8 length;
	__be16 fragment_offset;
	__be32 id;
};

struct icmp {
	__u8 type;
	__u8 code;
	__be16 checksum;
	__be32 rest;
};

static __always_inline int count(__u32 counter, int verdict)
{
	__u64 *value = bpf_map_lookup_elem(&counters, &counter);

	if (value)
		*value += 1;
	return verdict;
}

/* Copies `size` octets at `offset` from whatever buffer they are in. Fails behind the frame's end. */
static __always_inline bool load_rare(struct xdp_md *ctx, __u32 offset, void *to, const __u32 size)
{
	return bpf_xdp_load_bytes(ctx, offset & OFFSET_MASK, to, size) == 0;
}

/* The same from the first buffer, if they are there and `offset` is `at`. Without CAP_PERFMON the
 * verifier has nothing but constants added to a packet pointer (a guard against Spectre). */
static __always_inline bool load_at(struct xdp_md *ctx, __u32 offset, const __u32 at, void *to,
				    const __u32 size)
{
	void *from = (void *)(long)ctx->data;
	void *data_end = (void *)(long)ctx->data_end;

	/* In assembly, or clang merges two of these to one with a variable. */
	asm volatile("%0 += %1" : "+r"(from) : "i"(at));
	if (offset != at || from + size > data_end)
		return false;
	/* Without the hint clang copies octet by octet. */
	__builtin_memcpy(to, __builtin_assume_aligned(from, 4), size);
	return true;
}

/* The same without a call for what is where it nearly always is: at `usual`, or behind a VLAN tag
 * there. */
static __always_inline bool load(struct xdp_md *ctx, __u32 offset, const __u32 usual, void *to,
				 const __u32 size)
{
	return load_at(ctx, offset, usual, to, size) ||
	       load_at(ctx, offset, usual + sizeof(struct vlan_tag), to, size) ||
	       load_rare(ctx, offset, to, size);
}

#include "syn_cookie.h"

static __always_inline bool is_same_mac(const __u16 *a, const __u16 *b)
{
	return a[0] == b[0] && a[1] == b[1] && a[2] == b[2];
}

static __always_inline void map_ipv4(struct corelane_address *to, __be32 address)
{
	to->words[0] = 0;
	to->words[1] = 0;
	to->words[2] = bpf_htonl(0xffff);
	to->words[3] = address;
}

/* Whether an IPv6 header carries an address that we use for IPv4. None belongs on a wire. */
static __always_inline bool is_mapped(const struct corelane_address *address)
{
	return !address->words[0] && !address->words[1] &&
	       address->words[2] == bpf_htonl(0xffff);
}

static __always_inline bool is_client_port(const struct corelane_client_ports *range, __be16 port)
{
	__u16 number = bpf_ntohs(port);

	return number >= range->first && number <= range->last;
}

static __always_inline __u32 *find_service(const struct corelane_address *address, __be16 port)
{
	struct corelane_service key = {
		.address = *address,
		.port = port,
	};

	return bpf_map_lookup_elem(&services, &key);
}

static __always_inline bool is_served(const struct corelane_address *address)
{
	return bpf_map_lookup_elem(&addresses, address) != NULL;
}

/* Headers from which the ports cannot be found. */
static __always_inline int malformed(const struct packet *packet)
{
	if (is_served(&packet->destination))
		return count(CORELANE_DROPPED_MALFORMED, XDP_DROP);
	return count(CORELANE_PASSED_MALFORMED, XDP_PASS);
}

/* Whether the source is in the deny list; counted there. The counts are shared by all CPUs, since
 * a trie has no others: only who is denied pays for it. Not inline, so that others do not. */
static __noinline bool is_denied(const struct packet *packet)
{
	struct corelane_denied *denied;

	if (packet->ipv6) {
		struct corelane_ipv6_prefix key = { .length = 128 };

		__builtin_memcpy(key.address, &packet->source, sizeof(key.address));
		denied = bpf_map_lookup_elem(&denied_ipv6, &key);
	} else {
		struct corelane_ipv4_prefix key = {
			.length = 32,
			.address = packet->source.words[3],
		};

		denied = bpf_map_lookup_elem(&denied_ipv4, &key);
	}
	if (!denied)
		return false;
	__sync_fetch_and_add(&denied->frames, 1);
	return true;
}

/* Whether a source sends more SYNs than it may: a token bucket, kept as the time at which it will be
 * full again. Each SYN moves that by an interval, up to the span from now. Of two CPUs that do so at
 * once one may be lost; a source may then send one more. Who is forgotten starts with a full
 * bucket, and so does everyone for whom there is no memory: nothing hangs on this limit alone. */
static __noinline bool is_over_syn_limit(const struct corelane_settings *own,
					 const struct packet *packet)
{
	const struct corelane_address *mask = &own->ipv6_mask;
	struct corelane_address source;
	__u64 now = bpf_ktime_get_ns();
	__u64 *known;
	__u64 full;

	/* Or clang adds a variable to `own`, which takes CAP_PERFMON. */
	asm volatile("" : "+r"(mask));
	if (!packet->ipv6)
		mask = &own->ipv4_mask;
#pragma unroll
	for (int i = 0; i < 4; i++)
		source.words[i] = packet->source.words[i] & mask->words[i];
	known = bpf_map_lookup_elem(&syn_sources, &source);
	if (!known) {
		full = now + own->syn_interval;
		bpf_map_update_elem(&syn_sources, &source, &full, BPF_ANY);
		return false;
	}
	full = *known;
	/* More than can be used up: from before the settings changed. */
	if (full > now + own->syn_span)
		*known = now + own->syn_span;
	if (full < now)
		full = now;
	full += own->syn_interval;
	if (full > now + own->syn_span)
		return true;
	*known = full;
	return false;
}

/* What keeps a packet of ours from its socket. */
static __always_inline bool is_kept_out(const struct corelane_settings *own,
					const struct link *link, const struct packet *packet,
					__u32 *counter)
{
	*counter = CORELANE_DROPPED_MALFORMED;
	/* A source like that would be another's in the limit on SYNs, and user space drops it. */
	if (link->unserved_tags || (packet->ipv6 && is_mapped(&packet->source)))
		return true;
	*counter = CORELANE_DROPPED_DENIED;
	if ((packet->ipv6 ? own->denies_ipv6 : own->denies_ipv4) && is_denied(packet))
		return true;
	*counter = CORELANE_DROPPED_SYN_LIMIT;
	return packet->opens && own->syn_interval && is_over_syn_limit(own, packet);
}

/* To the socket of this queue. A missing one is a drop: the kernel must not see what is ours. */
static __always_inline int to_socket(struct xdp_md *ctx, __u32 counter)
{
	long verdict = bpf_redirect_map(&xsks, ctx->rx_queue_index, XDP_DROP);

	if (verdict != XDP_REDIRECT)
		return count(CORELANE_DROPPED_NO_SOCKET, XDP_DROP);
	return count(counter, XDP_REDIRECT);
}

/* SYNs of a flood. */
SEC("xdp.frags")
int corelane_syn(struct xdp_md *ctx)
{
	struct corelane_cookie *cookie;
	__u32 zero = 0;
	struct syn *syn;
	int verdict;

	syn = bpf_map_lookup_elem(&syns, &zero);
	if (!syn)
		return to_socket(ctx, CORELANE_REDIRECTED_TCP);
	cookie = bpf_map_lookup_elem(&cookies, &syn->service);
	if (!cookie)
		return to_socket(ctx, CORELANE_REDIRECTED_TCP);
	verdict = answer(ctx, syn, cookie);
	if (verdict == XDP_PASS)
		return to_socket(ctx, CORELANE_REDIRECTED_TCP);
	if (verdict != XDP_TX)
		return count(CORELANE_DROPPED_MALFORMED, verdict);
	/* Of what comes by XDP_TX veth wakes no peer without a program of its own. */
	if (cookie->offers & CORELANE_ANSWERS_BY_REDIRECT)
		verdict = bpf_redirect(ctx->ingress_ifindex, 0);
	return count(CORELANE_ANSWERED_SYN, verdict);
}

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 1);
	__uint(key_size, sizeof(__u32));
	__array(values, int(void *));
} programs SEC(".maps") = {
	.values = { (void *)&corelane_syn },
};

/* Goes on as `corelane_syn`, if it can. */
static __always_inline void answer_syn(struct xdp_md *ctx, const struct link *link,
				       const struct packet *packet)
{
	struct syn *syn;
	__u32 zero = 0;

	syn = bpf_map_lookup_elem(&syns, &zero);
	if (!syn)
		return;
	syn->service.address = packet->destination;
	syn->service.port = packet->ports.destination;
	syn->service.padding = 0;
	syn->source = packet->source;
	syn->source_port = packet->ports.source;
	syn->ip = link->offset;
	syn->tcp = packet->offset;
	syn->length = packet->end - packet->offset;
	syn->ipv6 = packet->ipv6;
	bpf_tail_call(ctx, &programs, 0);
}

static __always_inline int redirect(struct xdp_md *ctx, const struct corelane_settings *own,
				    const struct link *link, const struct packet *packet,
				    __u32 counter)
{
	__u32 reason;

	if (is_kept_out(own, link, packet, &reason))
		return count(reason, XDP_DROP);
	if (packet->cookie)
		answer_syn(ctx, link, packet);
	return to_socket(ctx, counter);
}

static __always_inline bool is_vlan(__be16 protocol)
{
	return protocol == bpf_htons(ETH_P_8021Q) || protocol == bpf_htons(ETH_P_8021AD);
}

/* Reads up to two VLAN tags. */
static __always_inline bool parse_tags(struct xdp_md *ctx, struct link *link)
{
	struct vlan_tag tag;

#pragma unroll
	for (int i = 0; i < 2; i++) {
		if (!is_vlan(link->protocol))
			return true;
		if (i > 0 || link->protocol == bpf_htons(ETH_P_8021AD))
			link->unserved_tags = true;
		if (!load(ctx, link->offset, ETH_HLEN, &tag, sizeof(tag)))
			return false;
		if (tag.control & bpf_htons(VLAN_ID_MASK))
			link->priority_tags = false;
		link->protocol = tag.protocol;
		link->offset += sizeof(tag);
	}
	return true;
}

static __always_inline bool parse_ipv4(struct xdp_md *ctx, __u32 offset, struct packet *packet)
{
	__u16 fragment;
	struct iphdr ip;

	if (!load(ctx, offset, ETH_HLEN, &ip, sizeof(ip)))
		return false;
	map_ipv4(&packet->source, ip.saddr);
	map_ipv4(&packet->destination, ip.daddr);
	packet->protocol = ip.protocol;
	packet->id = ip.id;
	packet->offset = offset + ip.ihl * 4;
	packet->end = offset + bpf_ntohs(ip.tot_len);
	fragment = bpf_ntohs(ip.frag_off);
	if (fragment & IPV4_OFFSET_MASK)
		packet->fragment = LATER_FRAGMENT;
	else if (fragment & IPV4_MORE_FRAGMENTS)
		packet->fragment = FIRST_FRAGMENT;
	return ip.version == 4 && ip.ihl >= 5;
}

static __always_inline bool is_extension(__u8 protocol)
{
	return protocol == IPPROTO_HOPOPTS || protocol == IPPROTO_ROUTING ||
	       protocol == IPPROTO_FRAGMENT || protocol == IPPROTO_DSTOPTS ||
	       protocol == IPPROTO_AH;
}

static __always_inline __u32 extension_length(__u8 protocol, const struct extension *extension)
{
	if (protocol == IPPROTO_FRAGMENT)
		return sizeof(*extension);
	if (protocol == IPPROTO_AH) /* RFC 4302 section 2.2 */
		return (extension->length + 2) * 4;
	return (extension->length + 1) * 8;
}

/* Follows the chain behind an IPv6 header to its upper layer, or to the end of what a later
 * fragment shows of it. A chain that is longer than we follow leaves an extension as protocol. */
static __always_inline bool parse_extensions(struct xdp_md *ctx, struct packet *packet)
{
	__u32 offset = packet->offset;
	struct extension extension;

#pragma unroll
	for (int i = 0; i < MAX_EXTENSIONS; i++) {
		__u8 protocol = packet->protocol;
		__u16 fragment;

		if (!is_extension(protocol))
			break;
		/* Rare, so one call instead of two paths for the verifier to follow. */
		if (bpf_xdp_load_bytes(ctx, offset, &extension, sizeof(extension)))
			return false;
		packet->protocol = extension.next;
		offset = (offset + extension_length(protocol, &extension)) & OFFSET_MASK;
		packet->offset = offset;
		if (protocol != IPPROTO_FRAGMENT)
			continue;
		/* Offset 0 without more to come is a whole packet (RFC 6946). */
		fragment = bpf_ntohs(extension.fragment_offset);
		if (!(fragment & (IPV6_OFFSET_MASK | IPV6_MORE_FRAGMENTS)))
			continue;
		if (packet->fragment == WHOLE) {
			packet->id = extension.id;
			packet->hidden = is_extension(extension.next);
		}
		packet->fragment = FIRST_FRAGMENT;
		if (fragment & IPV6_OFFSET_MASK) {
			packet->fragment = LATER_FRAGMENT;
			break;
		}
	}
	return true;
}

static __always_inline bool parse_ipv6(struct xdp_md *ctx, __u32 offset, struct packet *packet)
{
	struct ipv6hdr ip;

	if (!load(ctx, offset, ETH_HLEN, &ip, sizeof(ip)))
		return false;
	__builtin_memcpy(&packet->source, &ip.saddr, sizeof(packet->source));
	__builtin_memcpy(&packet->destination, &ip.daddr, sizeof(packet->destination));
	/* Such an address is no key of ours: the packet must not find an IPv4 service by it. */
	if (is_mapped(&packet->destination)) {
		__builtin_memset(&packet->destination, 0, sizeof(packet->destination));
		return false;
	}
	packet->protocol = ip.nexthdr;
	packet->offset = offset + sizeof(ip);
	packet->end = packet->offset + bpf_ntohs(ip.payload_len);
	/* A jumbogram's length is elsewhere (RFC 2675); it ends where the frame ends. */
	if (!ip.payload_len)
		packet->end = ~0U;
	if (ip.version != 6)
		return false;
	return parse_extensions(ctx, packet);
}

static __always_inline bool load_ports(struct xdp_md *ctx, const struct packet *packet,
				       const __u32 usual, struct ports *ports)
{
	return packet->offset + sizeof(*ports) <= packet->end &&
	       load(ctx, packet->offset, usual, ports, sizeof(*ports));
}

static __always_inline void datagram_key(const struct packet *packet,
					 struct corelane_datagram *key)
{
	key->source = packet->source;
	key->destination = packet->destination;
	key->id = packet->id;
}

/* A first fragment that goes to the kernel takes the rest of its datagram along. */
static __always_inline int pass_first_fragment(const struct packet *packet)
{
	struct corelane_datagram key;
	__u32 mark = 1;

	datagram_key(packet, &key);
	bpf_map_update_elem(&kernel_datagrams, &key, &mark, BPF_ANY);
	return count(CORELANE_PASSED_FRAGMENT, XDP_PASS);
}

/* A first fragment of ours. Its number may have been the kernel's before. */
static __always_inline int redirect_first_fragment(struct xdp_md *ctx,
						   const struct corelane_settings *own,
						   const struct link *link,
						   const struct packet *packet)
{
	struct corelane_datagram key;

	datagram_key(packet, &key);
	bpf_map_delete_elem(&kernel_datagrams, &key);
	return redirect(ctx, own, link, packet, CORELANE_REDIRECTED_FRAGMENT);
}

/* A fragment without ports goes where its first went, and to us if that is not known. */
static __always_inline int judge_later_fragment(struct xdp_md *ctx,
						const struct corelane_settings *own,
						const struct link *link,
						const struct packet *packet)
{
	struct corelane_datagram key;

	if (!is_served(&packet->destination))
		return count(CORELANE_PASSED_OTHER_ADDRESS, XDP_PASS);
	datagram_key(packet, &key);
	if (bpf_map_lookup_elem(&kernel_datagrams, &key))
		return count(CORELANE_PASSED_FRAGMENT, XDP_PASS);
	return redirect(ctx, own, link, packet, CORELANE_REDIRECTED_FRAGMENT);
}

/* Whether a segment opens a connection. One that hides its flags, cut short or in a fragment of its
 * own, counts as such. */
static __always_inline bool is_syn(struct xdp_md *ctx, const struct packet *packet,
				   const __u32 usual)
{
	__u8 flags;

	if (packet->offset + TCP_FLAGS >= packet->end ||
	    !load(ctx, packet->offset + TCP_FLAGS, usual + TCP_FLAGS, &flags, sizeof(flags)))
		return true;
	return (flags & (TCP_SYN | TCP_RST | TCP_ACK)) == TCP_SYN;
}

/* `usual` is where TCP's header is if there are no options. */
static __always_inline int judge_tcp(struct xdp_md *ctx, const struct corelane_settings *own,
				     const struct link *link, struct packet *packet,
				     const __u32 usual)
{
	bool first = packet->fragment == FIRST_FRAGMENT;
	struct corelane_client_ports *range;
	__u32 *service;

	if (!load_ports(ctx, packet, usual, &packet->ports)) {
		if (!is_served(&packet->destination))
			return count(CORELANE_PASSED_OTHER_ADDRESS, XDP_PASS);
		return count(first ? CORELANE_DROPPED_TINY_FRAGMENT : CORELANE_DROPPED_MALFORMED,
			     XDP_DROP);
	}
	/* The usual case first: one look-up. */
	service = find_service(&packet->destination, packet->ports.destination);
	if (service) {
		bool cookie = *service & CORELANE_SENDS_COOKIES;

		packet->opens = (own->syn_interval || cookie) && is_syn(ctx, packet, usual);
		/* What has options or extensions before TCP is rare, and user space's. */
		packet->cookie = packet->opens && cookie && packet->fragment == WHOLE &&
				 packet->offset - link->offset == usual - ETH_HLEN;
	} else {
		range = bpf_map_lookup_elem(&addresses, &packet->destination);
		if (!range)
			return count(CORELANE_PASSED_OTHER_ADDRESS, XDP_PASS);
		if (!is_client_port(range, packet->ports.destination))
			return first ? pass_first_fragment(packet) :
				       count(CORELANE_PASSED_OTHER_PORT, XDP_PASS);
	}
	if (first)
		return redirect_first_fragment(ctx, own, link, packet);
	return redirect(ctx, own, link, packet, CORELANE_REDIRECTED_TCP);
}

/* The source of a TCP segment that an ICMP error quotes: we sent it if that is a port of ours. We
 * send no fragments and no IPv6 extensions, so a quotation with either is not ours. */
static __always_inline bool parse_quotation(struct xdp_md *ctx, __u32 offset, bool ipv6,
					    struct corelane_address *source, __be16 *port)
{
	struct ports ports;

	if (ipv6) {
		struct ipv6hdr ip;

		if (!load_rare(ctx, offset, &ip, sizeof(ip)) || ip.nexthdr != IPPROTO_TCP)
			return false;
		__builtin_memcpy(source, &ip.saddr, sizeof(*source));
		if (is_mapped(source))
			return false;
		offset += sizeof(ip);
	} else {
		struct iphdr ip;

		if (!load_rare(ctx, offset, &ip, sizeof(ip)) || ip.protocol != IPPROTO_TCP ||
		    ip.ihl < 5 || ip.frag_off & bpf_htons(IPV4_OFFSET_MASK))
			return false;
		map_ipv4(source, ip.saddr);
		offset += ip.ihl * 4;
	}
	if (!load_rare(ctx, offset, &ports, sizeof(ports)))
		return false;
	*port = ports.source;
	return true;
}

/* Destination unreachable, source quench, time exceeded, parameter problem (RFC 792); destination
 * unreachable, packet too big, time exceeded, parameter problem (RFC 4443). */
static __always_inline bool is_error(__u8 type, bool ipv6)
{
	if (ipv6)
		return type >= 1 && type <= 4;
	return type == 3 || type == 4 || type == 11 || type == 12;
}

static __always_inline int judge_icmp(struct xdp_md *ctx, const struct corelane_settings *own,
				      const struct link *link, const struct packet *packet)
{
	struct corelane_client_ports *range;
	struct corelane_address source;
	struct icmp icmp;
	__be16 port;

	if (packet->fragment != WHOLE || !load_rare(ctx, packet->offset, &icmp, sizeof(icmp)) ||
	    !is_error(icmp.type, packet->ipv6) ||
	    !parse_quotation(ctx, packet->offset + sizeof(icmp), packet->ipv6, &source, &port))
		return count(CORELANE_PASSED_ICMP, XDP_PASS);
	range = bpf_map_lookup_elem(&addresses, &source);
	if (range && (is_client_port(range, port) || find_service(&source, port)))
		return redirect(ctx, own, link, packet, CORELANE_REDIRECTED_ICMP);
	return count(CORELANE_PASSED_ICMP, XDP_PASS);
}

static __always_inline int judge_ipv4(struct xdp_md *ctx, const struct corelane_settings *own,
				      const struct link *link)
{
	struct packet packet = {};

	if (!parse_ipv4(ctx, link->offset, &packet))
		return malformed(&packet);
	if (packet.protocol == IPPROTO_ICMP)
		return judge_icmp(ctx, own, link, &packet);
	if (packet.protocol != IPPROTO_TCP)
		return count(CORELANE_PASSED_OTHER_PROTOCOL, XDP_PASS);
	if (packet.fragment == LATER_FRAGMENT)
		return judge_later_fragment(ctx, own, link, &packet);
	return judge_tcp(ctx, own, link, &packet, ETH_HLEN + sizeof(struct iphdr));
}

static __always_inline int judge_ipv6(struct xdp_md *ctx, const struct corelane_settings *own,
				      const struct link *link)
{
	struct packet packet = { .ipv6 = true };

	if (!parse_ipv6(ctx, link->offset, &packet)) {
		if (packet.fragment == FIRST_FRAGMENT && is_served(&packet.destination))
			return count(CORELANE_DROPPED_TINY_FRAGMENT, XDP_DROP);
		return malformed(&packet);
	}
	if (packet.fragment == LATER_FRAGMENT) {
		/* Of its protocol it says only what the first fragment started with. */
		if (packet.protocol == IPPROTO_TCP || is_extension(packet.protocol))
			return judge_later_fragment(ctx, own, link, &packet);
		return count(CORELANE_PASSED_OTHER_PROTOCOL, XDP_PASS);
	}
	if (is_extension(packet.protocol)) {
		if (is_served(&packet.destination))
			return count(CORELANE_DROPPED_HEADER_CHAIN, XDP_DROP);
		return count(CORELANE_PASSED_OTHER_ADDRESS, XDP_PASS);
	}
	if (packet.protocol == IPPROTO_TCP)
		return judge_tcp(ctx, own, link, &packet, ETH_HLEN + sizeof(struct ipv6hdr));
	if (packet.protocol == IPPROTO_ICMPV6 && packet.fragment == WHOLE)
		return judge_icmp(ctx, own, link, &packet);
	/* The fragments that follow will not show that they are not TCP. */
	if (packet.fragment == FIRST_FRAGMENT && packet.hidden && is_served(&packet.destination))
		return pass_first_fragment(&packet);
	return count(CORELANE_PASSED_OTHER_PROTOCOL, XDP_PASS);
}

SEC("xdp.frags")
int corelane(struct xdp_md *ctx)
{
	struct link link = { .offset = ETH_HLEN, .priority_tags = true };
	struct corelane_settings *own;
	struct ethhdr ethernet;
	__u32 zero = 0;

	own = bpf_map_lookup_elem(&settings, &zero);
	if (!own || !load(ctx, 0, 0, &ethernet, sizeof(ethernet)))
		return count(CORELANE_PASSED_NOT_IP, XDP_PASS);
	if (!is_same_mac((__u16 *)ethernet.h_dest, own->mac))
		return count(CORELANE_PASSED_OTHER_MAC, XDP_PASS);
	link.protocol = ethernet.h_proto;
	if (!parse_tags(ctx, &link))
		return count(CORELANE_PASSED_MALFORMED, XDP_PASS);
	if (link.unserved_tags && !link.priority_tags)
		return count(CORELANE_PASSED_VLAN, XDP_PASS);
	if (link.protocol == bpf_htons(ETH_P_IP))
		return judge_ipv4(ctx, own, &link);
	if (link.protocol == bpf_htons(ETH_P_IPV6))
		return judge_ipv6(ctx, own, &link);
	/* The kernel takes priority tags off, however many there are. */
	if (is_vlan(link.protocol))
		return count(CORELANE_DROPPED_MALFORMED, XDP_DROP);
	return count(CORELANE_PASSED_NOT_IP, XDP_PASS);
}
