//! Connections and counters as text.

use std::fmt::Write as _;

use super::options::SocketOptions;
use super::snapshot::{Connection, Stats};

/// What a table says of each connection beyond its two lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Detail {
    /// All that is known of it.
    pub info: bool,
    /// Its options.
    pub options: bool,
}

/// Two lines for each connection, in the manner of `ss -ti`, and what `detail` asks for.
pub fn connections_table(connections: &[Connection], detail: Detail) -> String {
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
    let mut out = String::new();
    for (row, connection) in rows
        .iter()
        .zip(std::iter::once(None).chain(connections.iter().map(Some)))
    {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(widths) {
            // Writing to a string does not fail.
            let _ = write!(line, "{cell:<width$} ");
        }
        out.push_str(line.trim_end());
        out.push('\n');
        let Some(connection) = connection else {
            continue;
        };
        let _ = writeln!(out, "    {}", details(connection));
        if detail.info {
            let _ = writeln!(out, "    {}", info(connection));
        }
        if let Some(options) = connection.options.as_ref().filter(|_| detail.options) {
            let _ = writeln!(out, "    {}", options_line(options));
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

/// The rest of `tcp_info`, in the words of `ss -i` where it has one. What is nothing is left out.
fn info(connection: &Connection) -> String {
    let mut out = String::new();
    let mut say = |name: &str, value: Option<String>| {
        if let Some(value) = value {
            let separator = if out.is_empty() { "" } else { " " };
            let _ = write!(out, "{separator}{name}:{value}");
        }
    };
    let count = |value: u64| (value != 0).then(|| value.to_string());
    let number = |value: Option<u64>| value.map(|value| value.to_string());
    let time = |value: Option<u64>| value.map(millis);
    say("ca_state", connection.ca_state.clone());
    say("backoff", count(connection.timeouts.into()));
    say("probes", count(connection.probes.into()));
    say("ato", time(Some(connection.ato_us)));
    say("pmtu", count(connection.path_mtu.into()));
    say("rcvmss", count(connection.receive_mss.into()));
    say("advmss", count(connection.advertised_mss.into()));
    say("bytes_sent", count(connection.octets_sent));
    say(
        "bytes_retrans",
        count(connection.octets_retransmitted.into()),
    );
    say("bytes_acked", count(connection.octets_acked));
    say("bytes_received", count(connection.octets_received));
    say("segs_out", count(connection.segs_out.into()));
    say("segs_in", count(connection.segs_in.into()));
    say("data_segs_out", count(connection.data_segs_out.into()));
    say("data_segs_in", count(connection.data_segs_in.into()));
    say("lastsnd", time(connection.last_data_sent_us));
    say("lastrcv", time(connection.last_data_received_us));
    say("lastack", time(connection.last_heard_us));
    say("pacing_rate", number(connection.pacing_rate));
    say("delivery_rate", number(connection.delivery_rate));
    say("delivered", number(connection.delivered));
    say("delivered_ce", count(connection.delivered_ce.unwrap_or(0)));
    let busy = connection.busy_us;
    let share = |part: u64| {
        let percent = part as f64 * 100.0 / busy as f64;
        (part != 0).then(|| format!("{}({percent:.1}%)", millis(part)))
    };
    say("busy", (busy != 0).then(|| millis(busy)));
    say("rwnd_limited", share(connection.rwnd_limited_us));
    say("sndbuf_limited", share(connection.sndbuf_limited_us));
    say("notsent", count(connection.unsent.into()));
    say("sacked", count(connection.sacked.into()));
    say("lost", count(connection.lost.into()));
    // As `ss` does, only what is not its default.
    let reordering = connection.reordering.filter(|&it| it != 3);
    say("reordering", number(reordering.map(u64::from)));
    say(
        "reord_seen",
        number(connection.reorderings_seen.map(u64::from)),
    );
    say("dsack_dups", number(connection.dsacks.map(u64::from)));
    say("rcv_rtt", time(connection.receive_rtt_us));
    say("rcv_space", number(connection.receive_space.map(u64::from)));
    say("rcv_limit", count(connection.receive_limit.into()));
    say("rcv_ooopack", count(connection.out_of_order.into()));
    say("minrtt", time(connection.min_rtt_us));
    if connection.ecn {
        out.push_str(" ecn");
    }
    out
}

fn options_line(options: &SocketOptions) -> String {
    let mut out = "options:".to_owned();
    let flags = [
        (options.nodelay, "nodelay"),
        (options.cork, "cork"),
        (options.quickack, "quickack"),
    ];
    for (_, name) in flags.iter().filter(|(set, _)| *set) {
        let _ = write!(out, " {name}");
    }
    let limit = |octets: u32, is_auto: bool| match is_auto {
        true => format!("auto,{octets}"),
        false => octets.to_string(),
    };
    let keepalive = options.keepalive.as_ref().map(|it| {
        let (idle, interval) = (millis(it.idle_us), millis(it.interval_us));
        format!("{idle},{interval},{}", it.count)
    });
    for (name, value) in [
        ("keepalive", keepalive),
        ("user_timeout", options.user_timeout_us.map(millis)),
        ("linger", options.linger_us.map(millis)),
        (
            "rcvbuf",
            Some(limit(options.receive_buffer, options.receive_buffer_auto)),
        ),
        (
            "sndbuf",
            Some(limit(options.send_buffer, options.send_buffer_auto)),
        ),
        (
            "window_clamp",
            options.window_clamp.map(|it| it.to_string()),
        ),
        (
            "notsent_lowat",
            options.notsent_lowat.map(|it| it.to_string()),
        ),
        ("maxseg", options.max_segment.map(|it| it.to_string())),
        ("congestion", Some(options.congestion.clone())),
        ("linger2", Some(millis(options.fin_wait_2_us))),
        (
            "max_pacing_rate",
            options.max_pacing_rate.map(|it| it.to_string()),
        ),
        (
            "tclass",
            (options.traffic_class != 0).then(|| format!("{:#04x}", options.traffic_class)),
        ),
        ("ttl", Some(options.hop_limit.to_string())),
    ] {
        if let Some(value) = value {
            let _ = write!(out, " {name}:{value}");
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
        if !worker.gauges.is_empty() {
            let title = format!("worker on core {}: what it holds now", worker.core);
            section(title, &worker.gauges);
        }
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
        insta::assert_snapshot!(connections_table(&[connection, idle], Detail::default()), @"
        State        Recv-Q Send-Q Local Address:Port Peer Address:Port Core Queue Timer
        ESTABLISHED  0      2896   198.18.0.1:80      198.18.0.2:40000  0    1     retransmission 201.500ms
            reno rtt:0.345ms/0.067ms rto:1000.000ms cwnd:14480 ssthresh:- mss:1448 flight:2896 snd_wnd:64000 rcv_wnd:524288 retrans:3 wscale:7,4 sack ts
        SYN-RECEIVED 0      2896   [fd00::1]:80       198.18.0.2:40000  0    1     -
            reno rtt:- rto:1000.000ms cwnd:14480 ssthresh:2896 mss:1448 flight:2896 snd_wnd:64000 rcv_wnd:524288 retrans:3
        ");
        insta::assert_snapshot!(connections_table(&[], Detail::default()), @"State Recv-Q Send-Q Local Address:Port Peer Address:Port Core Queue Timer");
    }

    #[test]
    fn all_that_is_known_is_said_when_asked_for() {
        let connection = Connection::new(0, &established());
        let detail = Detail {
            info: true,
            options: true,
        };
        let table = connections_table(&[connection], detail);
        let lines: Vec<_> = table.lines().skip(2).map(str::trim).collect();
        insta::assert_snapshot!(lines.join("\n"), @"
        reno rtt:0.345ms/0.067ms rto:1000.000ms cwnd:14480 ssthresh:- mss:1448 flight:2896 snd_wnd:64000 rcv_wnd:524288 retrans:3 wscale:7,4 sack ts
        ato:40.000ms pmtu:1500 rcvmss:1448 advmss:1460 bytes_sent:5000000000 bytes_retrans:4344 bytes_acked:4999992760 segs_out:2000 segs_in:1000 data_segs_out:1990 lastsnd:7.000ms lastack:8.000ms rcv_limit:524288
        options: nodelay user_timeout:30000.000ms rcvbuf:auto,6291456 sndbuf:auto,4194304 congestion:cubic linger2:60000.000ms ttl:64
        ");
    }

    /// In the words of `ss -i`.
    #[test]
    fn what_a_sender_waited_for_is_told_with_its_share() {
        let connection = Connection {
            busy_us: 2_000_000,
            rwnd_limited_us: 500_000,
            sndbuf_limited_us: 1_000,
            delivered_ce: Some(4_344),
            reordering: Some(7),
            ..Connection::new(0, &established())
        };
        let said = info(&connection);
        for expected in [
            " delivered_ce:4344 ",
            " busy:2000.000ms rwnd_limited:500.000ms(25.0%) sndbuf_limited:1.000ms(0.1%) ",
            " reordering:7",
        ] {
            assert!(said.contains(expected), "no {expected} in {said}");
        }
        let plain = Connection {
            reordering: Some(3),
            ..Connection::new(0, &established())
        };
        let said = info(&plain);
        for name in ["busy", "limited:", "delivered_ce", "reordering"] {
            assert!(!said.contains(name), "{name} in {said}");
        }
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
                gauges: counters(&[("flows", 2), ("half_open", 0)]),
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
        worker on core 1: what it holds now
            flows     2
        ");
    }
}
