//! For measurements: what the worker does with a route, where all of its bytes are there already.

use crate::filling::Intake;
use downbeat_core::ids::Generation;
use downbeat_core::message::Route;
use downbeat_image::{Image, Place};
use std::io::BufRead;

/// Makes the image of a generation of all datasets as an agent's worker does (step 234): unpacks the
/// route's objects, which come one after the other from `source`, applies them to the image `base`
/// where they begin with a delta, and proves what comes out.
///
/// # Errors
/// Why an agent would refuse it, in its words; files that were begun are left to be deleted.
pub fn stage(
    place: &Place,
    target: Generation,
    route: &Route,
    base: Option<&Image>,
    source: &mut impl BufRead,
) -> Result<Image, String> {
    let intake = Intake { place: place.clone(), datasets: Default::default(), limit: 1 << 30 };
    intake.fill(target, route, base, source).map_err(|fault| fault.to_string())
}
