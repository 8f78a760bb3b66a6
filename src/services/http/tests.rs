//! The protocol in [conversations](super::conversation).

use proptest::collection::vec;
use proptest::prelude::*;

use super::connection::Connection;
use super::conversation::{converse, cut, seen, whole};
use super::limits::Limits;
use super::request::MAX_HEAD;
use crate::services::output::Pipe;
use crate::time::Instant;

/// What [`Limits`] say by default.
const MAX_CONTENT: u64 = 1 << 20;

const HELLO: &str =
    "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 13\r\n\r\nhello, world\n";
const NOT_FOUND: &str = "HTTP/1.1 404 Not Found\r\nContent-Type: text/plain\r\n\
    Content-Length: 14\r\n\r\n404 Not Found\n";

fn refusal(line: &str) -> String {
    let len = line.len() + 1;
    format!(
        "HTTP/1.1 {line}\r\nContent-Type: text/plain\r\nContent-Length: {len}\r\n\
         Connection: close\r\n\r\n{line}\n"
    )
}

/// The request is answered with `expected`, after which another one is.
fn assert_stays(request: &str, expected: &str) {
    let next = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    let outcome = whole(format!("{request}{next}").as_bytes());
    assert_eq!(outcome.sent, format!("{expected}{HELLO}"), "{request:?}");
    assert!(!outcome.shut_first && outcome.closed && !outcome.aborted);
}

/// The request is answered with `expected`, after which nothing is.
fn assert_ends(request: &str, expected: &str) {
    let next = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    let outcome = whole(format!("{request}{next}").as_bytes());
    assert_eq!(outcome.sent, expected, "{request:?}");
    assert!(outcome.shut_first && outcome.closed && !outcome.aborted);
}

#[test]
fn hello() {
    assert_stays("GET / HTTP/1.1\r\nHost: a\r\n\r\n", HELLO);
    assert_stays("GET /?x=1 HTTP/1.1\r\nhOST: [fd00::1]:80\r\n\r\n", HELLO);
    assert_stays("GET http://a HTTP/1.1\r\nHost:\r\n\r\n", HELLO);
    // RFC 9112 section 2.2 allows empty lines before a request and bare LFs.
    assert_stays("\r\n\n\r\nGET / HTTP/1.1\nHost: a\n\n", HELLO);
}

#[test]
fn head_is_get_without_content() {
    let (head, _) = HELLO.split_at(HELLO.len() - 13);
    assert_stays("HEAD / HTTP/1.1\r\nHost: a\r\n\r\n", head);
    assert_stays(
        "HEAD /bytes/1099511627776 HTTP/1.1\r\nHost: a\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 1099511627776\r\n\r\n",
    );
    let (head, _) = NOT_FOUND.split_at(NOT_FOUND.len() - 14);
    assert_stays("HEAD /x HTTP/1.1\r\nHost: a\r\n\r\n", head);
    let refused = refusal("400 Bad Request");
    let (head, _) = refused.split_at(refused.len() - 16);
    assert_ends("HEAD / HTTP/1.1\r\n\r\n", head);
    assert_eq!(whole(b"HEAD / HT").sent, head);
}

#[test]
fn bytes() {
    for len in [
        0,
        1,
        94,
        95,
        96,
        1459,
        1460,
        1461,
        3039,
        3040,
        3041,
        65_536,
        1 << 20,
    ] {
        let body: String = (0..len)
            .map(|i| char::from(0x20 + (i % 95) as u8))
            .collect();
        assert_stays(
            &format!("GET /bytes/{len} HTTP/1.1\r\nHost: a\r\n\r\n"),
            &format!(
                "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {len}\r\n\r\n\
                 {body}"
            ),
        );
    }
}

#[test]
fn no_such_resource() {
    for path in [
        "/x",
        "/bytes",
        "/bytes/",
        "/bytes/+1",
        "/bytes/-1",
        "/bytes/1/",
        "/bytes/1099511627777",
        "/bytes/99999999999999999999999",
        "//",
        "http://a/x",
    ] {
        assert_stays(
            &format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n"),
            NOT_FOUND,
        );
    }
    assert_stays("POST /x HTTP/1.1\r\nHost: a\r\n\r\n", NOT_FOUND);
}

#[test]
fn no_such_method() {
    let expected = "HTTP/1.1 405 Method Not Allowed\r\nContent-Type: text/plain\r\n\
        Content-Length: 23\r\nAllow: GET, HEAD\r\n\r\n405 Method Not Allowed\n";
    for line in [
        "POST /",
        "PUT /bytes/1",
        "get /",
        "OPTIONS *",
        "CONNECT a:80",
    ] {
        assert_stays(&format!("{line} HTTP/1.1\r\nHost: a\r\n\r\n"), expected);
    }
}

#[test]
fn http_1_0_closes_unless_asked_not_to() {
    let close = HELLO.replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n");
    let stay = HELLO.replace("\r\n\r\n", "\r\nConnection: keep-alive\r\n\r\n");
    assert_ends("GET / HTTP/1.0\r\n\r\n", &close);
    assert_stays("GET / HTTP/1.0\r\nconnection: Keep-Alive\r\n\r\n", &stay);
    assert_ends(
        "GET / HTTP/1.0\r\nConnection: keep-alive, close\r\n\r\n",
        &close,
    );
    assert_ends(
        "GET / HTTP/1.1\r\nHost: a\r\nConnection: x ,\tCLOSE\r\n\r\n",
        &close,
    );
    assert_stays(
        "GET / HTTP/1.1\r\nHost: a\r\nConnection: keep-alive\r\n\r\n",
        HELLO,
    );
}

#[test]
fn malformed_requests_end_the_connection() {
    for request in [
        "GET / HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a b\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n",
        "GET /\r\nHost: a\r\n\r\n",
        "GET  / HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET / HTTP/1.1 \r\nHost: a\r\n\r\n",
        "GET / HTTQ/1.1\r\nHost: a\r\n\r\n",
        "GET x HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET * HTTP/1.1\r\nHost: a\r\n\r\n",
        "G\0T / HTTP/1.1\r\nHost: a\r\n\r\n",
        "\x16\x03\x01\x02",
        // Obsolete line folding, space before the colon, before the first field; bare CR; NUL.
        "GET / HTTP/1.1\r\nHost: a\r\nX: b\r\n c\r\n\r\n",
        "GET / HTTP/1.1\r\nHost : a\r\n\r\n",
        "GET / HTTP/1.1\r\n Host: a\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\rX: b\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nX: b\0\r\n\r\n",
        "\rGET / HTTP/1.1\r\nHost: a\r\n\r\n",
    ] {
        assert_ends(request, &refusal("400 Bad Request"));
    }
}

#[test]
fn requests_are_not_smuggled() {
    for fields in [
        "Content-Length: 5\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\ncontent-length: 5",
        "Content-Length: 5\r\nContent-Length: 6",
        "Content-Length: 5\r\nContent-Length: 5",
        "Content-Length: 5, 6",
        "Content-Length: +5",
        "Content-Length: 0x5",
        "Content-Length: 5 5",
        "Content-Length:",
        "Content-Length: 18446744073709551616",
        "Content-Length : 5",
        "Transfer-Encoding\x0b: chunked",
    ] {
        let request = format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n\r\n");
        assert_ends(&request, &refusal("400 Bad Request"));
    }
    for coding in ["chunked", "identity", "xchunked", "", "gzip, chunked"] {
        let head = format!("Host: a\r\nTransfer-Encoding: {coding}\r\n\r\n0\r\n\r\n");
        assert_ends(
            &format!("GET / HTTP/1.1\r\n{head}"),
            &refusal("501 Not Implemented"),
        );
        assert_ends(
            &format!("GET / HTTP/1.0\r\n{head}"),
            &refusal("400 Bad Request"),
        );
    }
}

#[test]
fn other_versions() {
    for version in ["HTTP/2.0", "HTTP/1.2", "HTTP/0.9", "HTTP/9"] {
        let request = format!("GET / {version}\r\nHost: a\r\n\r\n");
        assert_ends(&request, &refusal("505 HTTP Version Not Supported"));
    }
    assert_ends(
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        &refusal("505 HTTP Version Not Supported"),
    );
}

#[test]
fn heads_have_limits() {
    let with = |fields: &str| format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n");
    let too_large = refusal("431 Request Header Fields Too Large");
    let fields = |count| "X: y\r\n".repeat(count);
    assert_stays(&with(&fields(63)), HELLO);
    assert_ends(&with(&fields(64)), &too_large);
    let padded = |len: usize| {
        let empty = with("X: \r\n");
        with(&format!("X: {}\r\n", "y".repeat(len - empty.len())))
    };
    assert_stays(&padded(MAX_HEAD), HELLO);
    assert_ends(&padded(MAX_HEAD + 1), &too_large);
    let target = format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "x".repeat(MAX_HEAD));
    assert_ends(&target, &refusal("414 URI Too Long"));
}

#[test]
fn content_is_skipped() {
    let request = |len: u64| format!("GET / HTTP/1.1\r\nHost: a\r\nContent-Length: {len}\r\n\r\n");
    assert_stays(&request(0), HELLO);
    assert_stays(&format!("{}GET /", request(5)), HELLO);
    let largest = format!(
        "{}{}",
        request(MAX_CONTENT),
        "x".repeat(MAX_CONTENT as usize)
    );
    assert_stays(&largest, HELLO);
    assert_ends(&request(MAX_CONTENT + 1), &refusal("413 Content Too Large"));
    assert_ends(&request(u64::MAX), &refusal("413 Content Too Large"));
    assert_eq!(
        whole(request(5).as_bytes()).sent,
        refusal("400 Bad Request")
    );
}

#[test]
fn expect_100_continue() {
    let request = |target: &str, rest: &str| {
        format!("PUT {target} HTTP/1.1\r\nHost: a\r\nExpect: 100-Continue\r\n{rest}\r\n")
            .replace("PUT / ", "GET / ")
    };
    let length = "Content-Length: 3\r\n";
    let go_on = format!("HTTP/1.1 100 Continue\r\n\r\n{HELLO}");
    assert_stays(&format!("{}abc", request("/", length)), &go_on);
    assert_stays(&request("/", ""), HELLO);
    // Not invited, the content may come or not.
    let closing = NOT_FOUND.replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n");
    assert_ends(&request("/x", length), &closing);
}

#[test]
fn what_follows_the_end_is_bounded() {
    let request = b"GET / HTTP/1.0\r\n\r\n";
    let piece = vec![b'x'; 1 << 16];
    let outcome = |count| {
        let mut pieces: Vec<&[u8]> = vec![request];
        pieces.extend(std::iter::repeat_n(&piece[..], count));
        converse(&pieces, &[usize::MAX >> 1], 1460)
    };
    assert!(!outcome(16).aborted);
    assert!(outcome(17).aborted);
}

#[test]
fn a_whole_head_allocates_nothing() {
    let mut connection = Connection::new(&Limits::default(), Instant::ZERO);
    let mut pipe = Pipe::new(10_000, 1460);
    connection.handle_data(&mut pipe, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(connection.partial_capacity(), 0);
    connection.handle_data(&mut pipe, b"GET / HTTP/1.1\r\nHost");
    assert_ne!(connection.partial_capacity(), 0);
    connection.handle_data(&mut pipe, b": a\r\n\r\n");
    assert_eq!(connection.partial_capacity(), 0);
    assert_eq!(pipe.sent, [HELLO, HELLO].concat().as_bytes());
}

#[test]
fn a_connection_is_small() {
    assert!(
        size_of::<Connection>() <= 128,
        "{}",
        size_of::<Connection>()
    );
}

fn request() -> impl Strategy<Value = String> {
    let method = prop_oneof![6 => Just("GET"), 2 => Just("HEAD"), 1 => Just("POST")];
    let target = prop_oneof![
        4 => Just("/".to_owned()),
        4 => (0u32..20_000).prop_map(|len| format!("/bytes/{len}")),
        1 => Just("/nothing?here".to_owned()),
        1 => Just("*".to_owned()),
    ];
    let version = prop_oneof![20 => Just("1.1"), 4 => Just("1.0"), 1 => Just("3.0")];
    let field = prop_oneof![
        4 => Just(String::new()),
        4 => "[a-z]{1,9}: [ -~]{0,99}\r\n".prop_map(|field| format!("X-{field}")),
        2 => Just("Connection: keep-alive\r\n".to_owned()),
        1 => Just("Connection: close\r\n".to_owned()),
        1 => Just("Host: b\r\n".to_owned()),
        1 => Just("Transfer-Encoding: chunked\r\n".to_owned()),
        1 => (4000usize..9000).prop_map(|len| format!("Y: {}\r\n", "y".repeat(len))),
        1 => (60usize..66).prop_map(|count| "Z: z\r\n".repeat(count)),
    ];
    let content = prop_oneof![4 => Just(None), 1 => (0usize..3000, any::<bool>()).prop_map(Some)];
    (method, target, version, field, content).prop_map(
        |(method, target, version, field, content)| {
            let (fields, content) = match content {
                None => (String::new(), String::new()),
                Some((len, expects)) => (
                    format!(
                        "Content-Length: {len}\r\n{}",
                        if expects {
                            "Expect: 100-continue\r\n"
                        } else {
                            ""
                        }
                    ),
                    "GET / HTTP/1.1\n\n".repeat(len / 16 + 1)[..len].to_owned(),
                ),
            };
            format!("{method} {target} HTTP/{version}\r\nHost: a\r\n{fields}{field}\r\n{content}")
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn neither_pieces_nor_room_change_the_answer(
        requests in vec(request(), 1..8),
        damage in proptest::option::weighted(0.3, (any::<u16>(), any::<u8>())),
        missing in prop_oneof![3 => Just(0usize), 1 => 0usize..200],
        cuts in vec(any::<u16>(), 0..40),
        rooms in vec(prop_oneof![0usize..4, 1usize..40_000], 1..20),
        piece in prop_oneof![1usize..20, Just(1460usize)],
    ) {
        let mut stream = requests.concat().into_bytes();
        stream.truncate(stream.len().saturating_sub(missing));
        if let Some((at, octet)) = damage && !stream.is_empty() {
            let at = (usize::from(at) * stream.len()) >> 16;
            stream[at] = octet;
        }
        let mut rooms = rooms;
        rooms.push(1000);
        prop_assert_eq!(seen(whole(&stream)), seen(converse(&cut(&stream, &cuts), &rooms, piece)));
    }

    #[test]
    fn octet_by_octet_is_the_same(requests in vec(request(), 1..4)) {
        let stream = requests.concat().into_bytes();
        let octets: Vec<&[u8]> = stream.chunks(1).collect();
        prop_assert_eq!(seen(whole(&stream)), seen(converse(&octets, &[1 << 20], 1460)));
    }

    #[test]
    fn noise_does_no_harm(
        noise in vec(prop_oneof![any::<u8>(), proptest::sample::select(&b"\r\n :/GET"[..])], 0..300),
        cuts in vec(any::<u16>(), 0..20),
        valid_first: bool,
    ) {
        let mut stream = Vec::new();
        if valid_first {
            stream.extend_from_slice(b"GET / HTTP/1.1\r\nHost: a\r\n");
        }
        stream.extend_from_slice(&noise);
        prop_assert_eq!(seen(whole(&stream)), seen(converse(&cut(&stream, &cuts), &[7], 3)));
    }
}
