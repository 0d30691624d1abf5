//! What an agent is set to and starts with, as the header declares it, and the checks of both.

use crate::code::Code;
use crate::layout::structure;
use crate::memory;
use crate::types::{Activation, Generation, Mode, Plan};
use core::ffi::c_char;
use downbeat_core::agent;
use downbeat_core::ids::{AgentId, BootId, Incarnation, Name};
use downbeat_core::message::{DATASETS_MAX, Hello, VERSION};
use downbeat_core::serving::SwitchPlan;
use downbeat_core::time::{LocalTime, Rate, Span};

/// The largest rate error that a clock may state: one that may lose half of its time is none.
const RATE_MAX_PPB: u32 = 499_999_999;

structure! {
    /// What an agent is set to.
    Config = "downbeat_config" {
        /// Who it is.
        agent: [u8; 16],
        /// The farm's name.
        farm: *const c_char,
        /// A name for people.
        display: *const c_char,
        /// An access token.
        token: *const c_char,
        /// Names of datasets.
        datasets: *const *const c_char,
        /// How many.
        dataset_count: usize,
        /// [`Mode`].
        mode: u32,
        /// [`Activation`].
        activation: u32,
        /// ρ in parts per billion.
        rate_ppb: u32,
        /// Time samples shortly before T.
        samples: u8,
        /// Whether it reports.
        reports: u8,
        /// Zero.
        reserved: [u8; 2],
        /// The step in which the clock is read.
        granularity_ns: i64,
        /// The first back-off.
        first_back_off_ns: i64,
        /// The longest one.
        longest_back_off_ns: i64,
        /// How long an answer is waited for at first.
        patience_ns: i64,
        /// After which time without a server the last good generation is served.
        start_wait_ns: i64,
    }
}

structure! {
    /// What an agent starts with.
    Start = "downbeat_start" {
        /// A random number of this life.
        incarnation: u64,
        /// The host's boot.
        boot: u64,
        /// The local clock.
        now_ns: i64,
        /// What a process before left.
        page: *const Plan,
        /// What was served last.
        last_good: *const Generation,
    }
}

/// The defaults, without a farm and an agent.
fn defaults() -> Config {
    let agent = agent::Config::new(AgentId::default(), Mode::Prompt.into());
    Config {
        agent: [0; 16],
        farm: core::ptr::null(),
        display: core::ptr::null(),
        token: core::ptr::null(),
        datasets: core::ptr::null(),
        dataset_count: 0,
        mode: Mode::Prompt as u32,
        activation: Activation::Switch as u32,
        rate_ppb: agent.rate.as_ppb(),
        samples: agent.samples,
        reports: agent.reports.into(),
        reserved: [0; 2],
        granularity_ns: agent.granularity.as_nanos(),
        first_back_off_ns: agent.back_off.0.as_nanos(),
        longest_back_off_ns: agent.back_off.1.as_nanos(),
        patience_ns: agent.patience.as_nanos(),
        start_wait_ns: agent.start_wait.as_nanos(),
    }
}

/// Fills in the defaults; the farm and the agent's id are left to the caller.
///
/// # Safety
/// `config` is as the header says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn downbeat_config_defaults(config: *mut Config) -> Code {
    // SAFETY: the header's contract.
    crate::code::told(unsafe { memory::put(config, defaults()) })
}

impl Config {
    /// As core has it.
    pub(crate) fn of_core(&self) -> Result<agent::Config, Code> {
        let mode = Mode::of_number(self.mode).ok_or(Code::BadNumber)?;
        let activation = Activation::of_number(self.activation).ok_or(Code::BadNumber)?;
        let spans = [self.granularity_ns, self.first_back_off_ns, self.start_wait_ns];
        let ordered = self.first_back_off_ns <= self.longest_back_off_ns;
        if spans.iter().any(|span| *span < 0)
            || !ordered
            || self.patience_ns <= 0
            || self.rate_ppb > RATE_MAX_PPB
            || self.reports > 1
        {
            return Err(Code::BadSetting);
        }
        let [granularity, first, longest, patience, start_wait] = [
            self.granularity_ns,
            self.first_back_off_ns,
            self.longest_back_off_ns,
            self.patience_ns,
            self.start_wait_ns,
        ]
        .map(Span::from_nanos);
        Ok(agent::Config {
            activation: activation.into(),
            rate: Rate::from_ppb(self.rate_ppb),
            granularity,
            back_off: (first, longest),
            patience,
            start_wait,
            samples: self.samples,
            reports: self.reports == 1,
            ..agent::Config::new(AgentId(self.agent), mode.into())
        })
    }

    /// What the agent says first on each connection.
    ///
    /// # Safety
    /// The texts are as the header says.
    pub(crate) unsafe fn hello(&self, incarnation: u64) -> Result<Hello, Code> {
        // SAFETY: the caller vouches for all three.
        let (farm, display, token) =
            unsafe { (memory::text(self.farm)?, memory::text(self.display)?, memory::text(self.token)?) };
        Ok(Hello {
            version: VERSION,
            farm: Name::new(farm).map_err(|_| Code::BadName)?,
            agent: AgentId(self.agent),
            display: display.try_into().map_err(|_| Code::BadText)?,
            incarnation: Incarnation(incarnation),
            token: token.try_into().map_err(|_| Code::BadText)?,
            // SAFETY: the caller vouches for it.
            datasets: unsafe { names(self.datasets, self.dataset_count)? },
        })
    }
}

/// Names of datasets.
///
/// # Safety
/// `at` is null or points to `count` texts with end marks.
pub(crate) unsafe fn names(
    at: *const *const c_char,
    count: usize,
) -> Result<heapless::Vec<Name, DATASETS_MAX>, Code> {
    let mut names = heapless::Vec::new();
    if count > DATASETS_MAX {
        return Err(Code::TooManyNames);
    }
    if count > 0 && at.is_null() {
        return Err(Code::NullPointer);
    }
    for number in 0..count {
        // SAFETY: the caller vouches for so many texts.
        let text = unsafe { memory::text(memory::given(at.add(number))?)? };
        let name = Name::new(text).map_err(|_| Code::BadName)?;
        names.push(name).map_err(|_| Code::TooManyNames)?;
    }
    Ok(names)
}

impl Start {
    /// As core has it.
    ///
    /// # Safety
    /// The pointers are as the header says.
    pub(crate) unsafe fn of_core(&self) -> Result<agent::Start, Code> {
        // SAFETY: the caller vouches for both.
        let (page, last_good) =
            unsafe { (memory::given_or_none(self.page)?, memory::given_or_none(self.last_good)?) };
        Ok(agent::Start {
            incarnation: Incarnation(self.incarnation),
            boot: BootId(self.boot),
            now: LocalTime::from_nanos(self.now_ns),
            page: page.map(|page| SwitchPlan::try_from(&page)).transpose()?,
            last_good: last_good.map(Into::into),
        })
    }
}
