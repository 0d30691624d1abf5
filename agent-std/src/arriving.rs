//! The bytes of a route's objects as the worker gets them, piece by piece between other jobs, read
//! as one stream. While nothing arrives the worker does what else it is asked for.

use crate::worker::{Job, Worker};
use std::io::{self, BufRead, Read};

/// What arrives of one generation. It ends with an error where it is to be verified already, another
/// one begins instead, or the agent ends.
pub(crate) struct Arriving<'a> {
    worker: &'a mut Worker,
    piece: Vec<u8>,
    at: usize,
    /// Nothing more comes.
    over: bool,
}

impl<'a> Arriving<'a> {
    pub(crate) fn new(worker: &'a mut Worker) -> Arriving<'a> {
        Arriving { worker, piece: Vec::new(), at: 0, over: false }
    }

    /// Whether nobody waits any more for what was being read.
    pub(crate) fn is_abandoned(&self) -> bool {
        self.over && !matches!(self.worker.next, Some(Job::Verify { .. }))
    }

    fn next_piece(&mut self) -> io::Result<()> {
        while !self.over {
            match self.worker.jobs.recv() {
                Ok(Job::Bytes(piece)) => {
                    (self.piece, self.at) = (piece, 0);
                    return Ok(());
                }
                Ok(job @ (Job::Begin { .. } | Job::Verify { .. } | Job::End)) => {
                    self.worker.next = Some(job);
                    self.over = true;
                }
                Ok(job) => self.worker.keep_house(job),
                Err(_) => self.over = true,
            }
        }
        Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the generation is no longer retrieved"))
    }
}

impl BufRead for Arriving<'_> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        while self.at >= self.piece.len() {
            self.next_piece()?;
        }
        Ok(self.piece.get(self.at..).unwrap_or_default())
    }

    fn consume(&mut self, len: usize) {
        self.at += len;
    }
}

impl Read for Arriving<'_> {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        let len = self.fill_buf()?.read(to)?;
        self.consume(len);
        Ok(len)
    }
}
