//! The memory that frames live in, and the frames.
//!
//! A `Umem` is one mapping cut into equal chunks: first the RX chunks, then the TX chunks, so
//! that neither direction can use up the other's.
//!
//! The invariant, of which this file is the only keeper: **each chunk is in exactly one place.**
//! Either one frame value stands for it, or it is *lent* (to FILL, RX, TX or COMPLETION; at the
//! start, to nobody). `take_*` makes a frame value only of a lent chunk and marks it as taken;
//! `lend_*` consumes the value and marks it as lent. So a frame's bytes belong to its value alone,
//! and a frame can be used without borrowing the ring that it came from.
//!
//! A frame value has no lifetime and must never dangle: the mapping goes only when no frame value
//! is left. Values that were dropped instead of given back can not be told from ones that are still
//! in use, so then the mapping stays for good and [`leaked_umems`] counts it.

#![allow(unsafe_code)]

use std::fmt;
use std::io;
use std::ops::Deref;
use std::ptr::{self, NonNull};
use std::slice;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::memory::prefer_huge_pages;

/// Octets before the data range of a fresh TX frame. Ethernet with a VLAN tag takes 18, IPv6 40,
/// TCP with all its options 60: 118, rounded up to whole cache lines.
pub const HEADROOM: usize = 128;

/// The largest chunk: ranges within a chunk are kept in 16 bits.
pub const MAX_FRAME_SIZE: usize = 1 << 15;

static LEAKED: AtomicU64 = AtomicU64::new(0);

/// How many memory regions were kept for good because frames of theirs were never given back.
pub fn leaked_umems() -> u64 {
    LEAKED.load(Ordering::Relaxed)
}

/// A received frame. Derefs to its octets. Belongs to the ring that it was received from and must
/// go back there by [`recycle`](super::PacketIo::recycle).
#[must_use = "a frame that is dropped is lost to its ring"]
pub struct RxFrame {
    data: NonNull<u8>,
    len: u32,
    chunk: u32,
}

// SAFETY: the value is the only way to its chunk (the module's invariant), like a `Box<[u8]>`.
unsafe impl Send for RxFrame {}

impl Deref for RxFrame {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: `Umem::take_rx` checked that the range is inside the chunk; the mapping is
        // zeroed when made and outlives this value, which alone stands for the chunk.
        unsafe { slice::from_raw_parts(self.data.as_ptr(), self.len as usize) }
    }
}

impl fmt::Debug for RxFrame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RxFrame")
            .field("chunk", &self.chunk)
            .field("len", &self.len)
            .finish()
    }
}

/// A frame to send: a chunk and the range of it that holds data.
///
/// ```text
/// 0           start          start + len        capacity
/// |  headroom  |     data     |      spare      |
/// ```
#[must_use = "a frame that is dropped is lost to its ring"]
pub struct TxFrame {
    chunk: NonNull<u8>,
    index: u32,
    start: u16,
    end: u16,
    capacity: u16,
}

// SAFETY: the value is the only way to its chunk (the module's invariant), like a `Box<[u8]>`.
unsafe impl Send for TxFrame {}

impl TxFrame {
    /// Which of the queue's TX frames this is: 0 to `Capabilities::tx_frames` - 1. It never
    /// changes, so tables can be indexed by it.
    pub fn index(&self) -> u32 {
        self.index
    }

    /// Octets in the chunk: headroom, data and spare.
    pub fn capacity(&self) -> usize {
        self.capacity.into()
    }

    /// Where the data begins in the chunk.
    pub fn start(&self) -> usize {
        self.start.into()
    }

    /// Octets of data.
    pub fn len(&self) -> usize {
        usize::from(self.end - self.start)
    }

    /// No data.
    pub fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// The data: what is sent.
    pub fn data(&self) -> &[u8] {
        &self.bytes()[self.start.into()..self.end.into()]
    }

    /// The data, to be changed.
    pub fn data_mut(&mut self) -> &mut [u8] {
        let range = self.start.into()..self.end.into();
        &mut self.bytes_mut()[range]
    }

    /// The octets before the data.
    pub fn headroom_mut(&mut self) -> &mut [u8] {
        let end = self.start.into();
        &mut self.bytes_mut()[..end]
    }

    /// The octets after the data: written here, then added by [`extend`](Self::extend).
    pub fn spare_mut(&mut self) -> &mut [u8] {
        let start = self.end.into();
        &mut self.bytes_mut()[start..]
    }

    /// Adds the first `count` octets of [`spare_mut`](Self::spare_mut) to the data. Panics if there
    /// are fewer.
    pub fn extend(&mut self, count: usize) {
        self.set_range(self.start(), self.len() + count);
    }

    /// Adds the last `count` octets of the headroom to the data, and yields them to be written.
    /// Panics if there are fewer.
    pub fn prepend(&mut self, count: usize) -> &mut [u8] {
        assert!(count <= self.start(), "no headroom for {count} octets");
        self.set_range(self.start() - count, self.len() + count);
        &mut self.data_mut()[..count]
    }

    /// Cuts the data after `len` octets, if it is longer.
    pub fn truncate(&mut self, len: usize) {
        self.set_range(self.start(), len.min(self.len()));
    }

    /// Says which octets of the chunk are data. Panics if they are not all inside.
    pub fn set_range(&mut self, start: usize, len: usize) {
        let end = start.checked_add(len).filter(|end| *end <= self.capacity());
        assert!(
            end.is_some(),
            "{start} + {len} is outside a frame of {}",
            self.capacity
        );
        // Both fit: they are at most `capacity`, which is a u16.
        self.start = start as u16;
        self.end = (start + len) as u16;
    }

    /// Empties the data range and puts it back at [`HEADROOM`].
    pub fn reset(&mut self) {
        self.set_range(HEADROOM, 0);
    }

    fn bytes(&self) -> &[u8] {
        // SAFETY: the chunk has `capacity` octets, zeroed when mapped; the mapping outlives this
        // value, which alone stands for the chunk.
        unsafe { slice::from_raw_parts(self.chunk.as_ptr(), self.capacity()) }
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `bytes`, and `self` is borrowed mutably.
        unsafe { slice::from_raw_parts_mut(self.chunk.as_ptr(), self.capacity()) }
    }
}

impl fmt::Debug for TxFrame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TxFrame")
            .field("index", &self.index)
            .field("start", &self.start)
            .field("len", &self.len())
            .finish()
    }
}

/// Where a chunk is: lent, with the data range that it will come back with, or taken.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Place {
    start: u16,
    end: u16,
}

impl Place {
    /// A frame value stands for the chunk. No range is like this: it would end before it starts.
    const TAKEN: Self = Self { start: 1, end: 0 };
    /// Lent and without data.
    const EMPTY: Self = Self {
        start: HEADROOM as u16,
        end: HEADROOM as u16,
    };
}

/// The memory region of one queue. See the module's text.
pub(super) struct Umem {
    base: NonNull<u8>,
    frame_size: usize,
    rx_frames: u32,
    places: Box<[Place]>,
    taken: usize,
}

// SAFETY: owns its mapping; the frame values only touch chunks that the `Umem` itself never reads.
unsafe impl Send for Umem {}

impl Umem {
    /// Maps zeroed memory for `rx_frames` + `tx_frames` chunks of `frame_size` octets (a power of
    /// two, 256 to [`MAX_FRAME_SIZE`]). All chunks start as lent.
    pub(super) fn new(frame_size: usize, rx_frames: u32, tx_frames: u32) -> io::Result<Self> {
        let frames = u64::from(rx_frames) + u64::from(tx_frames);
        let valid_size =
            frame_size.is_power_of_two() && (2 * HEADROOM..=MAX_FRAME_SIZE).contains(&frame_size);
        if !valid_size || frames == 0 || frames > u32::MAX.into() {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let frames = frames as usize;
        let len = frames
            .checked_mul(frame_size)
            .ok_or(io::ErrorKind::InvalidInput)?;
        Ok(Self {
            base: map(len)?,
            frame_size,
            rx_frames,
            places: vec![Place::EMPTY; frames].into_boxed_slice(),
            taken: 0,
        })
    }

    /// The first octet.
    pub(super) fn as_ptr(&self) -> *mut u8 {
        self.base.as_ptr()
    }

    /// Octets in all.
    pub(super) fn len(&self) -> usize {
        self.places.len() * self.frame_size
    }

    /// Frame values that exist now.
    #[cfg(test)]
    pub(super) fn taken(&self) -> usize {
        self.taken
    }

    /// The addresses (offsets) of the RX chunks.
    pub(super) fn rx_addresses(&self) -> impl Iterator<Item = u64> + use<> {
        let frame_size = self.frame_size as u64;
        (0..u64::from(self.rx_frames)).map(move |chunk| chunk * frame_size)
    }

    /// The addresses (offsets) of the TX chunks.
    pub(super) fn tx_addresses(&self) -> impl Iterator<Item = u64> + use<> {
        let frame_size = self.frame_size as u64;
        (self.rx_frames.into()..self.places.len() as u64).map(move |chunk| chunk * frame_size)
    }

    /// Whether a TX frame is of this region.
    pub(super) fn owns(&self, frame: &TxFrame) -> bool {
        self.rx_frames
            .checked_add(frame.index)
            .is_some_and(|n| self.contains(frame.chunk, n))
    }

    /// The frame that was received at `address`; `None` if no lent RX chunk has those octets.
    #[inline]
    pub(super) fn take_rx(&mut self, address: u64, len: u32) -> Option<RxFrame> {
        let (chunk, offset) = self.locate(address)?;
        let inside = offset + len as usize <= self.frame_size;
        if chunk >= self.rx_frames || !inside || self.places[chunk as usize] == Place::TAKEN {
            return None;
        }
        self.places[chunk as usize] = Place::TAKEN;
        self.taken += 1;
        // SAFETY: `locate` says that the address is inside the mapping.
        let data = unsafe { self.base.add(address as usize) };
        Some(RxFrame { data, len, chunk })
    }

    /// Ends a frame value: the address of its chunk. `None` if the frame is not of this region; it
    /// is lost then.
    #[inline]
    pub(super) fn lend_rx(&mut self, frame: RxFrame) -> Option<u64> {
        // The range of an RX chunk means nothing while it is lent.
        self.lend(frame.data, frame.chunk, Place::EMPTY)?;
        Some(u64::from(frame.chunk) * self.frame_size as u64)
    }

    /// The TX frame whose chunk holds `address`, its data range as it was lent; `None` if it is
    /// not a lent TX chunk.
    #[inline]
    pub(super) fn take_tx(&mut self, address: u64) -> Option<TxFrame> {
        let (chunk, _) = self.locate(address)?;
        let place = self.places[chunk as usize];
        if chunk < self.rx_frames || place == Place::TAKEN {
            return None;
        }
        self.places[chunk as usize] = Place::TAKEN;
        self.taken += 1;
        // SAFETY: `locate` says that the chunk is inside the mapping.
        let start = unsafe { self.base.add(chunk as usize * self.frame_size) };
        Some(TxFrame {
            chunk: start,
            index: chunk - self.rx_frames,
            start: place.start,
            end: place.end,
            capacity: self.frame_size as u16,
        })
    }

    /// Ends a frame value: the address of its data and the data's length. `None` if the frame is
    /// not of this region; it is lost then.
    #[inline]
    pub(super) fn lend_tx(&mut self, frame: TxFrame) -> Option<(u64, u32)> {
        let place = Place {
            start: frame.start,
            end: frame.end,
        };
        let chunk = self.rx_frames.saturating_add(frame.index);
        self.lend(frame.chunk, chunk, place)?;
        let address = u64::from(chunk) * self.frame_size as u64 + u64::from(frame.start);
        Some((address, (frame.end - frame.start).into()))
    }

    /// Makes `bytes` the data of `frame`, from the start of its chunk: what the kernel does for a
    /// real ring and the in-memory network for its own. False if they do not fit.
    pub(super) fn write_rx(&mut self, frame: &mut RxFrame, bytes: &[u8]) -> bool {
        if !self.contains(frame.data, frame.chunk) || bytes.len() > self.frame_size {
            return false;
        }
        // SAFETY: inside the mapping, as `contains` says.
        frame.data = unsafe { self.base.add(frame.chunk as usize * self.frame_size) };
        // SAFETY: `frame` stands for the chunk alone and is borrowed mutably, so `bytes` is other
        // memory; the length was checked.
        unsafe { ptr::copy_nonoverlapping(bytes.as_ptr(), frame.data.as_ptr(), bytes.len()) };
        frame.len = bytes.len() as u32;
        true
    }

    /// Marks a chunk as lent if `pointer` is inside it. A frame of another region must not count
    /// as one of ours: the mapping would go while frames of ours are in use.
    fn lend(&mut self, pointer: NonNull<u8>, chunk: u32, place: Place) -> Option<()> {
        let ours = self.contains(pointer, chunk);
        debug_assert!(ours, "a frame was given to a ring that it is not of");
        if !ours {
            return None;
        }
        self.places[chunk as usize] = place;
        self.taken -= 1;
        Some(())
    }

    /// Whether `pointer` points into `chunk` of this region.
    fn contains(&self, pointer: NonNull<u8>, chunk: u32) -> bool {
        let offset = pointer.addr().get().wrapping_sub(self.base.addr().get());
        offset < self.len() && offset / self.frame_size == chunk as usize
    }

    /// The chunk that holds `address`, and where in it.
    fn locate(&self, address: u64) -> Option<(u32, usize)> {
        let address = usize::try_from(address)
            .ok()
            .filter(|address| *address < self.len())?;
        Some((
            (address / self.frame_size) as u32,
            address % self.frame_size,
        ))
    }
}

impl Drop for Umem {
    fn drop(&mut self) {
        if self.taken > 0 {
            LEAKED.fetch_add(1, Ordering::Relaxed);
            return;
        }
        // SAFETY: the mapping is ours and no frame value is left that points into it. The kernel
        // holds its own references to the pages.
        let result = unsafe { libc::munmap(self.base.as_ptr().cast(), self.len()) };
        debug_assert_eq!(result, 0);
    }
}

/// Zeroed, page-aligned memory. Not from the allocator: the kernel gives its hold on a UMEM's pages
/// up some time after the socket is closed, and must not write into memory that is used again.
fn map(len: usize) -> io::Result<NonNull<u8>> {
    // SAFETY: a new private mapping at an address that the kernel chooses.
    let pointer = unsafe {
        libc::mmap(
            ptr::null_mut(),
            len,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE,
            -1,
            0,
        )
    };
    if pointer == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    prefer_huge_pages(pointer.cast::<u8>(), len);
    NonNull::new(pointer.cast()).ok_or_else(|| io::ErrorKind::OutOfMemory.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRAME: usize = 2048;

    fn umem() -> Umem {
        Umem::new(FRAME, 2, 3).unwrap()
    }

    #[test]
    fn refuses_sizes_that_make_no_sense() {
        for (frame_size, rx, tx) in [(2000, 1, 1), (128, 1, 1), (65536, 1, 1), (2048, 0, 0)] {
            assert!(
                Umem::new(frame_size, rx, tx).is_err(),
                "{frame_size} {rx} {tx}"
            );
        }
        assert!(Umem::new(usize::from(u16::MAX).div_ceil(2), u32::MAX, u32::MAX).is_err());
    }

    #[test]
    fn a_chunk_is_taken_once() {
        let mut umem = umem();
        let frame = umem.take_rx(256, 60).unwrap();
        assert_eq!(frame.len(), 60);
        assert!(
            umem.take_rx(0, 60).is_none(),
            "the same chunk by another address"
        );
        assert_eq!(
            umem.lend_rx(frame),
            Some(0),
            "the address is that of the chunk"
        );
        let again = umem.take_rx(7, 1).unwrap();
        assert_eq!(umem.lend_rx(again), Some(0));
    }

    #[test]
    fn takes_only_what_is_inside_a_chunk_of_the_right_kind() {
        let mut umem = umem();
        assert!(
            umem.take_rx(256, (FRAME - 255) as u32).is_none(),
            "crosses into the next chunk"
        );
        assert!(umem.take_rx(256, u32::MAX).is_none());
        assert!(umem.take_rx(2 * FRAME as u64, 60).is_none(), "a TX chunk");
        assert!(umem.take_tx(FRAME as u64).is_none(), "an RX chunk");
        assert!(umem.take_tx(5 * FRAME as u64).is_none(), "after the end");
        assert!(umem.take_tx(u64::MAX).is_none());
        assert_eq!(umem.taken(), 0);
    }

    #[test]
    fn a_tx_frame_comes_back_with_its_range() {
        let mut umem = umem();
        let mut frame = umem.take_tx(3 * FRAME as u64).unwrap();
        assert_eq!(
            (frame.index(), frame.start(), frame.len()),
            (1, HEADROOM, 0)
        );
        frame.spare_mut()[..5].copy_from_slice(b"hello");
        frame.extend(5);
        frame.prepend(2).copy_from_slice(b"> ");
        assert_eq!(frame.data(), b"> hello");
        let (address, len) = umem.lend_tx(frame).unwrap();
        assert_eq!((address, len), ((3 * FRAME + HEADROOM - 2) as u64, 7));
        let mut frame = umem.take_tx(address).unwrap();
        assert_eq!((frame.index(), frame.data()), (1, &b"> hello"[..]));
        frame.truncate(3);
        assert_eq!(frame.data(), b"> h");
        frame.data_mut()[2] = b'H';
        frame.set_range(frame.start() + 2, 1);
        assert_eq!(frame.data(), b"H");
        assert_eq!(frame.headroom_mut().len(), HEADROOM);
        frame.reset();
        assert_eq!((frame.start(), frame.is_empty()), (HEADROOM, true));
        assert_eq!(frame.spare_mut().len(), FRAME - HEADROOM);
        umem.lend_tx(frame).unwrap();
    }

    #[test]
    fn ranges_end_inside_the_frame() {
        let mut umem = umem();
        let mut frame = umem.take_tx(2 * FRAME as u64).unwrap();
        frame.set_range(0, FRAME);
        frame.set_range(FRAME, 0);
        for (start, len) in [(0, FRAME + 1), (FRAME, 1), (usize::MAX, 2), (70_000, 0)] {
            let set = std::panic::AssertUnwindSafe(|| frame.set_range(start, len));
            assert!(std::panic::catch_unwind(set).is_err(), "{start} + {len}");
        }
        frame.reset();
        let set = std::panic::AssertUnwindSafe(|| _ = frame.prepend(HEADROOM + 1));
        assert!(std::panic::catch_unwind(set).is_err());
        umem.lend_tx(frame).unwrap();
    }

    #[test]
    fn a_frame_outlives_its_region() {
        let mut umem = umem();
        let mut frame = umem.take_tx(2 * FRAME as u64).unwrap();
        let before = leaked_umems();
        drop(umem);
        assert!(leaked_umems() > before, "the mapping was not kept");
        frame.spare_mut().fill(7);
        frame.extend(9);
        assert_eq!(frame.data(), [7; 9]);
    }

    #[test]
    #[cfg_attr(debug_assertions, should_panic(expected = "not of"))]
    fn a_foreign_frame_is_refused() {
        let (mut ours, mut theirs) = (umem(), umem());
        let frame = theirs.take_rx(0, 1).unwrap();
        assert!(ours.lend_rx(frame).is_none());
        assert_eq!((ours.taken(), theirs.taken()), (0, 1));
    }

    #[test]
    fn frames_can_change_threads() {
        let mut umem = umem();
        let frame = umem.take_rx(0, 4).unwrap();
        let (len, frame) = std::thread::spawn(move || (frame.len(), frame))
            .join()
            .unwrap();
        assert_eq!(len, 4);
        umem.lend_rx(frame).unwrap();
    }
}
