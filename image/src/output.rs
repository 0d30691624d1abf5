//! The bytes of a layer on their way out, with a checksum for each block.

use crate::format::{BLOCK, checksum, padding};
use crate::place::Sink;
use std::io;

/// Bytes that are written at once. A system that keeps a file in pages as large as the writes were
/// then maps it with large pages, which spares a random read most of what it costs to find where
/// the memory is.
const PIECE: usize = 2 << 20;

pub(crate) struct Output {
    sink: Sink,
    /// What isn't written yet; whole blocks, but for the last.
    piece: Vec<u8>,
    /// Bytes before it.
    written: u64,
    checksums: Vec<u64>,
}

impl Output {
    pub(crate) fn new(sink: Sink) -> Output {
        Output { sink, piece: Vec::with_capacity(PIECE), written: 0, checksums: Vec::new() }
    }

    /// Bytes so far.
    pub(crate) fn at(&self) -> u64 {
        self.written + self.piece.len() as u64
    }

    pub(crate) fn put(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        loop {
            let room = PIECE - self.piece.len();
            let (now, later) = bytes.split_at(room.min(bytes.len()));
            self.piece.extend_from_slice(now);
            if self.piece.len() < PIECE {
                return Ok(());
            }
            self.flush()?;
            bytes = later;
        }
    }

    /// Zeros up to a multiple of `align`.
    pub(crate) fn align(&mut self, align: usize) -> io::Result<()> {
        for _ in 0..padding(self.at(), align) {
            self.put(&[0])?;
        }
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.checksums.extend(self.piece.chunks(BLOCK).map(checksum));
        self.sink.write(&self.piece)?;
        self.written += self.piece.len() as u64;
        self.piece.clear();
        Ok(())
    }

    /// Ends the blocks, and gives their checksums and where they end.
    pub(crate) fn end_blocks(&mut self) -> io::Result<(Vec<u64>, u64)> {
        self.flush()?;
        Ok((std::mem::take(&mut self.checksums), self.written))
    }

    /// Writes what is behind the blocks, and gives back where all of it went.
    pub(crate) fn end(mut self, tail: &[u8], trailer: &[u8]) -> io::Result<Sink> {
        self.sink.write(tail)?;
        self.sink.write(trailer)?;
        Ok(self.sink)
    }
}
