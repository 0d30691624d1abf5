//! An object's file as it is served: its chunk values are known, and no chunk is given out that doesn't
//! have its value.

use axum::body::Bytes;
use downbeat_core::ids::Digest;
use downbeat_core::message::ObjectRef;
use downbeat_core::object::chunks::{CHUNK, ListCheck, chunk_len, chunk_value, chunks_of, is_chunk};
use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Mutex, PoisonError};

/// Chunks of one object that are held in memory, so that what many agents fetch in small pieces is
/// read and checked once: 4 MiB.
const HELD_MAX: usize = 64;

/// An object, whole and proven when it was opened.
#[derive(Debug)]
pub(crate) struct Object {
    pub(crate) reference: ObjectRef,
    /// The values of its chunks, in their order.
    pub(crate) chunks: Vec<Digest>,
    file: File,
    held: Mutex<VecDeque<(u64, Bytes)>>,
}

impl Object {
    /// Reads a file through, and takes it for the object that it is: names it.
    pub(super) fn of(file: File) -> io::Result<Object> {
        let len = file.metadata()?.len();
        let mut buffer = vec![0; CHUNK as usize];
        let (mut list, mut chunks) = (ListCheck::new(len), Vec::new());
        for index in 0..chunks_of(len) {
            let piece = read(&file, len, index, &mut buffer)?;
            let value = chunk_value(len, index, piece).ok_or(io::ErrorKind::UnexpectedEof)?;
            list.push(value).map_err(io::Error::other)?;
            chunks.push(value);
        }
        let name = list.root().map_err(io::Error::other)?;
        Ok(Object { reference: ObjectRef { name, len }, chunks, file, held: Mutex::default() })
    }

    /// A chunk, where it is in memory.
    fn held(&self, index: u64) -> Option<Bytes> {
        let held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.iter().find(|(at, _)| *at == index).map(|(_, bytes)| bytes.clone())
    }

    /// Reads a chunk from the disk and proves it.
    fn load(&self, index: u64) -> io::Result<Bytes> {
        let mut buffer = vec![0; CHUNK as usize];
        let len = read(&self.file, self.reference.len, index, &mut buffer)?.len();
        buffer.truncate(len);
        let value = self.chunks.get(index as usize).copied().unwrap_or_default();
        if !is_chunk(self.reference.len, index, value, &buffer) {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the object's file was damaged"));
        }
        let bytes = Bytes::from(buffer);
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if held.len() >= HELD_MAX {
            held.pop_front();
        }
        held.push_back((index, bytes.clone()));
        Ok(bytes)
    }

    /// Bytes from `from` on, at most `most`, and none beyond the end of the chunk that `from` is in;
    /// none at all from the object's end on.
    ///
    /// # Errors
    /// The file can't be read, or was damaged since it was opened: the object is not to be served.
    pub(crate) async fn read(self: &Arc<Self>, from: u64, most: u64) -> io::Result<Bytes> {
        if from >= self.reference.len {
            return Ok(Bytes::new());
        }
        let index = from / CHUNK;
        let chunk = match self.held(index) {
            Some(chunk) => chunk,
            None => {
                let object = self.clone();
                let loaded = tokio::task::spawn_blocking(move || object.load(index)).await;
                loaded.map_err(io::Error::other)??
            }
        };
        let from = (from % CHUNK) as usize;
        let to = from.saturating_add(usize::try_from(most).unwrap_or(usize::MAX)).min(chunk.len());
        Ok(chunk.slice(from.min(to)..to))
    }
}

/// Reads a chunk into the buffer.
fn read<'b>(file: &File, len: u64, index: u64, buffer: &'b mut [u8]) -> io::Result<&'b [u8]> {
    let wanted = chunk_len(len, index).ok_or(io::ErrorKind::UnexpectedEof)? as usize;
    let buffer = buffer.get_mut(..wanted).ok_or(io::ErrorKind::UnexpectedEof)?;
    file.read_exact_at(buffer, index * CHUNK)?;
    Ok(buffer)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[tokio::test]
    async fn bytes_come_from_any_place_and_a_damaged_chunk_never() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        let bytes: Vec<u8> = (0..CHUNK * 2 + 9).map(|at| (at % 253) as u8).collect();
        file.write_all(&bytes).unwrap();
        let object = Arc::new(Object::of(file.reopen().unwrap()).unwrap());
        assert_eq!(object.reference.name.0, *blake3::hash(&bytes).as_bytes());
        for (from, most, to) in
            [(0, 7, 7), (CHUNK, 5, CHUNK + 5), (CHUNK - 3, 768, CHUNK), (CHUNK * 2, 768, CHUNK * 2 + 9)]
        {
            let read = object.read(from, most).await.unwrap();
            assert_eq!(read, bytes[from as usize..to as usize]);
        }
        for from in [CHUNK * 2 + 9, u64::MAX] {
            assert!(object.read(from, 768).await.unwrap().is_empty());
        }
        let fresh = Arc::new(Object::of(file.reopen().unwrap()).unwrap());
        let raw = file.as_file();
        raw.write_all_at(&[bytes[CHUNK as usize + 5] ^ 1], CHUNK + 5).unwrap();
        assert_eq!(fresh.read(0, 1).await.unwrap(), bytes[..1]);
        assert_eq!(fresh.read(CHUNK, 1).await.unwrap_err().kind(), io::ErrorKind::InvalidData);
        assert_eq!(object.read(CHUNK, 1).await.unwrap(), bytes[CHUNK as usize..][..1], "it is in memory");
        raw.set_len(CHUNK).unwrap();
        assert!(fresh.read(CHUNK * 2, 1).await.is_err());
    }
}
