//! One frame in, one [`Packet`] or the reason why not out.

use super::checksum::Sum;
use super::ethernet::{self, Network};
use super::fragment::{Fragment, Part};
use super::tcp::{Segment, Unverified};
use super::{Address, FlowKey, Link, icmp, ipv4, ipv6};

/// How a received TCP checksum is judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChecksumPolicy {
    /// The whole sum must be right: a real wire.
    Full,
    /// The whole sum, or exactly what a kernel leaves in the field of a segment whose checksum it
    /// has put off (the folded, uncomplemented sum of the pseudo-header, compared modulo 0xffff):
    /// veth, and any device in generic mode.
    FullOrPartial,
}

/// A frame that the XDP program gave us, judged.
#[derive(Clone, Debug)]
pub enum Packet<'a> {
    /// A TCP segment, whole and with a right checksum.
    Tcp {
        /// Where an answer goes.
        link: Link,
        /// The connection it names.
        key: FlowKey,
        /// The two ECN bits of the IP header (RFC 3168 section 5).
        ecn: u8,
        /// The segment.
        segment: Segment<'a>,
    },
    /// An ICMP or ICMPv6 error that quotes a segment which we sent.
    IcmpError {
        /// The flow that it quotes, as we name it.
        key: FlowKey,
        /// SEG.SEQ of the quoted segment (RFC 5927 section 4.1 checks it).
        seq: u32,
        /// What it says.
        error: icmp::IcmpError,
    },
    /// A fragment of a datagram to one of our addresses.
    Fragment {
        /// Where an answer goes.
        link: Link,
        /// The fragment.
        fragment: Fragment<'a>,
    },
}

/// Declares [`Malformed`] with the name of each reason.
macro_rules! reasons {
    ($($(#[$doc:meta])* $reason:ident = $name:literal,)*) => {
        /// Why a frame is no [`Packet`]. Each reason has a counter: its number is its place in
        /// [`ALL`](Self::ALL), its name is [`name`](Self::name).
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum Malformed {
            $($(#[$doc])* $reason,)*
        }

        impl Malformed {
            /// All reasons, in order.
            pub const ALL: &'static [Self] = &[$(Self::$reason,)*];

            /// The reason in snake_case, for counters.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$reason => $name,)*
                }
            }
        }
    };
}

reasons! {
    /// Shorter than an Ethernet header.
    EthernetHeaderTruncated = "ethernet_header_truncated",
    /// Sent to a multicast or broadcast MAC address (RFC 1122 section 4.2.3.10).
    EthernetDestinationGroup = "ethernet_destination_group",
    /// Sent from a multicast or broadcast MAC address.
    EthernetSourceGroup = "ethernet_source_group",
    /// The frame ends in its 802.1Q tag.
    VlanTagTruncated = "vlan_tag_truncated",
    /// More than one tag, or an 802.1ad tag.
    VlanTagsStacked = "vlan_tags_stacked",
    /// Neither IPv4 nor IPv6.
    EtherTypeUnknown = "ether_type_unknown",

    /// The frame ends in the IPv4 header.
    Ipv4HeaderTruncated = "ipv4_header_truncated",
    /// The version is not 4.
    Ipv4VersionWrong = "ipv4_version_wrong",
    /// A header length of less than 20 octets.
    Ipv4HeaderLengthTooSmall = "ipv4_header_length_too_small",
    /// A total length of less than the header.
    Ipv4TotalLengthTooSmall = "ipv4_total_length_too_small",
    /// A total length of more than the frame has.
    Ipv4TotalLengthBeyondFrame = "ipv4_total_length_beyond_frame",
    /// The header's checksum is wrong.
    Ipv4ChecksumWrong = "ipv4_checksum_wrong",
    /// An option with an illegal length.
    Ipv4OptionsIllegal = "ipv4_options_illegal",
    /// A source route (RFC 7126 sections 4.3 and 4.4).
    Ipv4SourceRoute = "ipv4_source_route",

    /// The frame ends in the IPv6 header.
    Ipv6HeaderTruncated = "ipv6_header_truncated",
    /// The version is not 6.
    Ipv6VersionWrong = "ipv6_version_wrong",
    /// A payload length of more than the frame has.
    Ipv6PayloadLengthBeyondFrame = "ipv6_payload_length_beyond_frame",
    /// An IPv4-mapped source address.
    Ipv6SourceMapped = "ipv6_source_mapped",
    /// An IPv4-mapped destination address.
    Ipv6DestinationMapped = "ipv6_destination_mapped",
    /// The packet ends in an extension header.
    Ipv6ExtensionTruncated = "ipv6_extension_truncated",
    /// A chain of more extension headers than RFC 8200 knows.
    Ipv6ExtensionsTooMany = "ipv6_extensions_too_many",
    /// A hop-by-hop options header that is not the first.
    Ipv6HopByHopMisplaced = "ipv6_hop_by_hop_misplaced",
    /// An option with an illegal length.
    Ipv6OptionsIllegal = "ipv6_options_illegal",
    /// An unknown option whose type says to drop the packet.
    Ipv6OptionUnknown = "ipv6_option_unknown",
    /// A routing header that wants the packet sent on.
    Ipv6RoutingSegmentsLeft = "ipv6_routing_segments_left",

    /// The source address is unspecified: ::, or in 0.0.0.0/8.
    SourceUnspecified = "source_unspecified",
    /// The source address is a loopback address.
    SourceLoopback = "source_loopback",
    /// The source address is multicast.
    SourceMulticast = "source_multicast",
    /// The source address is 255.255.255.255.
    SourceBroadcast = "source_broadcast",
    /// The destination address is unspecified: ::, or in 0.0.0.0/8.
    DestinationUnspecified = "destination_unspecified",
    /// The destination address is a loopback address.
    DestinationLoopback = "destination_loopback",
    /// The destination address is multicast (RFC 9293 MUST-57).
    DestinationMulticast = "destination_multicast",
    /// The destination address is 255.255.255.255.
    DestinationBroadcast = "destination_broadcast",
    /// Neither TCP nor the ICMP of the IP version.
    ProtocolUnknown = "protocol_unknown",

    /// A fragment without an octet, or one that others follow and that is no multiple of 8 octets.
    FragmentLengthIllegal = "fragment_length_illegal",
    /// A fragment that ends beyond what a datagram can hold.
    FragmentBeyondDatagram = "fragment_beyond_datagram",
    /// A first fragment without all headers, TCP's included (RFC 7112, RFC 3128).
    FragmentTiny = "fragment_tiny",

    /// The packet ends in the TCP header.
    TcpHeaderTruncated = "tcp_header_truncated",
    /// A data offset of less than 20 octets.
    TcpDataOffsetTooSmall = "tcp_data_offset_too_small",
    /// A data offset of more than the segment has.
    TcpDataOffsetBeyondSegment = "tcp_data_offset_beyond_segment",
    /// The source port is 0.
    TcpSourcePortZero = "tcp_source_port_zero",
    /// The destination port is 0.
    TcpDestinationPortZero = "tcp_destination_port_zero",
    /// Source and destination are the same address and port ("LAND").
    TcpFromItself = "tcp_from_itself",
    /// The checksum is wrong.
    TcpChecksumWrong = "tcp_checksum_wrong",
    /// An option with an illegal length (RFC 9293 MUST-7).
    TcpOptionsIllegal = "tcp_options_illegal",

    /// The packet ends in the ICMP header.
    IcmpHeaderTruncated = "icmp_header_truncated",
    /// The checksum is wrong.
    IcmpChecksumWrong = "icmp_checksum_wrong",
    /// No error, or one that TCP ignores (source quench, redirect).
    IcmpTypeIgnored = "icmp_type_ignored",
    /// The quote has less than an IP header and 8 octets of TCP.
    IcmpQuoteTruncated = "icmp_quote_truncated",
    /// The quote is not of the IP version that brought it.
    IcmpQuoteIllegal = "icmp_quote_illegal",
    /// The quote is not of a TCP segment.
    IcmpQuoteNotTcp = "icmp_quote_not_tcp",
    /// The quote is of a fragment; we send none.
    IcmpQuoteFragment = "icmp_quote_fragment",
    /// The quoted packet did not come from the address that the error was sent to.
    IcmpQuoteForeign = "icmp_quote_foreign",
}

/// An IP packet, judged as far as its IP headers go.
pub(super) struct Datagram<'a> {
    pub(super) source: Address,
    pub(super) destination: Address,
    pub(super) ecn: u8,
    pub(super) upper: Upper<'a>,
}

impl<'a> Datagram<'a> {
    /// Here and not behind the parsers of both versions, so that each is judged by the rules of its own.
    #[inline(always)]
    pub(super) fn judged(
        source: Address,
        destination: Address,
        ecn: u8,
        upper: Upper<'a>,
    ) -> Result<Self, Malformed> {
        check_source(&source)?;
        check_destination(&destination)?;
        Ok(Self {
            source,
            destination,
            ecn,
            upper,
        })
    }
}

/// What an IP packet carries.
pub(super) enum Upper<'a> {
    Tcp(&'a [u8]),
    /// The ICMP of the packet's own version.
    Icmp(&'a [u8]),
    Fragment(Part<'a>),
}

/// Judges one frame. Never panics, whatever the bytes.
pub fn parse(frame: &[u8], checksums: ChecksumPolicy) -> Result<Packet<'_>, Malformed> {
    let (link, network, packet) = ethernet::parse(frame)?;
    let datagram = match network {
        Network::Ipv4 => ipv4::parse(packet)?,
        Network::Ipv6 => ipv6::parse(packet)?,
    };
    match datagram.upper {
        Upper::Tcp(bytes) => parse_segment(link, &datagram, bytes, checksums),
        Upper::Icmp(message) => {
            let (key, seq, error) = icmp::parse(&datagram, message)?;
            Ok(Packet::IcmpError { key, seq, error })
        }
        Upper::Fragment(part) => Ok(Packet::Fragment {
            link,
            fragment: Fragment::new(&datagram, part)?,
        }),
    }
}

fn parse_segment<'a>(
    link: Link,
    datagram: &Datagram<'_>,
    bytes: &'a [u8],
    checksums: ChecksumPolicy,
) -> Result<Packet<'a>, Malformed> {
    let unverified = Unverified::new(bytes)?;
    let key = FlowKey {
        local: datagram.destination,
        remote: datagram.source,
        local_port: unverified.destination_port,
        remote_port: unverified.source_port,
    };
    if key.remote_port == 0 {
        return Err(Malformed::TcpSourcePortZero);
    }
    if key.local_port == 0 {
        return Err(Malformed::TcpDestinationPortZero);
    }
    if key.local_port == key.remote_port && key.local == key.remote {
        return Err(Malformed::TcpFromItself);
    }
    let pseudo_header = Sum::of_pseudo_header(&key, bytes.len() as u32);
    let right = match checksums {
        // First, since it does not touch the payload.
        ChecksumPolicy::FullOrPartial if is_partial(unverified.checksum, pseudo_header) => true,
        _ => Sum::of(bytes).plus(pseudo_header).fold() == 0xffff,
    };
    if !right {
        return Err(Malformed::TcpChecksumWrong);
    }
    let segment = unverified.into_segment()?;
    Ok(Packet::Tcp {
        link,
        key,
        ecn: datagram.ecn,
        segment,
    })
}

/// Whether a checksum field is what a kernel leaves to its device: 0 and 0xffff are one value in
/// one's complement.
fn is_partial(field: u16, pseudo_header: Sum) -> bool {
    field % 0xffff == pseudo_header.fold() % 0xffff
}

/// A source that nobody can answer is nobody's (RFC 1122 sections 3.2.1.3 and 4.2.3.10).
#[inline(always)]
fn check_source(source: &Address) -> Result<(), Malformed> {
    match kind_of(source) {
        Kind::Unicast => Ok(()),
        Kind::Unspecified => Err(Malformed::SourceUnspecified),
        Kind::Loopback => Err(Malformed::SourceLoopback),
        Kind::Multicast => Err(Malformed::SourceMulticast),
        Kind::Broadcast => Err(Malformed::SourceBroadcast),
    }
}

#[inline(always)]
fn check_destination(destination: &Address) -> Result<(), Malformed> {
    match kind_of(destination) {
        Kind::Unicast => Ok(()),
        Kind::Unspecified => Err(Malformed::DestinationUnspecified),
        Kind::Loopback => Err(Malformed::DestinationLoopback),
        Kind::Multicast => Err(Malformed::DestinationMulticast),
        Kind::Broadcast => Err(Malformed::DestinationBroadcast),
    }
}

enum Kind {
    Unicast,
    Unspecified,
    Loopback,
    Multicast,
    Broadcast,
}

/// A broadcast address of a subnet looks like any other: the XDP program gives us only what is for
/// addresses that we serve.
#[inline(always)]
fn kind_of(address: &Address) -> Kind {
    if address.is_ipv4() {
        return match address.ipv4_octets() {
            [0, ..] => Kind::Unspecified,
            [127, ..] => Kind::Loopback,
            [224..=239, ..] => Kind::Multicast,
            [255, 255, 255, 255] => Kind::Broadcast,
            _ => Kind::Unicast,
        };
    }
    match u128::from_be_bytes(*address.octets()) {
        0 => Kind::Unspecified,
        1 => Kind::Loopback,
        n if n >> 120 == 0xff => Kind::Multicast,
        _ => Kind::Unicast,
    }
}

#[cfg(test)]
mod tests;
