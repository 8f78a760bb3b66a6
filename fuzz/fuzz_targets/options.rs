//! TCP's options: whatever stands there is read or refused, and what was read is written and read
//! again as the same.
#![no_main]

use std::net::Ipv4Addr;

use corelane::wire::checksum::Sum;
use corelane::wire::emit::{MAX_HEADERS, Route, segment_headers};
use corelane::wire::tcp::{Flags, HEADER, Header, MAX_OPTIONS, Options, Segment};
use corelane::wire::{Address, ChecksumPolicy, FlowKey, Link, MacAddr, Packet, parse};
use corelane_fuzz::mend_checksums;
use libfuzzer_sys::fuzz_target;

/// The octet of the data offset, behind Ethernet and IPv4.
const DATA_OFFSET: usize = 14 + 20 + 12;

fuzz_target!(|data: &[u8]| {
    let Some((&flags, options)) = data.split_first() else {
        return;
    };
    let options = &options[..options.len().min(MAX_OPTIONS)];
    let Some(segment) = read(Flags(flags), options) else {
        return;
    };
    // A second option of a kind, an unknown one and padding are not kept.
    let kept = &segment.options;
    assert!(kept.len() <= MAX_OPTIONS + 12, "{kept:?}");
    if kept.len() > MAX_OPTIONS {
        return;
    }
    let frame = write(&segment);
    assert_eq!(header_of(&frame).as_ref(), Some(&segment), "{frame:02x?}");
});

fn read(flags: Flags, options: &[u8]) -> Option<Header> {
    let padded = options.len().next_multiple_of(4);
    // A header without options, with room for these where its text would be.
    let header = Header {
        seq: 1,
        flags,
        options: Options::default(),
        ..Header::default()
    };
    let mut frame = write(&header);
    frame.extend_from_slice(options);
    frame.resize(frame.len() + padded - options.len(), 0);
    let total = (frame.len() - 14) as u16;
    frame[16..18].copy_from_slice(&total.to_be_bytes());
    frame[DATA_OFFSET] = (((HEADER + padded) / 4) as u8) << 4;
    mend_checksums(&mut frame);
    header_of(&frame)
}

fn write(header: &Header) -> Vec<u8> {
    let address = |last| Address::from(std::net::IpAddr::V4(Ipv4Addr::new(198, 18, 0, last)));
    let route = Route {
        link: Link {
            local: MacAddr([2, 0, 0, 0, 0, 1]),
            remote: MacAddr([2, 0, 0, 0, 0, 2]),
            vlan: None,
        },
        key: FlowKey {
            local: address(2),
            remote: address(1),
            local_port: 40_000,
            remote_port: 80,
        },
        hop_limit: 64,
        traffic_class: 0,
        identification: 0,
    };
    let mut frame = vec![0; MAX_HEADERS];
    let len = segment_headers(&mut frame, &route, header, (0, Sum::default()));
    frame.drain(..MAX_HEADERS - len);
    frame
}

fn header_of(frame: &[u8]) -> Option<Header> {
    match parse(frame, ChecksumPolicy::Full) {
        Ok(Packet::Tcp {
            segment: Segment { header, payload },
            ..
        }) => {
            assert!(payload.is_empty());
            Some(header)
        }
        Ok(other) => panic!("{other:?}"),
        Err(_) => None,
    }
}
