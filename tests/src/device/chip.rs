//! The flash chip of a board, as a file of the host: provisioned here, and looked at from outside while
//! the board writes. Its form is the firmware's (`agent-embassy/firmware/src/{chip,provisioning}.rs`).

use crate::farm::FARM;
use crate::history::Mode;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// How large the board's memory is in which the chip lies, in bytes.
pub(super) const MEMORY: u64 = 16 << 20;
/// How large the chip is; its status register follows.
const SIZE: u64 = 1 << 20;
const ERASING: u32 = 0x4553_4152;
const WRITING: u32 = 0x4554_5257;

/// What a board is provisioned with.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Provisioning {
    /// Which agent it is.
    pub agent: [u8; 16],
    /// What people know it by.
    pub name: String,
    /// How it treats what it can't prove.
    pub mode: Mode,
    /// Whether it copies staged to active; otherwise they change their roles.
    pub copies: bool,
    /// By how many parts per million its clock is fast.
    pub rate_error: i32,
    /// How long its chip takes: microseconds for a word, and for a sector; as chips usually do where
    /// that is `None`.
    pub chip: Option<(u32, u32)>,
}

impl Provisioning {
    /// A board with a good clock and a usual chip.
    pub fn new(number: u8, mode: Mode) -> Provisioning {
        let name = format!("device-{number}");
        Provisioning { agent: [number; 16], name, mode, copies: false, rate_error: 0, chip: None }
    }

    /// Its id, as the server and traces write it.
    pub fn agent(&self) -> String {
        self.agent.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    fn page(&self) -> String {
        let drawn = std::process::id() ^ std::time::UNIX_EPOCH.elapsed().map_or(0, |now| now.subsec_nanos());
        let mode = if self.mode == Mode::Strict { "strict" } else { "prompt" };
        let activation = if self.copies { "copy" } else { "switch" };
        let mut page = format!(
            "downbeat-agent 1\nfarm {FARM}\nagent {}\ndrawn {drawn}\nname {}\nmode {mode}\n\
             activation {activation}\nrate-error {}\nback-off-ms 400\nsilence-ms 1500\nstart-wait-ms 1000\n",
            self.agent(),
            self.name,
            self.rate_error
        );
        if let Some((word, sector)) = self.chip {
            page += &format!("word-us {word}\nsector-us {sector}\n");
        }
        let sum = cksum(page.as_bytes());
        page + &format!("sum {sum}\n")
    }
}

/// What a chip is doing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Busy {
    /// With its words.
    pub doing: Doing,
    /// From which byte on.
    pub from: u64,
    /// With how many bytes.
    pub len: u64,
}

/// What a chip does with words.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Doing {
    /// They become ones.
    Erasing,
    /// They are written.
    Writing,
}

/// A chip that is erased but for the page.
pub(super) fn make(path: &Path, provisioning: &Provisioning) -> io::Result<()> {
    let file = File::create(path)?;
    file.set_len(MEMORY)?;
    file.write_all_at(&vec![0xff; SIZE as usize], 0)?;
    file.write_all_at(provisioning.page().as_bytes(), 0)
}

/// What the chip's status register says: `None` where it does nothing.
pub(super) fn busy(path: &Path) -> io::Result<Option<Busy>> {
    let mut words = [[0; 4]; 3];
    File::open(path)?.read_exact_at(words.as_flattened_mut(), SIZE)?;
    let [what, from, len] = words.map(u32::from_le_bytes);
    let doing = match what {
        ERASING => Doing::Erasing,
        WRITING => Doing::Writing,
        _ => return Ok(None),
    };
    Ok(Some(Busy { doing, from: from.into(), len: len.into() }))
}

/// The sum that POSIX's `cksum` prints.
fn cksum(bytes: &[u8]) -> u32 {
    let mut sum = 0_u32;
    let mut take = |byte: u8| {
        sum ^= u32::from(byte) << 24;
        for _ in 0..8 {
            sum = (sum << 1) ^ if sum >> 31 == 1 { 0x04c1_1db7 } else { 0 };
        }
    };
    bytes.iter().for_each(|byte| take(*byte));
    let mut len = bytes.len();
    while len > 0 {
        take(len as u8);
        len >>= 8;
    }
    !sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sum_is_that_of_cksum() {
        assert_eq!(cksum(b"123456789"), 930_766_865);
        assert_eq!(cksum(b""), 4_294_967_295);
    }

    #[test]
    fn a_chip_says_what_it_is_doing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("chip");
        make(&path, &Provisioning::new(7, Mode::Strict)).unwrap();
        assert_eq!(busy(&path).unwrap(), None);
        let file = File::options().write(true).open(&path).unwrap();
        let words = [WRITING, 4096, 512].map(u32::to_le_bytes);
        file.write_all_at(words.as_flattened(), SIZE).unwrap();
        let busy = busy(&path).unwrap();
        assert_eq!(busy, Some(Busy { doing: Doing::Writing, from: 4096, len: 512 }));
    }
}
