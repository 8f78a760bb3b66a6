/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * SYN cookies (RFC 4987 section 3.6) where SYNs come in: those of a flood cost user space nothing.
 *
 * The answer is what user space would send (src/tcp/syn_cookie.rs), octet for octet but for the time
 * that it says, and user space judges the acknowledgment. Whatever this cannot answer goes to user
 * space as if there were no flood.
 *
 * A program of its own, called at its end by the other: that one stays small, and this one has a
 * stack to itself.
 */
#ifndef CORELANE_SYN_COOKIE_H
#define CORELANE_SYN_COOKIE_H

#include <linux/tcp.h>

/* User space reads its clock once a turn, and may be kept from the CPU within one. What this program
 * says of the time must not be ahead of that, or the peer would take what follows for old (RFC 7323
 * section 5). */
#define CLOCK_LAG_NS 1000000000ULL
#define NS_PER_MS 1000000ULL

/* As in src/tcp/syn_cookie.rs: the steps of the time in a cookie, and how many have one key. */
#define STEP_NS (64 * 1000000000ULL)
#define STEPS_PER_KEY 64
/* And the low bits of its TSval. */
#define TIMESTAMP_BITS 0x3f
#define NO_SCALE 0x0f
#define MOST_SCALE 14
#define SACK_BIT 0x10
#define ECN_BIT 0x20

#define DEFAULT_MSS_IPV4 536
#define DEFAULT_MSS_IPV6 1220

#define TCP_FIN 0x01
#define TCP_ECE 0x40
#define TCP_CWR 0x80

#define OPTION_END 0
#define OPTION_NOP 1
#define OPTION_MSS 2
#define OPTION_SCALE 3
#define OPTION_SACK_PERMITTED 4
#define OPTION_SACK 5
#define OPTION_TIMESTAMPS 8
#define MOST_OPTIONS 40

#define TCP_LEAST sizeof(struct tcphdr)
/* Header, MSS, timestamps with SACK-permitted, window scale. */
#define ANSWER_MOST (TCP_LEAST + 4 + 12 + 4)
/* What Ethernet pads to, and what a shorter answer keeps of a frame that was that long. */
#define LEAST_FRAME 60

/* A SYN on its way from one program to the other. */
struct syn {
	struct corelane_service service; /* to which it is: a key of `cookies` */
	struct corelane_address source;
	__be16 source_port;
	__u16 ip; /* the offset of the IP header */
	__u16 tcp; /* the offset of TCP's, right behind */
	__u16 length; /* of the segment, text included */
	__u32 ipv6; /* whether it is not IPv4 */
	/* Its TCP header; zeroes behind that. Twice as long as it can be, so that no index that the
	 * verifier thinks of is beyond it. */
	__u8 header[128];
	__u32 tsval; /* what it offers; as on the wire */
	__u16 mss;
	__u8 scale;
	/* Volatile, so that each is read where it is used: of what lies in a map the verifier knows
	 * nothing, and does not follow all the values that they may have through all that comes. */
	volatile __u8 offers; /* enum corelane_offers */
	volatile __u32 at; /* the next option */
	volatile __u32 end; /* of the options */
	volatile __u32 illegal;
	__u32 iss; /* of the answer */
	__u32 told; /* its TSval */
	volatile __u32 mss_index;
	volatile __u32 clock_bits;
	volatile __u32 answer_length;
	volatile __u32 answer_flags;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct syn);
} syns SEC(".maps");

/* Services whose SYNs are answered here: those that `services` marks. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, CORELANE_MAX_SERVICES);
	__type(key, struct corelane_service);
	__type(value, struct corelane_cookie);
} cookies SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct corelane_secrets);
} secrets SEC(".maps");

/* SipHash-2-4 (Aumasson and Bernstein). */
struct siphash {
	__u64 v0, v1, v2, v3;
};

static __always_inline __u64 rotate(__u64 word, const int bits)
{
	return word << bits | word >> (64 - bits);
}

static __always_inline void siphash_round(struct siphash *state)
{
	state->v0 += state->v1;
	state->v2 += state->v3;
	state->v1 = rotate(state->v1, 13) ^ state->v0;
	state->v3 = rotate(state->v3, 16) ^ state->v2;
	state->v0 = rotate(state->v0, 32);
	state->v2 += state->v1;
	state->v0 += state->v3;
	state->v1 = rotate(state->v1, 17) ^ state->v2;
	state->v3 = rotate(state->v3, 21) ^ state->v0;
	state->v2 = rotate(state->v2, 32);
}

static __always_inline void siphash_word(struct siphash *state, __u64 word)
{
	state->v3 ^= word;
	siphash_round(state);
	siphash_round(state);
	state->v0 ^= word;
}

static __always_inline void siphash_address(struct siphash *state,
					    const struct corelane_address *address)
{
	siphash_word(state, address->words[0] | (__u64)address->words[1] << 32);
	siphash_word(state, address->words[2] | (__u64)address->words[3] << 32);
}

/* A hash of a flow, as both of those here begin. */
static __always_inline void siphash_flow(struct siphash *state, const __u64 *key,
					 const struct syn *syn)
{
	state->v0 = key[0] ^ 0x736f6d6570736575ULL;
	state->v1 = key[1] ^ 0x646f72616e646f6dULL;
	state->v2 = key[0] ^ 0x6c7967656e657261ULL;
	state->v3 = key[1] ^ 0x7465646279746573ULL;
	siphash_address(state, &syn->service.address);
	siphash_address(state, &syn->source);
}

/* `last` is what is left of the message, its length in the uppermost octet. */
static __always_inline __u64 siphash_finish(struct siphash *state, __u64 last)
{
	siphash_word(state, last);
	state->v2 ^= 0xff;
	siphash_round(state);
	siphash_round(state);
	siphash_round(state);
	siphash_round(state);
	return state->v0 ^ state->v1 ^ state->v2 ^ state->v3;
}

static __always_inline __u32 ports_of(const struct syn *syn)
{
	return (__u32)bpf_ntohs(syn->service.port) << 16 | bpf_ntohs(syn->source_port);
}

static __always_inline __u32 word_at(const struct syn *syn, const __u32 offset)
{
	return *(__u32 *)(syn->header + offset);
}

/* Ones' complement (RFC 1071): sums of words as they are in memory, folded at the end. */
static __always_inline __u16 fold(__u64 sum)
{
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffff) + (sum >> 16 & 0xffff) + (sum >> 32);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return sum;
}

/* The words of an IPv4 address that are more than an IPv4 address are 0 and ffff0000, or ffff in all:
 * zero, in ones' complement. So one sum serves both families. */
static __always_inline __u64 sum_pseudo_header(const struct syn *syn, __u32 length)
{
	__u64 sum = bpf_htons(IPPROTO_TCP) + (__u64)bpf_htonl(length);

#pragma unroll
	for (int i = 0; i < 4; i++) {
		sum += syn->service.address.words[i];
		sum += syn->source.words[i];
	}
	return sum;
}

/* Whether the checksum is right, or is what a kernel leaves that has put it off. Of a SYN with text,
 * which hardly anyone sends, it is not looked at: nothing is kept of what that says. */
static __noinline bool is_intact(const struct syn *syn, const struct corelane_cookie *cookie,
				 __u32 header)
{
	__u64 pseudo = sum_pseudo_header(syn, syn->length);
	__u64 sum = pseudo;

	if (syn->length > header)
		return true;
#pragma unroll
	for (int i = 0; i < 15; i++)
		sum += word_at(syn, 4 * i);
	if (fold(sum) == 0xffff)
		return true;
	return cookie->offers & CORELANE_TAKES_PARTIAL_CHECKSUMS &&
	       fold(pseudo) == *(__u16 *)(syn->header + 16);
}

/* Copies the TCP header of the SYN. Returns its length, or 0 if it is not all there. */
static __noinline __u32 load_header(struct xdp_md *ctx, struct syn *syn)
{
	__u32 rest;

	__builtin_memset(syn->header, 0, 64);
	if (bpf_xdp_load_bytes(ctx, syn->tcp, syn->header, TCP_LEAST))
		return 0;
	rest = (syn->header[12] >> 4) * 4;
	if (rest < TCP_LEAST || rest > syn->length)
		return 0;
	rest -= TCP_LEAST;
	/* It comes in fours; the verifier of 6.1 does not see that what is not 0 is more. */
	if (rest < 4)
		return TCP_LEAST;
	if (rest > MOST_OPTIONS ||
	    bpf_xdp_load_bytes(ctx, syn->tcp + TCP_LEAST, syn->header + TCP_LEAST, rest))
		return 0;
	return rest + TCP_LEAST;
}

/* One option. Only the first of its kind counts. Returns its length; 0 if that is illegal. */
static __always_inline __u32 take_option(struct syn *syn, __u32 at, __u32 end)
{
	__u8 *option = syn->header + (at & 63);
	__u32 length = option[1];
	__u8 legal = length;

	if (length < 2 || at + length > end)
		return 0;
	switch (option[0]) {
	case OPTION_MSS:
		legal = 4;
		if (length == 4 && !(syn->offers & CORELANE_OFFERS_MSS)) {
			syn->mss = option[2] << 8 | option[3];
			syn->offers |= CORELANE_OFFERS_MSS;
		}
		break;
	case OPTION_SCALE:
		legal = 3;
		if (length == 3 && !(syn->offers & CORELANE_OFFERS_SCALE)) {
			syn->scale = option[2];
			syn->offers |= CORELANE_OFFERS_SCALE;
		}
		break;
	case OPTION_SACK_PERMITTED:
		legal = 2;
		syn->offers |= CORELANE_OFFERS_SACK;
		break;
	case OPTION_SACK: /* out of place, and yet: src/wire/tcp.rs wants whole blocks */
		if (length == 2 || (length - 2) % 8)
			return 0;
		break;
	case OPTION_TIMESTAMPS:
		legal = 10;
		if (length == 10 && !(syn->offers & CORELANE_OFFERS_TIMESTAMPS)) {
			__builtin_memcpy(&syn->tsval, option + 2, 4);
			syn->offers |= CORELANE_OFFERS_TIMESTAMPS;
		}
		break;
	}
	return length == legal ? length : 0;
}

/* The option at hand, for bpf_loop. Returns 1 if it is the last, and 0 else. */
static long next_option(__u32 index, struct syn **of)
{
	struct syn *syn = *of;
	__u32 at = syn->at;
	__u32 length = 1;
	__u8 kind;

	(void)index;
	if (at >= syn->end)
		return 1;
	kind = syn->header[at & 63];
	if (kind == OPTION_END)
		return 1;
	if (kind != OPTION_NOP) {
		length = at + 1 < syn->end ? take_option(syn, at, syn->end) : 0;
		syn->illegal = !length;
	}
	syn->at = at + length;
	return length == 0;
}

static __noinline bool parse_options(struct syn *syn, __u32 end)
{
	syn->at = TCP_LEAST;
	syn->end = end;
	syn->illegal = false;
	syn->offers = 0;
	bpf_loop(MOST_OPTIONS, next_option, &syn, 0);
	return !syn->illegal;
}

/* ECN-setup (RFC 3168 section 6.1.1). */
static __always_inline void judge_ecn(struct syn *syn)
{
	if ((syn->header[TCP_FLAGS] & (TCP_ECE | TCP_CWR)) == (TCP_ECE | TCP_CWR))
		syn->offers |= CORELANE_OFFERS_ECN;
}

/* Whether somebody may be there (RFC 1122 sections 3.2.1.3 and 4.2.3.10): user space counts the others
 * by what they are. */
static __always_inline bool has_peer(const struct syn *syn)
{
	const __be32 *words = syn->source.words;
	__u8 first = words[0] & 0xff; /* in memory */

	if (syn->ipv6)
		return first != 0xff && (words[0] || words[1] || words[2] || words[3] & bpf_htonl(~1U));
	first = words[3] & 0xff;
	return first != 0 && first != 127 && first < 224;
}

/* The largest of the sizes that does not exceed the peer's. */
static __always_inline void choose_mss(struct syn *syn, const struct corelane_secrets *secret)
{
	const __u16 *sizes = syn->ipv6 ? secret->mss_ipv6 : secret->mss_ipv4;
	__u16 mss = syn->ipv6 ? DEFAULT_MSS_IPV6 : DEFAULT_MSS_IPV4;
	__u32 index = 0;

	if (syn->offers & CORELANE_OFFERS_MSS)
		mss = syn->mss;
#pragma unroll
	for (__u32 i = 1; i < CORELANE_COOKIE_SIZES; i++)
		index += sizes[i] <= mss;
	syn->mss_index = index;
}

/* The ISS. Fails while the key of this time is not there. */
static __noinline bool make_iss(struct syn *syn, const struct corelane_secrets *secret, __u64 now)
{
	__u64 step = now / STEP_NS;
	__u64 epoch = step / STEPS_PER_KEY;
	const struct corelane_cookie_key *key = &secret->keys[0];
	struct siphash state;
	__u64 irs = bpf_ntohl(word_at(syn, 4));

	if (epoch & 1)
		key = &secret->keys[1];
	if (key->epoch != epoch)
		return false;
	choose_mss(syn, secret);
	siphash_flow(&state, key->key, syn);
	siphash_word(&state, ports_of(syn) | irs << 32);
	siphash_word(&state, step);
	syn->iss = (__u32)siphash_finish(&state, 48ULL << 56) + syn->mss_index;
	return true;
}

/* What is offered, in the low bits of a TSval. */
static __always_inline void choose_clock_bits(struct syn *syn)
{
	__u32 bits = NO_SCALE;

	if (syn->offers & CORELANE_OFFERS_SCALE)
		bits = syn->scale > MOST_SCALE ? MOST_SCALE : syn->scale;
	if (syn->offers & CORELANE_OFFERS_SACK)
		bits |= SACK_BIT;
	if (syn->offers & CORELANE_OFFERS_ECN)
		bits |= ECN_BIT;
	syn->clock_bits = bits;
}

/* The TSval: what the clock has read at most 63 ms ago, and what is offered. */
static __noinline void make_tsval(struct syn *syn, const struct corelane_secrets *secret,
				  __u64 now)
{
	__u32 clock = now / NS_PER_MS;
	struct siphash state;
	__u32 offset, told;

	choose_clock_bits(syn);
	told = (clock & ~TIMESTAMP_BITS) | syn->clock_bits;
	if (syn->clock_bits > (clock & TIMESTAMP_BITS))
		told -= TIMESTAMP_BITS + 1;
	siphash_flow(&state, secret->timestamp_key, syn);
	offset = siphash_finish(&state, 36ULL << 56 | ports_of(syn));
	syn->told = told + (offset ? offset : 1);
}

/* Writes the TCP header of the answer over the SYN's, and zeroes behind it. */
static __noinline void write_tcp(struct syn *syn, const struct corelane_cookie *cookie)
{
	__u32 *words = (__u32 *)syn->header;
	__u32 irs = bpf_ntohl(words[1]);

	syn->answer_length = TCP_LEAST + 4;
	syn->answer_flags = TCP_SYN | TCP_ACK;
	words[0] = bpf_htonl(ports_of(syn));
	words[1] = bpf_htonl(syn->iss);
	words[2] = bpf_htonl(irs + 1);
	words[4] = 0;
	words[5] = bpf_htonl(OPTION_MSS << 24 | 4 << 16 | cookie->mss);
	if (syn->offers & CORELANE_OFFERS_TIMESTAMPS) {
		words[6] = syn->offers & CORELANE_OFFERS_SACK ?
				   bpf_htonl(0x0402080a) : bpf_htonl(0x0101080a);
		words[7] = bpf_htonl(syn->told);
		words[8] = syn->tsval;
		syn->answer_length += 12;
		if (syn->offers & CORELANE_OFFERS_SCALE) {
			words[9] = bpf_htonl(0x01030300 | cookie->window_shift);
			syn->answer_length += 4;
		} else {
			words[9] = 0;
		}
		if (syn->offers & CORELANE_OFFERS_ECN)
			syn->answer_flags |= TCP_ECE;
	} else {
		words[6] = words[7] = words[8] = words[9] = 0;
	}
	words[3] = bpf_htonl(syn->answer_length / 4 << 28 | syn->answer_flags << 16 |
			     cookie->window);
}

static __noinline void checksum_tcp(struct syn *syn, __u32 length)
{
	__u64 sum = sum_pseudo_header(syn, length);

#pragma unroll
	for (int i = 0; i < (int)ANSWER_MOST / 4; i++)
		sum += word_at(syn, 4 * i);
	*(__u16 *)(syn->header + 16) = ~fold(sum);
}

static __noinline bool store_ipv4(struct xdp_md *ctx, const struct syn *syn,
				  const struct corelane_cookie *cookie, __u32 length)
{
	struct iphdr ip = {
		.version = 4,
		.ihl = 5,
		.tos = cookie->traffic_class,
		.tot_len = bpf_htons(sizeof(ip) + length),
		.frag_off = bpf_htons(0x4000), /* DF */
		.ttl = cookie->hop_limit,
		.protocol = IPPROTO_TCP,
		.saddr = syn->service.address.words[3],
		.daddr = syn->source.words[3],
	};
	__u32 *words = (__u32 *)&ip;

	ip.check = ~fold((__u64)words[0] + words[1] + words[2] + words[3] + words[4]);
	return !bpf_xdp_store_bytes(ctx, syn->ip, &ip, sizeof(ip));
}

static __noinline bool store_ipv6(struct xdp_md *ctx, const struct syn *syn,
				  const struct corelane_cookie *cookie, __u32 length)
{
	struct ipv6hdr ip = {
		.payload_len = bpf_htons(length),
		.nexthdr = IPPROTO_TCP,
		.hop_limit = cookie->hop_limit,
	};

	*(__be32 *)&ip = bpf_htonl(6 << 28 | (__u32)cookie->traffic_class << 20);
	__builtin_memcpy(&ip.saddr, &syn->service.address, sizeof(ip.saddr));
	__builtin_memcpy(&ip.daddr, &syn->source, sizeof(ip.daddr));
	return !bpf_xdp_store_bytes(ctx, syn->ip, &ip, sizeof(ip));
}

/* Back to where it came from; a tag stays. */
static __noinline bool swap_macs(struct xdp_md *ctx)
{
	struct {
		__u16 a[3], b[3];
	} macs, swapped;

	if (bpf_xdp_load_bytes(ctx, 0, &macs, sizeof(macs)))
		return false;
	__builtin_memcpy(swapped.a, macs.b, sizeof(swapped.a));
	__builtin_memcpy(swapped.b, macs.a, sizeof(swapped.b));
	return !bpf_xdp_store_bytes(ctx, 0, &swapped, sizeof(swapped));
}

/* The frame becomes its answer. Where this fails at its end, what is left of the SYN is dropped. */
static __noinline bool store_answer(struct xdp_md *ctx, const struct syn *syn,
				    const struct corelane_cookie *cookie, __u32 length)
{
	bool stored = syn->ipv6 ? store_ipv6(ctx, syn, cookie, length) :
				  store_ipv4(ctx, syn, cookie, length);

	if (!stored || length < TCP_LEAST)
		return false;
	/* Or clang makes one comparison of two, of which the verifier learns nothing. */
	asm volatile("" : "+r"(length));
	if (length > ANSWER_MOST)
		return false;
	return !bpf_xdp_store_bytes(ctx, syn->tcp, (void *)syn->header, length) && swap_macs(ctx);
}

/* Makes the frame as long as the answer. Returns whether that was possible. */
static __always_inline bool resize(struct xdp_md *ctx, const struct syn *syn, __u32 length)
{
	int before = bpf_xdp_get_buff_len(ctx);
	int after = syn->tcp + length;

	if (before >= LEAST_FRAME && after < LEAST_FRAME)
		after = LEAST_FRAME;
	return !bpf_xdp_adjust_tail(ctx, after - before);
}

/* XDP_TX, XDP_DROP, or XDP_PASS if it is user space's. */
static __noinline int answer(struct xdp_md *ctx, struct syn *syn,
			     struct corelane_cookie *cookie)
{
	__u64 now = bpf_ktime_get_ns() - CLOCK_LAG_NS;
	struct corelane_secrets *secret;
	__u32 header, length;
	__u32 zero = 0;

	secret = bpf_map_lookup_elem(&secrets, &zero);
	header = load_header(ctx, syn);
	if (!secret || !header || !has_peer(syn) ||
	    (syn->header[TCP_FLAGS] & (TCP_SYN | TCP_RST | TCP_ACK | TCP_FIN)) != TCP_SYN ||
	    !is_intact(syn, cookie, header))
		return XDP_PASS;
	if (!parse_options(syn, header))
		return XDP_PASS;
	judge_ecn(syn);
	/* Only what we go along with; the MSS in any case. */
	syn->offers &= cookie->offers | CORELANE_OFFERS_MSS;
	if (!make_iss(syn, secret, now))
		return XDP_PASS;
	if (syn->offers & CORELANE_OFFERS_TIMESTAMPS)
		make_tsval(syn, secret, now);
	write_tcp(syn, cookie);
	length = syn->answer_length;
	checksum_tcp(syn, length);
	if (!resize(ctx, syn, length))
		return XDP_PASS;
	__sync_fetch_and_add(&cookie->sent, 1);
	return store_answer(ctx, syn, cookie, length) ? XDP_TX : XDP_DROP;
}

#endif
