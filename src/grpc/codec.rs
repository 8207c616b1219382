//! Protobuf with small buffers. Tonic's own codec holds 8 KiB per call as long as it is open, and KEDA keeps thousands of streams
//! open for weeks.

use std::marker::PhantomData;

use prost::Message;
use tonic::codec::{BufferSettings, Codec};
use tonic_prost::{ProstCodec, ProstDecoder, ProstEncoder};

use super::proto::IsActiveResponse;

/// The initial buffer; it grows by this much for larger messages.
const BUFFER: usize = 128;
/// The initial buffer of a message without texts: the 7 bytes of an activity, which is what thousands of streams send.
const SMALL_BUFFER: usize = 16;
/// Tonic's default: buffered messages are sent from this size on.
const YIELD_THRESHOLD: usize = 32 * 1024;

const fn encode_buffer<T>() -> usize {
    if size_of::<T>() <= size_of::<IsActiveResponse>() { SMALL_BUFFER } else { BUFFER }
}

/// Encodes `T` and decodes `U`.
pub(crate) struct SmallCodec<T, U>(PhantomData<(T, U)>);

impl<T, U> Default for SmallCodec<T, U> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<T: Message + Send + 'static, U: Message + Default + Send + 'static> Codec for SmallCodec<T, U> {
    type Encode = T;
    type Decode = U;
    type Encoder = ProstEncoder<T>;
    type Decoder = ProstDecoder<U>;

    fn encoder(&mut self) -> Self::Encoder {
        ProstCodec::<T, U>::raw_encoder(BufferSettings::new(encode_buffer::<T>(), YIELD_THRESHOLD))
    }

    fn decoder(&mut self) -> Self::Decoder {
        ProstCodec::<T, U>::raw_decoder(BufferSettings::new(BUFFER, YIELD_THRESHOLD))
    }
}
