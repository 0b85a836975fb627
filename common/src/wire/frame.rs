//! Frames on a stream: four bytes of length, then that many bytes. The length is checked before memory is taken.

use std::io;

use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use zeroize::Zeroizing;

use super::codec::{self, DecodeError};

#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    #[error("read or write the stream")]
    Io(#[from] io::Error),
    #[error("a frame of {length} bytes is larger than the {max} allowed here")]
    TooLarge { length: usize, max: usize },
    #[error("the stream ended where a message was due")]
    Ended,
    #[error("decode a message")]
    Decode(#[from] DecodeError),
}

/// Writes one frame. Does not flush: the transport sends as soon as it can.
pub async fn write_frame(stream: &mut (impl AsyncWrite + Unpin), body: &[u8]) -> Result<(), FrameError> {
    let length = u32::try_from(body.len())
        .map_err(|_| FrameError::TooLarge { length: body.len(), max: u32::MAX as usize })?;
    let mut frame = Vec::with_capacity(4 + body.len());
    frame.extend_from_slice(&length.to_be_bytes());
    frame.extend_from_slice(body);
    stream.write_all(&frame).await?;
    Ok(())
}

/// Reads one frame; none at a clean end of the stream.
pub async fn read_frame(
    stream: &mut (impl AsyncRead + Unpin),
    max: usize,
) -> Result<Option<Vec<u8>>, FrameError> {
    let mut length = [0; 4];
    let mut filled = 0;
    while filled < length.len() {
        match stream.read(&mut length[filled..]).await? {
            0 if filled == 0 => return Ok(None),
            0 => return Err(FrameError::Io(io::ErrorKind::UnexpectedEof.into())),
            read => filled += read,
        }
    }
    let length = u32::from_be_bytes(length) as usize;
    if length > max {
        return Err(FrameError::TooLarge { length, max });
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await?;
    Ok(Some(body))
}

/// Writes one value as a frame.
pub async fn write_message<T: Serialize>(
    stream: &mut (impl AsyncWrite + Unpin),
    message: &T,
) -> Result<(), FrameError> {
    write_frame(stream, &codec::encode(message)).await
}

/// Reads one value; none at a clean end of the stream.
pub async fn read_message<T: DeserializeOwned>(
    stream: &mut (impl AsyncRead + Unpin),
    max: usize,
) -> Result<Option<T>, FrameError> {
    match read_frame(stream, max).await? {
        None => Ok(None),
        Some(body) => {
            // It may hold a secret, which has to leave memory with whoever holds the message.
            let body = Zeroizing::new(body);
            Ok(Some(codec::decode(&body)?))
        }
    }
}

/// Reads the one value that has to come next.
pub async fn expect_message<T: DeserializeOwned>(
    stream: &mut (impl AsyncRead + Unpin),
    max: usize,
) -> Result<T, FrameError> {
    read_message(stream, max).await?.ok_or(FrameError::Ended)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn frames_arrive_whole_and_the_end_is_clean() {
        let (mut near, mut far) = tokio::io::duplex(8);
        let writer = async {
            write_message(&mut near, &"hello, far side".to_string()).await.unwrap();
            near.shutdown().await.unwrap();
        };
        let reader = async {
            assert_eq!(expect_message::<String>(&mut far, 64).await.unwrap(), "hello, far side");
            assert!(read_message::<String>(&mut far, 64).await.unwrap().is_none());
        };
        tokio::join!(writer, reader);
    }

    #[tokio::test]
    async fn a_frame_over_the_limit_is_refused_before_it_is_read() {
        let mut bytes: &[u8] = &[0xff, 0xff, 0xff, 0xff, 1, 2, 3];
        assert!(matches!(read_frame(&mut bytes, 1024).await, Err(FrameError::TooLarge { .. })));
    }

    #[tokio::test]
    async fn a_cut_frame_is_an_error_not_an_end() {
        for cut in [&[0, 0][..], &[0, 0, 0, 9, 1]] {
            let mut bytes = cut;
            assert!(matches!(read_frame(&mut bytes, 1024).await, Err(FrameError::Io(_))));
        }
    }
}
