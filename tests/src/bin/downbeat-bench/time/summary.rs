//! What is made of what the processes told: pure arithmetic. Instants are nanoseconds of the host's clock,
//! results are microseconds.

use super::told::Told;

/// Nanoseconds as microseconds.
pub(crate) fn micros(nanos: i64) -> f64 {
    nanos as f64 / 1e3
}

/// The latest less the earliest; `None` where somebody has none.
pub(crate) fn spread(instants: impl IntoIterator<Item = Option<i64>>) -> Option<f64> {
    let instants: Option<Vec<i64>> = instants.into_iter().collect();
    let instants = instants?;
    Some(micros(instants.iter().max()?.saturating_sub(*instants.iter().min()?)))
}

/// The one in the middle.
pub(crate) fn median(mut instants: Vec<i64>) -> Option<i64> {
    instants.sort_unstable();
    instants.get(instants.len() / 2).copied()
}

/// The control: the latest read of anything older than a version, over all processes, less the earliest
/// read of it or anything newer. `None` where nobody read the one or the other.
pub(crate) fn overlap(processes: &[Told], version: u64) -> Option<f64> {
    let reads = || processes.iter().flat_map(|told| told.of("reads"));
    let old = reads().filter(|(of, _)| *of < version).filter_map(|(_, numbers)| numbers.get(2)).max()?;
    let new = reads().filter(|(of, _)| *of >= version).filter_map(|(_, numbers)| numbers.get(1)).min()?;
    Some(micros(old.saturating_sub(*new)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(lines: &[&str]) -> Told {
        let mut told = Told::default();
        assert!(lines.iter().all(|line| told.read(line)));
        told
    }

    #[test]
    fn the_spread_needs_everybody() {
        assert_eq!(spread([Some(1_000), Some(9_500), Some(3)]), Some(9.497));
        assert_eq!(spread([Some(7)]), Some(0.0));
        assert_eq!(spread([Some(1), None]), None);
        assert_eq!(spread([]), None);
    }

    #[test]
    fn the_median_is_one_of_them() {
        assert_eq!(median(vec![5, 1, 9]), Some(5));
        assert_eq!(median(vec![]), None);
    }

    #[test]
    fn the_overlap_is_over_all_processes_and_all_that_is_older() {
        // began, first, last, value
        let first = told(&["reads 1 0 100 900 1", "reads 2 0 1100 5000 2"]);
        // It never read version 1 after 700, and skipped version 2.
        let second = told(&["reads 1 0 100 700 1", "reads 3 0 9000 9900 3"]);
        let both = [first, second];
        assert_eq!(overlap(&both, 2), Some(-0.2));
        assert_eq!(overlap(&both, 3), Some(-4.0));
        assert_eq!(overlap(&both, 1), None, "nothing is older");
        assert_eq!(overlap(&both, 4), None, "nobody has read it");
        let behind = told(&["reads 1 0 100 1500 1"]);
        assert_eq!(overlap(&[both[0].clone(), behind], 2), Some(0.4));
    }
}
