//! For measurements: what the worker does with a route, where all of its bytes are there already; the read
//! path and the path of time samples without an agent around them.

use crate::clock::Clock;
use crate::filling::Intake;
use crate::held::Held;
use crate::reader::Reader;
use crate::shelf::{self, Shelf};
use crate::time_path::{Arrived, TimePath};
use downbeat_core::cell::{PlanCell, PlanWriter};
use downbeat_core::clock::Sample;
use downbeat_core::datagram::Key;
use downbeat_core::ids::{Generation, Incarnation};
use downbeat_core::message::{Route, Stamp};
use downbeat_core::serving::SwitchPlan;
use downbeat_core::time::LocalTime;
use downbeat_image::{Image, Place};
use std::io::{self, BufRead};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

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

/// The read path as it is in an agent, with plans that the caller publishes instead of an agent's machine.
pub struct ReadPath {
    writer: PlanWriter<Arc<PlanCell>>,
    cell: Arc<PlanCell>,
    shelf: Arc<Shelf<Held>>,
}

impl ReadPath {
    /// One that serves by this plan, of these generations.
    pub fn new(plan: &SwitchPlan, contents: impl IntoIterator<Item = (Generation, Image)>) -> ReadPath {
        let (cell, shelf) = (Arc::new(PlanCell::new(plan)), Arc::new(Shelf::new(2)));
        for (generation, image) in contents {
            shelf.put(generation.digest, Arc::new(Held::new(image, None)));
        }
        let writer = PlanWriter::new(cell.clone()).expect("a cell that was just made has no writer");
        ReadPath { writer, cell, shelf }
    }

    /// Publishes a plan as an agent does. Generations that were given at the beginning stay.
    pub fn publish(&mut self, plan: &SwitchPlan) {
        shelf::publish(&mut self.writer, &self.shelf, plan, |_| true);
    }

    /// A reader by a clock; it waits out a hold for up to a second.
    pub fn reader(&self, clock: Clock) -> Reader {
        Reader::new(self.cell.clone(), self.shelf.clone(), Arc::default(), clock, Duration::from_secs(1))
    }
}

/// Time samples as an agent takes them in datagrams, without its machine: one after the other.
pub struct SamplePath {
    path: TimePath,
    clock: Clock,
    incarnation: Incarnation,
    number: u64,
}

impl SamplePath {
    /// To a server's address for datagrams, under the key that it told this life; inside a runtime.
    ///
    /// # Errors
    /// The host gives no socket, or has no way there.
    pub fn open(
        server: SocketAddr,
        incarnation: Incarnation,
        key: Key,
        clock: Clock,
    ) -> io::Result<SamplePath> {
        Ok(SamplePath { path: TimePath::open(server, incarnation, key)?, clock, incarnation, number: 0 })
    }

    /// One exchange; `None` where no answer came in time.
    pub async fn sample(&mut self, patience: Duration) -> Option<Sample> {
        self.number += 1;
        let number = self.number;
        while !self.path.ask(self.incarnation, number, || self.clock.now()) {
            // Whether datagrams get through is not asked here.
            self.path.begin_anew();
            tokio::task::yield_now().await;
        }
        let sample = |(arrived, now): (Arrived, LocalTime)| match arrived {
            Arrived::Reply(reply) if reply.number == number => {
                let Stamp { echo, received, answered, .. } = reply.stamp;
                Some(Sample { sent: echo, received, answered, arrived: now })
            }
            _ => None,
        };
        if let Some(sample) = self.path.receive_awake(|| self.clock.now()).and_then(sample) {
            return Some(sample);
        }
        let answer = async {
            loop {
                self.path.readable().await;
                while let Some(arrived) = self.path.receive(|| self.clock.now()) {
                    if let Some(sample) = sample(arrived) {
                        return sample;
                    }
                }
            }
        };
        tokio::time::timeout(patience, answer).await.ok()
    }
}
