//! Tickets for web sockets: each authenticates one connection, within ten minutes (docs/protocol.md §26.3).

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use hex_conservative::{DisplayHex, FromHex};
use subtle::ConstantTimeEq;

/// How long a ticket is valid.
const LIFETIME: Duration = Duration::from_secs(600);
/// The most tickets that are valid at a time. One more invalidates the oldest.
const MAX_TICKETS: usize = 1000;

/// The tickets that were issued and not used.
#[derive(Default)]
pub(super) struct Tickets(Mutex<VecDeque<Ticket>>);

struct Ticket {
    secret: [u8; 32],
    issued: Instant,
}

impl Tickets {
    /// A new ticket, 64 hex characters.
    pub(super) fn issue(&self, now: Instant) -> String {
        let secret: [u8; 32] = rand::random();
        let mut tickets = self.valid(now);
        if tickets.len() == MAX_TICKETS {
            tickets.pop_front();
        }
        tickets.push_back(Ticket {
            secret,
            issued: now,
        });
        secret.to_lower_hex_string()
    }

    /// Uses up a ticket. False if it is unknown, used or expired.
    pub(super) fn redeem(&self, ticket: &str, now: Instant) -> bool {
        let Ok(secret) = <[u8; 32]>::from_hex(ticket) else {
            return false;
        };
        let mut tickets = self.valid(now);
        let found = tickets
            .iter()
            .position(|ticket| ticket.secret.ct_eq(&secret).into());
        found.is_some_and(|position| tickets.remove(position).is_some())
    }

    fn valid(&self, now: Instant) -> MutexGuard<'_, VecDeque<Ticket>> {
        let mut tickets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let expired = |ticket: &Ticket| now.duration_since(ticket.issued) >= LIFETIME;
        while tickets.front().is_some_and(expired) {
            tickets.pop_front();
        }
        tickets
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ticket_opens_one_connection() {
        let (tickets, now) = (Tickets::default(), Instant::now());
        let (one, other) = (tickets.issue(now), tickets.issue(now));
        assert_eq!((one.len(), one == other), (64, false));
        assert!(tickets.redeem(&other, now));
        assert!(!tickets.redeem(&other, now));
        assert!(tickets.redeem(&one, now));
        for unknown in ["", "zz", &"0".repeat(64), &"0".repeat(63)] {
            assert!(!tickets.redeem(unknown, now), "{unknown}");
        }
    }

    #[test]
    fn a_ticket_expires_when_it_is_used_too_late() {
        let (tickets, now) = (Tickets::default(), Instant::now());
        let (late, in_time) = (tickets.issue(now), tickets.issue(now));
        assert!(tickets.redeem(&in_time, now + LIFETIME - Duration::from_nanos(1)));
        assert!(!tickets.redeem(&late, now + LIFETIME));
    }

    #[test]
    fn only_the_newest_tickets_are_kept() {
        let (tickets, now) = (Tickets::default(), Instant::now());
        let issued: Vec<String> = (0..=MAX_TICKETS).map(|_| tickets.issue(now)).collect();
        assert!(!tickets.redeem(&issued[0], now));
        assert!(tickets.redeem(&issued[1], now));
        assert!(tickets.redeem(&issued[MAX_TICKETS], now));
    }
}
