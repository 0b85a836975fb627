//! Tables and proposals as bytes, by format version.

use common::wire::codec::{self, DecodeError};

use super::{Proposal, Tables};

pub fn encode_tables(tables: &Tables) -> Vec<u8> {
    codec::encode(tables)
}

pub fn decode_tables(bytes: &[u8]) -> Result<Tables, DecodeError> {
    codec::decode(bytes)
}

pub fn encode_proposal(proposal: &Proposal) -> Vec<u8> {
    codec::encode(proposal)
}

pub fn decode_proposal(bytes: &[u8]) -> Result<Proposal, DecodeError> {
    codec::decode(bytes)
}
