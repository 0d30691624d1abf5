//! What the host says of a generation before it is staged: its validation, then its view. Both are the
//! host's code and may take long, or hang, so they have a thread of their own: the worker asks, goes
//! on with what else there is to do, and waits for the verdict no longer than a limit.
//!
//! What becomes of a generation after its verdict is in `worker`.

use crate::held::MadeView;
use crate::worker::Job;
use downbeat_core::ids::{Epoch, Generation};
use downbeat_image::Image;
use std::collections::VecDeque;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

/// The host's own check of a generation: `Err` with the reason refuses it.
pub(crate) type Validate = Box<dyn Fn(&Offer<'_>) -> Result<(), String> + Send>;
/// What makes the host's view.
pub(crate) type MakeView = fn(Generation, &Image) -> Result<MadeView, String>;
/// The host's verdict: its view where it takes the generation and has one, or why it doesn't.
pub(crate) type Verdict = Result<Option<MadeView>, String>;

/// How long the agent's end waits for the host's code, which can see that its verdict isn't waited for.
const GRACE: Duration = Duration::from_secs(1);

/// A generation that a host is asked about before it is staged
/// ([`Builder::validate`](crate::Builder::validate)).
#[derive(Clone, Copy, Debug)]
pub struct Offer<'a> {
    generation: Generation,
    image: &'a Image,
    withdrawn: &'a AtomicBool,
}

impl<'a> Offer<'a> {
    /// As an agent makes it, for a host's tests. Where `withdrawn` is true nobody waits for the
    /// verdict.
    pub fn new(generation: Generation, image: &'a Image, withdrawn: &'a AtomicBool) -> Offer<'a> {
        Offer { generation, image, withdrawn }
    }

    /// Its number and digest.
    pub fn generation(&self) -> Generation {
        self.generation
    }

    /// Its records.
    pub fn image(&self) -> &'a Image {
        self.image
    }

    /// Whether the verdict is no longer waited for: the limit has passed, the generation is retrieved
    /// anew, or the agent ends. A validation that takes long looks at this and returns, whatever it
    /// says then; until it has returned it is asked about nothing else.
    pub fn is_withdrawn(&self) -> bool {
        self.withdrawn.load(Ordering::Relaxed)
    }
}

/// The host's code.
pub(crate) struct Host {
    pub(crate) validate: Option<Validate>,
    pub(crate) make_view: Option<MakeView>,
}

impl Host {
    /// A validation or view that panics has not found the generation good. They only look at it.
    fn judge(&self, offer: &Offer<'_>) -> Verdict {
        if let Some(validate) = &self.validate {
            catch_unwind(AssertUnwindSafe(|| validate(offer))).unwrap_or_else(|_| {
                Err("the host's validation panicked; its output says where".to_string())
            })?;
        }
        made_view(self.make_view, offer.generation, offer.image)
    }
}

/// The host's view of a generation, where it asks for one.
pub(crate) fn made_view(make: Option<MakeView>, target: Generation, image: &Image) -> Verdict {
    let Some(make) = make else { return Ok(None) };
    catch_unwind(AssertUnwindSafe(|| make(target, image)))
        .unwrap_or_else(|_| Err("the host's view panicked; its output says where".to_string()))
        .map(Some)
}

/// The worker's side. Dropped, it withdraws what the host is asked, and leaves it [`GRACE`] to return;
/// a thread that hangs even then is left behind.
pub(crate) struct Judge {
    /// `None` where the host has nothing to say.
    asks: Option<mpsc::Sender<Ask>>,
    limit: Duration,
    waiting: Option<Waiting>,
    /// What the thread was asked and has not answered, the first of it being with the host.
    unanswered: VecDeque<Epoch>,
    /// Closed when the thread has ended.
    end: mpsc::Receiver<()>,
}

/// A verdict that is waited for.
pub(crate) struct Waiting {
    /// Of the verification that asked.
    pub(crate) number: u64,
    pub(crate) target: Generation,
    pub(crate) image: Image,
    /// `None`: for ever.
    until: Option<Instant>,
    withdrawn: Arc<AtomicBool>,
}

struct Ask {
    number: u64,
    target: Generation,
    image: Image,
    withdrawn: Arc<AtomicBool>,
}

impl Judge {
    /// Starts the host's thread, if it has anything to say. Verdicts come as [`Job::Judged`].
    pub(crate) fn start(host: Host, limit: Duration, verdicts: mpsc::Sender<Job>) -> io::Result<Judge> {
        let (asks, asked) = mpsc::channel::<Ask>();
        let (ended, end) = mpsc::channel();
        let has_say = host.validate.is_some() || host.make_view.is_some();
        if has_say {
            let work = move || {
                judge_all(&host, &asked, &verdicts);
                drop(ended);
            };
            std::thread::Builder::new().name("downbeat-judge".to_string()).spawn(work)?;
        }
        let asks = has_say.then_some(asks);
        Ok(Judge { asks, limit, waiting: None, unanswered: VecDeque::new(), end })
    }

    /// Asks the host about a generation; whatever it was asked before is withdrawn. Gives the image
    /// back where the host has nothing to say.
    pub(crate) fn ask(&mut self, number: u64, target: Generation, image: Image) -> Option<Image> {
        self.withdraw();
        let Some(asks) = &self.asks else { return Some(image) };
        let withdrawn = Arc::new(AtomicBool::new(false));
        let ask = Ask { number, target, image: image.clone(), withdrawn: withdrawn.clone() };
        // The thread ends with this sender. Were it gone, the limit would say that there's no verdict.
        let _ = asks.send(ask);
        self.unanswered.push_back(target.epoch);
        let until = Instant::now().checked_add(self.limit);
        self.waiting = Some(Waiting { number, target, image, until, withdrawn });
        None
    }

    /// Nobody waits for a verdict any more. Returns of what, if one was waited for.
    pub(crate) fn withdraw(&mut self) -> Option<Generation> {
        let waiting = self.waiting.take()?;
        waiting.withdrawn.store(true, Ordering::Relaxed);
        Some(waiting.target)
    }

    /// The host has answered. Returns what it was asked, if that is still waited for.
    pub(crate) fn answered(&mut self, number: u64) -> Option<Waiting> {
        self.unanswered.pop_front();
        self.waiting.take_if(|waiting| waiting.number == number)
    }

    /// How much longer a verdict is waited for.
    pub(crate) fn left(&self) -> Option<Duration> {
        let until = self.waiting.as_ref()?.until?;
        Some(until.saturating_duration_since(Instant::now()))
    }

    /// What has had no verdict within the limit, and in which words it is refused.
    pub(crate) fn overdue(&mut self) -> Option<(Waiting, String)> {
        self.left().filter(Duration::is_zero)?;
        let waiting = self.waiting.take()?;
        waiting.withdrawn.store(true, Ordering::Relaxed);
        let busy = match self.unanswered.front().filter(|_| self.unanswered.len() > 1) {
            Some(epoch) => format!(" (it has not returned yet from epoch {epoch})"),
            None => String::new(),
        };
        let limit = self.limit;
        Some((
            waiting,
            format!("the host gave no verdict within {limit:?}{busy}; make it quicker, or raise the limit"),
        ))
    }
}

impl Drop for Judge {
    fn drop(&mut self) {
        self.withdraw();
        self.asks = None;
        // Ended, or not within the grace: either way there is nothing more to wait for.
        let _ = self.end.recv_timeout(GRACE);
    }
}

/// The thread's life.
fn judge_all(host: &Host, asked: &mpsc::Receiver<Ask>, verdicts: &mpsc::Sender<Job>) {
    while let Ok(Ask { number, target, image, withdrawn }) = asked.recv() {
        let offer = Offer { generation: target, image: &image, withdrawn: &withdrawn };
        let verdict = match offer.is_withdrawn() {
            true => Err("withdrawn before it was asked".to_string()),
            false => host.judge(&offer),
        };
        drop(image);
        // A worker that has ended waits for nothing.
        let _ = verdicts.send(Job::Judged { number, verdict });
    }
}
