//! Bodies that need not fit memory: taken into a file, or answered from one, a piece at a time.

use super::failure::Failure;
use crate::shared::Shared;
use axum::body::{Body, Bytes};
use axum::http::StatusCode;
use futures_util::StreamExt;
use futures_util::stream::unfold;
use std::io::{Seek, SeekFrom};
use std::path::Path;
use tokio::fs::File;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Bytes in a piece.
const PIECE: usize = 64 << 10;
/// Bytes in the longest body that is taken.
const BODY_MAX: u64 = 64 << 30;

/// A file without a name, beside the database: it ends with whoever holds it.
pub(super) fn file(shared: &Shared) -> std::io::Result<std::fs::File> {
    tempfile::tempfile_in(shared.database.parent().unwrap_or(Path::new(".")))
}

/// Takes a body into a file, whose place is its start again.
pub(super) async fn take(shared: &Shared, body: Body) -> Result<std::fs::File, Failure> {
    let no_room = |error: std::io::Error| {
        let status = match error.kind() {
            std::io::ErrorKind::StorageFull => StatusCode::INSUFFICIENT_STORAGE,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        };
        let text = format!("what came could not be put aside ({error}), nothing was changed");
        Failure::new(status, text, "give the server room and the right to write beside its database")
    };
    let mut file = File::from_std(file(shared).map_err(no_room)?);
    let (mut pieces, mut len) = (body.into_data_stream(), 0);
    while let Some(piece) = pieces.next().await {
        let piece = piece.map_err(|_| Failure::bad("the body did not arrive whole", "send it again"))?;
        len += piece.len() as u64;
        if len > BODY_MAX {
            return Err(Failure::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                format!("the body has more than {BODY_MAX} bytes"),
                "split it into several",
            ));
        }
        file.write_all(&piece).await.map_err(no_room)?;
    }
    file.flush().await.map_err(no_room)?;
    let mut file = file.into_std().await;
    file.seek(SeekFrom::Start(0)).map_err(no_room)?;
    Ok(file)
}

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
