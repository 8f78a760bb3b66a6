//! HTTP: a stream of requests is answered alike, however it is cut and however slowly the answers
//! leave; buffers stay small.
#![no_main]

use corelane::services::http::conversation::check_cuts;
use libfuzzer_sys::fuzz_target;

/// Octets at the beginning that say how it is cut.
const KNOBS: usize = 12;

fuzz_target!(|data: &[u8]| {
    let Some((knobs, stream)) = data.split_first_chunk::<KNOBS>() else {
        return;
    };
    let [count, piece, a, b, cuts @ ..] = *knobs;
    let cuts = cuts
        .as_chunks::<2>()
        .0
        .iter()
        .copied()
        .map(u16::from_be_bytes);
    let mut cuts: Vec<u16> = cuts.take(usize::from(count % 5)).collect();
    // Every so often, octet by octet.
    if count >= 0xf0 {
        cuts = (0..=u16::MAX)
            .step_by(65_536 / stream.len().clamp(1, 4_096))
            .collect();
    }
    let rooms = [usize::from(a), 1 + usize::from(b) * 16];
    check_cuts(stream, &cuts, &rooms, 1 + usize::from(piece) * 8);
});
