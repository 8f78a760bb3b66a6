//! The control socket: what the server reads, and what `corelane` reads of a server and prints.
#![no_main]

use corelane::observe::protocol::{Reply, read_reply, read_request, write_line};
use corelane::observe::{Detail, connections_table, denied_table, stats_table, syn_limit_line};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Ok(request) = read_request(data) {
        let mut line = Vec::new();
        write_line(&mut line, &request).expect("memory takes it");
        assert_eq!(read_request(&line[..]).ok(), Some(request));
    }
    let Ok(reply) = read_reply(data) else {
        return;
    };
    let mut line = Vec::new();
    write_line(&mut line, &reply).expect("memory takes it");
    assert_eq!(line.iter().filter(|&&octet| octet == b'\n').count(), 1);
    let again = read_reply(&line[..]).expect("what was written is read");
    assert_eq!(again, reply);
    match reply {
        Reply::Connections(connections) => {
            let detail = Detail {
                info: true,
                options: true,
            };
            connections_table(&connections, detail);
        }
        Reply::Stats(stats) => {
            stats_table(&stats);
        }
        Reply::Denied(denied) => {
            denied_table(&denied);
        }
        Reply::SynLimit(state) => {
            syn_limit_line(&state);
        }
        Reply::Done | Reply::Error(_) => {}
    }
});
