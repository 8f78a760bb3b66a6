//! Connections and counters as text.

use std::fmt::Write as _;

use super::snapshot::{Connection, Stats};

/// Two lines for each connection, in the manner of `ss -ti`.
pub fn connections_table(connections: &[Connection]) -> String {
    let header = [
        "State",
        "Recv-Q",
        "Send-Q",
        "Local Address:Port",
        "Peer Address:Port",
        "Core",
        "Queue",
        "Timer",
    ];
    let mut rows = vec![header.map(str::to_owned)];
    rows.extend(connections.iter().map(row));
    let mut widths = [0; 8];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.len().max(*width);
        }
    }
    let details = connections.iter().map(details);
    let mut out = String::new();
    for (row, details) in rows
        .iter()
        .zip(std::iter::once(None).chain(details.map(Some)))
    {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(widths) {
            // Writing to a string does not fail.
            let _ = write!(line, "{cell:<width$} ");
        }
        out.push_str(line.trim_end());
        out.push('\n');
        if let Some(details) = details {
            let _ = writeln!(out, "    {details}");
        }
    }
    out
}

fn row(connection: &Connection) -> [String; 8] {
    let timer = match (&connection.timer, connection.timer_expires_us) {
        (Some(name), Some(left)) => format!("{name} {}", millis(left)),
        _ => "-".to_owned(),
    };
    [
        connection.state.clone(),
        connection.receive_queue.to_string(),
        connection.send_queue.to_string(),
        connection.local().to_string(),
        connection.peer().to_string(),
        connection.core.to_string(),
        connection.queue.to_string(),
        timer,
    ]
}

fn details(connection: &Connection) -> String {
    let mut out = connection.congestion.clone();
    let or_dash = |value: Option<String>| value.unwrap_or_else(|| "-".to_owned());
    let rtt = connection
        .rtt_us
        .map(|rtt| format!("{}/{}", millis(rtt), millis(connection.rttvar_us)));
    let _ = write!(
        out,
        " rtt:{} rto:{} cwnd:{} ssthresh:{} mss:{} flight:{} snd_wnd:{} rcv_wnd:{} retrans:{}",
        or_dash(rtt),
        millis(connection.rto_us),
        connection.cwnd,
        or_dash(connection.ssthresh.map(|value| value.to_string())),
        connection.mss,
        connection.flight_size,
        connection.send_window,
        connection.receive_window,
        connection.retransmissions,
    );
    if connection.send_window_scale != 0 || connection.receive_window_scale != 0 {
        let _ = write!(
            out,
            " wscale:{},{}",
            connection.send_window_scale, connection.receive_window_scale
        );
    }
    for (used, name) in [(connection.sack, " sack"), (connection.timestamps, " ts")] {
        if used {
            out.push_str(name);
        }
    }
    out
}

/// Microseconds as milliseconds.
fn millis(micros: u64) -> String {
    format!("{}.{:03}ms", micros / 1_000, micros % 1_000)
}

/// The counters that are not 0, by who counts.
pub fn stats_table(stats: &Stats) -> String {
    let mut out = String::new();
    let mut section = |title: String, counters: &std::collections::BTreeMap<String, u64>| {
        let _ = writeln!(out, "{title}");
        let width = counters.keys().map(String::len).max().unwrap_or(0);
        let mut empty = true;
        for (name, value) in counters.iter().filter(|(_, value)| **value != 0) {
            let _ = writeln!(out, "    {name:<width$} {value}");
            empty = false;
        }
        if empty {
            out.push_str("    (all 0)\n");
        }
    };
    section("XDP program (frames)".to_owned(), &stats.xdp);
    section("stack (all workers)".to_owned(), &stats.stack);
    for worker in &stats.workers {
        section(format!("worker on core {}", worker.core), &worker.counters);
    }
    for queue in &stats.queues {
        let title = format!("queue {} (core {})", queue.queue, queue.core);
        section(title, &queue.counters);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::super::snapshot::tests::established;
    use super::*;
    use crate::observe::Worker;

    #[test]
    fn connections_read_like_those_of_ss() {
        let connection = Connection::new(0, &established());
        let idle = Connection {
            state: "SYN-RECEIVED".to_owned(),
            timer: None,
            timer_expires_us: None,
            rtt_us: None,
            ssthresh: Some(2_896),
            sack: false,
            timestamps: false,
            send_window_scale: 0,
            receive_window_scale: 0,
            local_address: "fd00::1".parse().unwrap(),
            ..connection.clone()
        };
        insta::assert_snapshot!(connections_table(&[connection, idle]), @"
        State        Recv-Q Send-Q Local Address:Port Peer Address:Port Core Queue Timer
        ESTABLISHED  0      2896   198.18.0.1:80      198.18.0.2:40000  0    1     retransmission 201.500ms
            reno rtt:0.345ms/0.067ms rto:1000.000ms cwnd:14480 ssthresh:- mss:1448 flight:2896 snd_wnd:64000 rcv_wnd:524288 retrans:3 wscale:7,4 sack ts
        SYN-RECEIVED 0      2896   [fd00::1]:80       198.18.0.2:40000  0    1     -
            reno rtt:- rto:1000.000ms cwnd:14480 ssthresh:2896 mss:1448 flight:2896 snd_wnd:64000 rcv_wnd:524288 retrans:3
        ");
        insta::assert_snapshot!(connections_table(&[]), @"State Recv-Q Send-Q Local Address:Port Peer Address:Port Core Queue Timer");
    }

    #[test]
    fn counters_of_0_are_left_out() {
        let counters = |values: &[(&str, u64)]| {
            values
                .iter()
                .map(|(name, value)| ((*name).to_owned(), *value))
                .collect()
        };
        let stats = Stats {
            xdp: counters(&[("redirected_tcp", 12), ("passed_icmp", 0)]),
            stack: counters(&[("dropped_checksum", 0)]),
            workers: vec![Worker {
                core: 1,
                counters: counters(&[("turns", 3)]),
            }],
            queues: Vec::new(),
        };
        insta::assert_snapshot!(stats_table(&stats), @"
        XDP program (frames)
            redirected_tcp 12
        stack (all workers)
            (all 0)
        worker on core 1
            turns 3
        ");
    }
}
