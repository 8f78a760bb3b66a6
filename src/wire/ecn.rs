//! Codepoints of the IP header's ECN field (RFC 3168 section 5).

/// The transport has no ECN.
pub const NOT_ECT: u8 = 0;
/// The transport has ECN; ECT(1) is not used.
pub const ECT_0: u8 = 2;
/// Congestion experienced.
pub const CE: u8 = 3;
