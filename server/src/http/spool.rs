//! Bodies that need not fit memory: answered from a file, a piece at a time.

use axum::body::{Body, Bytes};
use futures_util::stream::unfold;
use tokio::fs::File;
use tokio::io::AsyncReadExt;

/// Bytes in a piece.
const PIECE: usize = 64 << 10;

/// A body of what is left of a file. Where reading fails, the connection is cut, so that nobody takes
/// half for the whole.
pub(super) fn body_of(file: File) -> Body {
    Body::from_stream(unfold(file, |mut file| async {
        let mut piece = vec![0; PIECE];
        match file.read(&mut piece).await {
            Ok(0) => None,
            Ok(len) => {
                piece.truncate(len);
                Some((Ok(Bytes::from(piece)), file))
            }
            Err(error) => Some((Err(error), file)),
        }
    }))
}
