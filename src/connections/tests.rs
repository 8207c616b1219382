//! Which connections are closed for which, and what calls may hold.

use std::net::Ipv4Addr;

use futures::FutureExt;
use proptest::prelude::*;
use tokio::time::{advance, timeout};

use super::*;

const MIN_AGE: Duration = Duration::from_millis(250);

fn peer(number: u8) -> IpAddr {
    Ipv4Addr::new(10, 0, 0, number).into()
}

fn port(max: usize) -> Arc<Connections> {
    Connections::new(max, MIN_AGE, Memory::new(10, 50, 80))
}

/// Whether it has to make room.
async fn is_closed(ticket: &Ticket) -> bool {
    timeout(Duration::from_millis(1), ticket.closed()).await.is_ok()
}

fn call(ticket: &Arc<Ticket>) -> Call {
    ticket.call(0).expect("it holds no memory")
}

/// Opens a connection for each text, from addresses of their own and a second apart, and does what the text says. Gives the
/// one that makes room for the next.
async fn closed_first(uses: &[&str]) -> usize {
    let port = port(uses.len());
    let mut open = Vec::new();
    let mut calls = Vec::new();
    for (number, usage) in (0..).zip(uses) {
        let ticket = Arc::new(port.admit(peer(number)).await);
        for step in usage.split_whitespace() {
            advance(Duration::from_secs(1)).await;
            ticket.begun();
            let mut call = call(&ticket);
            match step {
                "asks" => call.answered(),
                "streams" => {
                    call.answered();
                    calls.push(call);
                }
                _ => calls.push(call),
            }
        }
        open.push(ticket);
        advance(Duration::from_secs(1)).await;
    }
    let _next = port.admit(peer(200)).await;
    let mut closed = Vec::new();
    for (number, ticket) in open.iter().enumerate() {
        if is_closed(ticket).await {
            closed.push(number);
        }
    }
    assert_eq!(closed.len(), 1, "{uses:?}: {closed:?}");
    closed[0]
}

#[tokio::test(start_paused = true)]
async fn connection_that_is_least_useful_makes_room() {
    for (uses, expected) in [
        (["", "", "", ""], 0),
        (["streams", "asks", "begins", ""], 3),
        (["streams", "asks", "asks", "begins"], 1),
        (["streams", "streams", "begins", "begins"], 2),
        (["streams", "asks", "asks", "streams"], 1),
        (["streams", "asks asks", "asks", "streams"], 2),
        (["streams", "streams", "streams", "streams"], 0),
        (["streams asks", "streams", "streams", "streams"], 1),
    ] {
        assert_eq!(closed_first(&uses).await, expected, "{uses:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn peer_with_many_connections_makes_room_for_its_own() {
    let port = port(8);
    let other = port.admit(peer(1)).await;
    let mut of_one = Vec::new();
    for _ in 0..7 {
        of_one.push(port.admit(peer(2)).await);
    }
    // Three quarters are its share; what was closed does not count any more.
    assert_eq!(port.open().len(), 7);
    assert!(!is_closed(&other).await);
    assert!(is_closed(&of_one[0]).await && !is_closed(&of_one[1]).await);
    drop((other, of_one));
    assert!(port.open().is_empty());
}

#[tokio::test(start_paused = true)]
async fn connection_that_is_young_gets_time_and_new_ones_wait() {
    let port = port(4);
    let keda = Arc::new(port.admit(peer(0)).await);
    call(&keda).answered();
    let mut stream = call(&keda);
    stream.answered();
    advance(MIN_AGE).await;
    let began = Instant::now();
    let (first, second) = (port.admit(peer(1)).await, port.admit(peer(2)).await);
    let idle = Arc::new(port.admit(peer(3)).await);
    assert_eq!(began.elapsed(), Duration::ZERO);
    let next = port.admit(peer(4)).await;
    assert!(MIN_AGE <= began.elapsed());
    assert!(is_closed(&first).await && !is_closed(&second).await && !is_closed(&keda).await);
    // Where most have had their answer, nobody waits.
    drop((first, second, next));
    let more = [Arc::new(port.admit(peer(5)).await), Arc::new(port.admit(peer(6)).await)];
    more.iter().for_each(|ticket| call(ticket).answered());
    call(&idle).answered();
    let began = Instant::now();
    let _last = port.admit(peer(7)).await;
    assert_eq!(began.elapsed(), Duration::ZERO);
    assert!(is_closed(&idle).await && !is_closed(&keda).await);
    drop(stream);
}

#[tokio::test(start_paused = true)]
async fn connection_is_idle_after_its_last_call() {
    const UNUSED: Duration = Duration::from_secs(10);
    const IDLE: Duration = Duration::from_secs(100);
    let port = port(2);
    let ticket = Arc::new(port.admit(peer(1)).await);
    let idles_after = async || {
        let began = Instant::now();
        ticket.idle(UNUSED, IDLE).await;
        began.elapsed().as_secs()
    };
    assert_eq!(idles_after().await, 10);
    drop(call(&ticket));
    assert_eq!(idles_after().await, 0, "a call without an answer is of no use");
    let mut call = call(&ticket);
    call.answered();
    assert!(timeout(10 * IDLE, ticket.idle(UNUSED, IDLE)).await.is_err(), "a stream is open");
    drop(call);
    assert_eq!(idles_after().await, 100);
}

#[tokio::test]
async fn memory_is_reserved_for_each_connection_and_for_other_peers() {
    let port = port(8);
    let admit = async |number| Arc::new(port.admit(peer(number)).await);
    let (first, second, third) = (admit(1).await, admit(1).await, admit(2).await);
    let mut held = vec![first.hold(10).unwrap(), first.hold(30).unwrap(), second.hold(20).unwrap()];
    assert!(first.hold(1).is_none(), "the address has used up what it shares");
    held.push(second.hold(9).unwrap());
    held.push(second.hold(1).unwrap());
    assert!(second.hold(1).is_none());
    held.push(third.hold(30).unwrap());
    assert!(third.hold(11).is_none(), "all have used up what they share");
    held.push(third.hold(10).unwrap());
    assert!(!held[0].more(usize::MAX), "more than there is");
    drop(held);
    assert_eq!(first.hold(50).map(drop), Some(()));
}

proptest! {
    /// However callers take and give back: the limits hold, and in the end nothing is held.
    #[test]
    fn memory_that_is_held_is_returned(steps in proptest::collection::vec((0_u8..4, 0_usize..40, any::<bool>()), 0..200)) {
        let port = port(8);
        let admit = |number: u8| Arc::new(port.admit(peer(number / 2)).now_or_never().expect("there is room"));
        let tickets: Vec<_> = (0..4).map(admit).collect();
        let mut held: Vec<Held> = Vec::new();
        for (number, bytes, takes) in steps {
            if takes {
                held.extend(tickets[usize::from(number)].hold(bytes));
            } else if !held.is_empty() {
                held.swap_remove(bytes % held.len());
            }
            let total: usize = held.iter().map(Held::bytes).sum();
            prop_assert!(total <= 80 + 4 * 10, "{total}");
        }
        drop(held);
        for ticket in &tickets {
            prop_assert!(ticket.hold(50).is_some());
        }
    }
}
