//! What makes this board this agent: a page at the beginning of the flash chip, written where it is
//! provisioned. It is text, so that it can be made and read with a shell; the README has a page.
//!
//! ```text
//! downbeat-agent 1
//! farm shop
//! agent 000102030405060708090a0b0c0d0e0f
//! drawn 3735928559
//! name kiosk-17
//! mode strict
//! sum 2839406732
//! ```
//! `farm`, `agent` and `drawn` (a random number, below which incarnations are
//! counted) have to be there, all else is as if
//! it were not asked for: `name`, `token`, `mode` (prompt), `activation` (switch), `dataset` (all; a line
//! for each), `rate-error` (0 ppm), `word-us` and `sector-us` (the chip's usual speed), `back-off-ms` (the
//! longest between two tries), `silence-ms` (how long the server may leave requests unanswered) and
//! `start-wait-ms` (after which a prompt agent serves its last good generation). The last line is what
//! `cksum` prints for all lines before it.

use crate::chip::Speed;
use downbeat_core::ids::{AgentId, Name};
use downbeat_core::serving::{Activation, Mode};
use downbeat_core::time::Span;
use heapless::Vec;

/// The first line.
const MAGIC: &str = "downbeat-agent 1";
/// The longest page, in bytes.
pub const LONGEST: usize = 1024;
/// The most datasets that a page names.
pub const DATASETS_MAX: usize = 4;

/// What a page says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Provisioning<'a> {
    /// The farm that it belongs to.
    pub farm: Name,
    /// Which agent it is.
    pub agent: AgentId,
    /// Drawn at random for this page.
    pub drawn: u32,
    /// What people know it by.
    pub name: &'a str,
    /// What lets it connect.
    pub token: &'a str,
    /// The datasets that it takes; none for all.
    pub datasets: Vec<&'a str, DATASETS_MAX>,
    /// How it treats what it can't prove.
    pub mode: Mode,
    /// How staged becomes active.
    pub activation: Activation,
    /// How wrong its clock runs, in parts per million.
    pub rate_error: i32,
    /// How fast its chip is.
    pub speed: Speed,
    /// The longest back-off, where it isn't the usual one.
    pub back_off: Option<Span>,
    /// How long silence may last, where it isn't the usual limit.
    pub silence: Option<Span>,
    /// How long a prompt agent waits at its start, where it isn't as usual.
    pub start_wait: Option<Span>,
}

/// Why a page is none.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Wrong {
    /// It doesn't begin as one does: nothing was provisioned.
    NotThere,
    /// Its sum isn't that of its lines.
    Damaged,
    /// Its sum agrees, and this line, from 1 on, isn't understood or comes too often.
    Line(u8),
    /// It names no farm, no agent or no random number.
    Incomplete,
}

impl<'a> Provisioning<'a> {
    /// What the page at the beginning of `bytes` says.
    ///
    /// # Errors
    /// It is no page; why.
    pub fn read(bytes: &'a [u8]) -> Result<Provisioning<'a>, Wrong> {
        let text = text(bytes)?;
        let (mut farm, mut agent, mut drawn) = (None, None, None);
        let (mut name, mut token, mut datasets) = ("", "", Vec::new());
        let (mut mode, mut activation) = (Mode::Prompt, Activation::Switch);
        let (mut rate_error, mut speed) = (0, Speed::default());
        let (mut back_off, mut silence, mut start_wait) = (None, None, None);
        for (line, number) in text.lines().skip(1).zip(2..) {
            let (key, value) = line.split_once(' ').ok_or(Wrong::Line(number))?;
            let understood = match key {
                "farm" => set(&mut farm, Name::new(value).ok()),
                "agent" => set(&mut agent, hexadecimal(value).map(AgentId)),
                "drawn" => set(&mut drawn, value.parse().ok()),
                "name" => put(&mut name, Some(value)),
                "token" => put(&mut token, Some(value)),
                "dataset" => datasets.push(value).ok(),
                "mode" => put(&mut mode, mode_of(value)),
                "activation" => put(&mut activation, activation_of(value)),
                "rate-error" => put(&mut rate_error, value.parse().ok()),
                "word-us" => put(&mut speed.word_us, value.parse().ok()),
                "sector-us" => put(&mut speed.sector_us, value.parse().ok()),
                "back-off-ms" => set(&mut back_off, millis(value)),
                "silence-ms" => set(&mut silence, millis(value)),
                "start-wait-ms" => set(&mut start_wait, millis(value)),
                _ => None,
            };
            understood.ok_or(Wrong::Line(number))?;
        }
        let (Some(farm), Some(agent), Some(drawn)) = (farm, agent, drawn) else {
            return Err(Wrong::Incomplete);
        };
        Ok(Provisioning {
            farm,
            agent,
            drawn,
            name,
            token,
            datasets,
            mode,
            activation,
            rate_error,
            speed,
            back_off,
            silence,
            start_wait,
        })
    }
}

/// The lines before the sum, which agrees with them.
fn text(bytes: &[u8]) -> Result<&str, Wrong> {
    let bytes = bytes.get(..LONGEST).unwrap_or(bytes);
    // Behind the page the sector is as it was erased.
    let len = bytes.iter().position(|byte| !byte.is_ascii()).unwrap_or(bytes.len());
    let page = bytes.get(..len).and_then(|page| core::str::from_utf8(page).ok()).unwrap_or_default();
    if page.lines().next() != Some(MAGIC) {
        return Err(Wrong::NotThere);
    }
    let (text, sum) = page.rsplit_once("sum ").ok_or(Wrong::Damaged)?;
    let sum = sum.strip_suffix('\n').and_then(|sum| sum.parse().ok());
    if text.ends_with('\n') && sum == Some(cksum(text.as_bytes())) { Ok(text) } else { Err(Wrong::Damaged) }
}

/// The sum that POSIX's `cksum` prints: a CRC of the bytes and of their number.
fn cksum(bytes: &[u8]) -> u32 {
    let len = bytes.len().to_le_bytes();
    let significant = len.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    let all = bytes.iter().chain(len.iter().take(significant));
    !all.fold(0_u32, |sum, byte| {
        (0..8).fold(sum ^ u32::from(*byte) << 24, |sum, _| {
            sum << 1 ^ if sum & 1 << 31 == 0 { 0 } else { 0x04c1_1db7 }
        })
    })
}

/// Takes a value that is there, and only once.
fn set<T>(place: &mut Option<T>, value: Option<T>) -> Option<()> {
    if place.is_some() {
        return None;
    }
    *place = Some(value?);
    Some(())
}

/// Takes a value that is there, over another.
fn put<T>(place: &mut T, value: Option<T>) -> Option<()> {
    *place = value?;
    Some(())
}

fn millis(text: &str) -> Option<Span> {
    text.parse::<u32>().ok().map(|millis| Span::from_millis(millis.into()))
}

fn mode_of(text: &str) -> Option<Mode> {
    match text {
        "prompt" => Some(Mode::Prompt),
        "strict" => Some(Mode::Strict),
        _ => None,
    }
}

fn activation_of(text: &str) -> Option<Activation> {
    match text {
        "switch" => Some(Activation::Switch),
        "copy" => Some(Activation::Copy),
        _ => None,
    }
}

fn hexadecimal(text: &str) -> Option<[u8; 16]> {
    let (digits, []) = text.as_bytes().as_chunks::<2>() else { return None };
    let mut bytes = [0; 16];
    if digits.len() != bytes.len() {
        return None;
    }
    for (byte, [high, low]) in bytes.iter_mut().zip(digits) {
        let digit = |digit: u8| char::from(digit).to_digit(16);
        *byte = (digit(*high)? << 4 | digit(*low)?) as u8;
    }
    Some(bytes)
}
