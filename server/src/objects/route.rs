//! The cheapest way to a generation, of the objects that there are. Pure: which objects are made is
//! decided elsewhere.

use downbeat_core::ids::Generation;
use downbeat_core::message::{ObjectRef, ROUTE_MAX, Route};

/// An object that a route may have.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Edge {
    /// `None`: a snapshot.
    pub(super) base: Option<Generation>,
    pub(super) target: Generation,
    pub(super) object: ObjectRef,
}

/// The objects with the fewest bytes, at most [`ROUTE_MAX`], that lead to `target`: from `have`, or
/// from nothing. `None` where no such objects are among these. It is never empty: to what somebody
/// has already no object leads, but the one that changes nothing, if there is one.
pub(super) fn cheapest(edges: &[Edge], have: Option<Generation>, target: Generation) -> Option<Route> {
    // The cheapest ways found to each generation, by their number of objects: longer ones only where
    // they cost less.
    let mut ways: Vec<(Generation, u64, Route)> = Vec::new();
    let begins = |edge: &&Edge| edge.base.is_none() || edge.base == have;
    for edge in edges.iter().filter(begins) {
        let way = Route { objects: [edge.object].into_iter().collect() };
        improve(&mut ways, edge.target, edge.object.len, way);
    }
    for _ in 1..ROUTE_MAX {
        let last = ways.clone();
        for (reached, cost, route) in &last {
            for edge in edges.iter().filter(|edge| edge.base == Some(*reached) && edge.target != *reached) {
                let mut longer = route.clone();
                if longer.objects.push(edge.object).is_ok() {
                    improve(&mut ways, edge.target, cost.saturating_add(edge.object.len), longer);
                }
            }
        }
        if ways == last {
            break;
        }
    }
    ways.into_iter().find(|(reached, ..)| *reached == target).map(|(_, _, route)| route)
}

/// Takes a way where it is cheaper than the one that is known, or as cheap and shorter.
fn improve(ways: &mut Vec<(Generation, u64, Route)>, reached: Generation, cost: u64, route: Route) {
    match ways.iter_mut().find(|(known, ..)| *known == reached) {
        Some((_, least, known)) => {
            if (cost, route.objects.len()) < (*least, known.objects.len()) {
                (*least, *known) = (cost, route);
            }
        }
        None => ways.push((reached, cost, route)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use downbeat_core::ids::Digest;
    use proptest::prelude::*;

    fn generation(epoch: u64) -> Generation {
        Generation { epoch, digest: Digest([epoch as u8; 32]) }
    }

    fn edge(base: Option<u64>, target: u64, len: u64) -> Edge {
        let name = Digest(*blake3::hash(format!("{base:?} {target} {len}").as_bytes()).as_bytes());
        Edge { base: base.map(generation), target: generation(target), object: ObjectRef { name, len } }
    }

    /// The lengths of the cheapest way.
    fn lens(edges: &[Edge], have: Option<u64>, target: u64) -> Option<Vec<u64>> {
        let route = cheapest(edges, have.map(generation), generation(target))?;
        Some(route.objects.iter().map(|object| object.len).collect())
    }

    #[test]
    fn the_fewest_bytes_win() {
        let edges = [
            edge(None, 1, 1_000),
            edge(Some(1), 2, 10),
            edge(Some(2), 3, 10),
            edge(Some(3), 4, 10),
            edge(Some(1), 4, 25),
            edge(None, 4, 1_200),
        ];
        assert_eq!(lens(&edges, Some(1), 4), Some(vec![25]), "the merged delta");
        assert_eq!(lens(&edges[..4], Some(1), 4), Some(vec![10, 10, 10]), "the chain");
        assert_eq!(lens(&edges, None, 4), Some(vec![1_000, 25]), "an older snapshot and the merged delta");
        assert_eq!(lens(&edges[3..], None, 4), Some(vec![1_200]), "the snapshot");
        assert_eq!(lens(&edges, Some(9), 4), Some(vec![1_000, 25]), "from what nobody knows as from nothing");
        assert_eq!(lens(&edges[..2], Some(1), 4), None);
        let dear = [edge(Some(1), 4, 2_000), edges[0], edges[4]];
        assert_eq!(lens(&dear[..2], Some(1), 4), Some(vec![2_000]));
        assert_eq!(lens(&[dear[0], edges[5]], Some(1), 4), Some(vec![1_200]), "cheaper than a large delta");
    }

    #[test]
    fn no_route_is_longer_than_a_message_holds() {
        let chain: Vec<_> = (1..=9).map(|epoch| edge(Some(epoch), epoch + 1, 1)).collect();
        assert_eq!(lens(&chain, Some(1), 9).map(|lens| lens.len()), Some(8));
        assert_eq!(lens(&chain, Some(1), 10), None);
        let with_dear: Vec<_> = chain.iter().copied().chain([edge(Some(1), 3, 500)]).collect();
        assert_eq!(
            lens(&with_dear, Some(1), 10).map(|lens| lens.len()),
            Some(8),
            "fewer objects, more bytes"
        );
    }

    #[test]
    fn another_generation_of_the_same_number_is_another_one() {
        let foreign = Generation { digest: Digest([99; 32]), ..generation(1) };
        let edges = [edge(Some(1), 2, 10), edge(None, 2, 100)];
        let route = cheapest(&edges, Some(foreign), generation(2)).unwrap();
        assert_eq!(route.objects[0].len, 100);
    }

    proptest! {
        /// Whatever objects there are: what comes out leads there, link by link.
        #[test]
        fn every_route_leads_there(
            edges in prop::collection::vec((prop::option::of(0u64..6), 0u64..6, 1u64..99), 0..25),
            have in prop::option::of(0u64..6),
            target in 0u64..6,
        ) {
            let edges: Vec<_> = edges.into_iter().map(|(base, to, len)| edge(base, to, len)).collect();
            if let Some(route) = cheapest(&edges, have.map(generation), generation(target)) {
                let mut at = have.map(generation);
                for object in &route.objects {
                    let edge = edges.iter().find(|edge| edge.object == *object).unwrap();
                    prop_assert!(edge.base.is_none() || edge.base == at);
                    at = Some(edge.target);
                }
                prop_assert_eq!(at, Some(generation(target)));
                let bytes: u64 = route.objects.iter().map(|object| object.len).sum();
                let direct = edges.iter().filter(|edge| {
                    edge.target == generation(target) && (edge.base.is_none() || edge.base == have.map(generation))
                });
                prop_assert!(direct.map(|edge| edge.object.len).min().is_none_or(|least| bytes <= least));
            }
        }
    }
}
