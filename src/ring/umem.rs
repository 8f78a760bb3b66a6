//! skeleton: the ring author replaces this.
/// A received frame.
#[derive(Debug)]
pub struct RxFrame(());
/// A frame to send.
#[derive(Debug)]
pub struct TxFrame(());
