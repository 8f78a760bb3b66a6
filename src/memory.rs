//! Memory for what there may be millions of.

mod chunks;
mod huge_pages;

pub(crate) use self::chunks::Chunks;
pub(crate) use self::huge_pages::{HugePages, prefer_huge_pages};
