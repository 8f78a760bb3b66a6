//! Which worker has which queues.

use super::ServeError;

/// A worker to be: its core and its queues.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Share {
    pub(super) core: usize,
    pub(super) queues: Vec<u32>,
}

/// Deals `queues` queues round to workers on the cores that were `asked` for, or else on as many of
/// those `available` as there are queues. No worker is without a queue.
pub(super) fn deal(
    queues: u32,
    asked: &[usize],
    available: &[usize],
) -> Result<Vec<Share>, ServeError> {
    if let Some(core) = asked.iter().find(|core| !available.contains(core)) {
        let available: Vec<_> = available.iter().map(ToString::to_string).collect();
        return Err(ServeError::NoSuchCore {
            core: *core,
            available: available.join(", "),
        });
    }
    let cores = if asked.is_empty() { available } else { asked };
    if cores.is_empty() {
        return Err(ServeError::NoCores);
    }
    let workers = cores.len().min(queues as usize);
    let mut shares: Vec<_> = cores[..workers]
        .iter()
        .map(|&core| Share {
            core,
            queues: Vec::new(),
        })
        .collect();
    for (queue, worker) in (0..queues).zip((0..workers).cycle()) {
        shares[worker].queues.push(queue);
    }
    Ok(shares)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dealt(queues: u32, asked: &[usize], available: &[usize]) -> Vec<(usize, Vec<u32>)> {
        let shares = deal(queues, asked, available).unwrap();
        let pair = |share: Share| (share.core, share.queues);
        shares.into_iter().map(pair).collect()
    }

    #[test]
    fn queues_are_dealt_round() {
        assert_eq!(dealt(1, &[], &[0, 1]), [(0, vec![0])]);
        assert_eq!(dealt(2, &[], &[0, 1]), [(0, vec![0]), (1, vec![1])]);
        assert_eq!(
            dealt(5, &[], &[0, 1]),
            [(0, vec![0, 2, 4]), (1, vec![1, 3])]
        );
        assert_eq!(dealt(2, &[1], &[0, 1]), [(1, vec![0, 1])]);
        assert_eq!(dealt(2, &[1, 0], &[0, 1]), [(1, vec![0]), (0, vec![1])]);
        assert_eq!(dealt(1, &[1, 0], &[0, 1]), [(1, vec![0])]);
    }

    #[test]
    fn a_core_that_is_not_there_is_named() {
        let error = deal(2, &[0, 7], &[0, 1]).unwrap_err().to_string();
        assert_eq!(error, "there is no core 7 for us here: the cores are 0, 1");
        assert!(deal(1, &[], &[]).is_err());
    }
}
