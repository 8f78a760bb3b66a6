//! SYN cookies by the XDP program: those of a flood then cost no worker anything.
//!
//! A worker says that its queue is full ([`Floods`](super::floods::Floods)). All workers are told to
//! expect the acknowledgments of cookies that they have not sent, and a moment later the program sends
//! them. From then on workers hear once a second how many those were, and judge by that when the flood
//! has ended, as if they had sent them.

use std::collections::BTreeMap;

use super::Running;
use crate::tcp::IsnGenerator;
use crate::time::{Duration, Instant};
use crate::wire::{Address, CookieSecrets, CookieTerms};
use crate::worker::Order;
use crate::xdp::XdpError;

/// How long workers have to hear of it before the program begins; they look every few milliseconds.
pub(super) const NOTICE: Duration = Duration::from_millis(20);
/// The program's clock is a second behind, and so are its keys, with some to spare.
const KEYS_LAG: Duration = Duration::from_secs(2);

/// What the program answers.
#[derive(Debug)]
pub(super) struct Cookies {
    isn: IsnGenerator,
    services: BTreeMap<(Address, u16), Service>,
    /// The first epoch of the keys that it has.
    epoch: Option<u64>,
    /// It was said that it cannot.
    told: bool,
}

#[derive(Debug)]
struct Service {
    terms: CookieTerms,
    /// How many cookies the workers have heard of; none while they get ready.
    sent: Option<u64>,
}

impl Cookies {
    pub(super) fn new(secret: [u8; 32]) -> Self {
        Self {
            isn: IsnGenerator::new(secret),
            services: BTreeMap::new(),
            epoch: None,
            told: false,
        }
    }

    /// Whether there is something to do before long.
    pub(super) fn is_pending(&self) -> bool {
        self.services.values().any(|service| service.sent.is_none())
    }

    /// The keys, if they are to be changed.
    fn new_secrets(&mut self, now: Instant) -> Option<CookieSecrets> {
        let then = Instant::from_nanos(now.as_nanos().saturating_sub(KEYS_LAG.as_nanos()));
        let secrets = self.isn.cookie_secrets(then);
        let [(epoch, _), _] = secrets.keys;
        (self.epoch.replace(epoch) != Some(epoch)).then_some(secrets)
    }
}

impl Running {
    /// Sees to it that the program answers the SYNs of floods, and no others. Where it cannot, the
    /// workers do.
    pub(super) fn answer_floods(&mut self) {
        let mut wanted = self.floods.under_way();
        if wanted.is_empty() && self.cookies.services.is_empty() {
            return;
        }
        if !wanted.is_empty() && !self.program.can_answer() {
            wanted.clear();
            let name = self.device.name();
            self.tell_that_workers_answer(format!(
                "the other end of {name} takes no frames from XDP programs. Where it is, `ethtool -K PEER \
                 gro on` changes that"
            ));
        }
        if let Err(error) = self.change_answers(wanted) {
            self.answer_no_more();
            self.tell_that_workers_answer(error.to_string());
        }
    }

    fn change_answers(
        &mut self,
        wanted: BTreeMap<(Address, u16), CookieTerms>,
    ) -> Result<(), XdpError> {
        self.answer_no_others(&wanted)?;
        if let Some(secrets) = self.cookies.new_secrets(self.clock.now()) {
            self.program.set_cookie_secrets(&secrets)?;
        }
        for ((address, port), terms) in wanted {
            let count = self.answer_flood(address, port, terms)?;
            let workers = self.workers.len().max(1) as u64;
            let share = usize::try_from(count.div_ceil(workers)).unwrap_or(usize::MAX);
            self.order(&Order::CookiesSent {
                address,
                port,
                count: share,
            });
        }
        Ok(())
    }

    /// Gives all SYNs to the workers again. What fails ends with the services.
    pub(super) fn answer_no_more(&mut self) {
        let _ = self.answer_no_others(&BTreeMap::new());
    }

    fn answer_no_others(
        &mut self,
        wanted: &BTreeMap<(Address, u16), CookieTerms>,
    ) -> Result<(), XdpError> {
        let mut result = Ok(());
        let program = &self.program;
        self.cookies.services.retain(|service, _| {
            let stays = wanted.contains_key(service);
            if !stays && let Err(error) = program.stop_cookies(service.0, service.1) {
                result = Err(error);
            }
            stays
        });
        result
    }

    /// The next step of one service. Returns how many cookies the workers have not heard of.
    fn answer_flood(
        &mut self,
        address: Address,
        port: u16,
        terms: CookieTerms,
    ) -> Result<u64, XdpError> {
        let known = self.cookies.services.get_mut(&(address, port));
        let Some(service) = known else {
            let service = Service { terms, sent: None };
            self.cookies.services.insert((address, port), service);
            return Ok(0);
        };
        let Some(before) = service.sent else {
            service.sent = Some(0);
            self.program.send_cookies(address, port, &terms)?;
            return Ok(0);
        };
        let sent = self.program.cookies_sent(address, port)?;
        service.sent = Some(sent);
        if terms != std::mem::replace(&mut service.terms, terms) {
            self.program.send_cookies(address, port, &terms)?;
            service.sent = Some(0);
        }
        Ok(sent.saturating_sub(before))
    }

    fn tell_that_workers_answer(&mut self, reason: String) {
        if !std::mem::replace(&mut self.cookies.told, true) {
            self.tell(Some(format!(
                "the workers send SYN cookies themselves, which takes most of their time in a flood: {reason}"
            )));
        }
    }
}
