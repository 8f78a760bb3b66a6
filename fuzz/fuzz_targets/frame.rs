//! The parser of frames: nothing panics, both policies agree where they must, and what is a segment
//! can be written and read again.
#![no_main]

use corelane::wire::checksum::Sum;
use corelane::wire::emit::{MAX_HEADERS, Route, segment_headers};
use corelane::wire::tcp::MAX_OPTIONS;
use corelane::wire::{ChecksumPolicy, Link, Packet, parse};
use corelane_fuzz::mend_checksums;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    check(data);
    let mut mended = data.to_vec();
    mend_checksums(&mut mended);
    check(&mended);
});

fn check(frame: &[u8]) {
    let full = parse(frame, ChecksumPolicy::Full);
    let partial = parse(frame, ChecksumPolicy::FullOrPartial);
    // The looser policy takes whatever the stricter one does, and reads the same in it.
    if full.is_ok() {
        assert_eq!(format!("{full:?}"), format!("{partial:?}"));
    }
    let Ok(packet) = partial else {
        return;
    };
    match packet {
        Packet::Tcp {
            link,
            key,
            ecn,
            segment,
        } => {
            assert!(segment.payload.len() <= frame.len());
            // Options that only repeat or pad need not fit when they are written anew.
            if segment.header.options.len() > MAX_OPTIONS {
                return;
            }
            let route = Route {
                link: Link {
                    local: link.remote,
                    remote: link.local,
                    ..link
                },
                key: key.reversed(),
                hop_limit: 64,
                traffic_class: ecn,
                identification: 0,
            };
            let payload = (segment.payload.len(), Sum::of(segment.payload));
            let mut again = vec![0; MAX_HEADERS];
            let len = segment_headers(&mut again, &route, &segment.header, payload);
            again.drain(..MAX_HEADERS - len);
            again.extend_from_slice(segment.payload);
            let Ok(Packet::Tcp {
                link: link_again,
                key: key_again,
                ecn: ecn_again,
                segment: segment_again,
            }) = parse(&again, ChecksumPolicy::Full)
            else {
                panic!("what was written is not read: {again:02x?}");
            };
            assert_eq!((link_again, key_again, ecn_again), (link, key, ecn));
            assert_eq!(segment_again, segment);
        }
        Packet::Fragment { fragment, .. } => {
            assert!(!fragment.payload.is_empty());
            assert!(usize::from(fragment.offset) + fragment.payload.len() <= 65_535);
            assert!(usize::from(fragment.headers) <= fragment.payload.len());
        }
        Packet::IcmpError { key, .. } => assert_eq!(key, key.reversed().reversed()),
    }
}
