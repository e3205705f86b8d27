//! Frames: `2^order` pages at an aligned address, and the key that stands for them in the tree.

use core::fmt;

use super::{ORDER_0_BIT, PAGE_BYTES, PAGE_SHIFT};

/// Binary logarithm of a frame's pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Order(u8);

impl Order {
    /// One page.
    pub const ZERO: Self = Self(0);

    /// The largest order, 8 EiB: of order 52 there would be a single frame, and its size no longer fits 64 bits.
    ///
    /// Linux's page allocator stops at order 10, but Linux preserves ranges by the largest aligned power of two, so its maps hold larger ones.
    pub const MAX: Self = Self(ORDER_0_BIT as u8 - 1);

    /// Makes an order of a number, if there is such an order.
    #[must_use]
    pub const fn new(order: u32) -> Option<Self> {
        // INVARIANT: at most `MAX`, which fits a byte.
        if order <= Self::MAX.0 as u32 { Some(Self(order as u8)) } else { None }
    }

    /// Returns the number.
    #[must_use]
    pub const fn get(self) -> u32 {
        self.0 as u32
    }

    /// Returns the bytes of a frame of this order.
    #[must_use]
    pub const fn bytes(self) -> u64 {
        PAGE_BYTES << self.0
    }
}

impl fmt::Display for Order {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// `2^order` pages at an address that is a multiple of their size.
///
/// # Invariants
///
/// The address is a multiple of the order's bytes, and the frame ends at or before [`u64::MAX`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Frame {
    phys: u64,
    order: Order,
}

/// There is no such frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no frame of order {order} starts at {phys:#x}")]
pub struct FrameError {
    /// The address asked for.
    pub phys: u64,
    /// The order asked for.
    pub order: Order,
}

impl Frame {
    /// Names the frame of `order` at `phys`.
    ///
    /// # Errors
    ///
    /// [`FrameError`] if `phys` is not a multiple of the frame's size, or the frame reaches past the address space.
    pub const fn new(phys: u64, order: Order) -> Result<Self, FrameError> {
        if phys & (order.bytes() - 1) != 0 || phys.checked_add(order.bytes()).is_none() {
            return Err(FrameError { phys, order });
        }
        // INVARIANT: both were just tested.
        Ok(Self { phys, order })
    }

    /// Returns the address of the first byte.
    #[must_use]
    pub const fn phys(self) -> u64 {
        self.phys
    }

    /// Returns the order.
    #[must_use]
    pub const fn order(self) -> Order {
        self.order
    }

    /// Returns the size in bytes.
    #[must_use]
    pub const fn bytes(self) -> u64 {
        self.order.bytes()
    }

    /// Returns the address behind the last byte.
    #[must_use]
    pub const fn end(self) -> u64 {
        // By the type invariant this does not wrap.
        self.phys + self.order.bytes()
    }

    /// Returns the key of the frame's bit in the tree.
    #[inline]
    #[must_use]
    pub const fn key(self) -> u64 {
        // `(1 << (52 - order)) | (phys >> (12 + order))` in one shift. Written out, the order's byte is subtracted in a byte register, whose
        // upper part the processor takes from whatever was in it before: each key then waits for the frame before it (10 ns instead of 3).
        ((1 << ORDER_0_BIT) | (self.phys >> PAGE_SHIFT)) >> self.order.get()
    }

    /// Returns the frame that a key stands for, or `None` for a key that stands for none.
    #[inline]
    #[must_use]
    pub const fn from_key(key: u64) -> Option<Self> {
        let Some(top) = key.checked_ilog2() else { return None };
        let Some(order) = ORDER_0_BIT.checked_sub(top) else { return None };
        let Some(order) = Order::new(order) else { return None };
        // The order bit itself leaves the 64 bits at the top.
        let phys = (key ^ (1 << top)) << (PAGE_SHIFT + order.get());
        match Self::new(phys, order) {
            Ok(frame) => Some(frame),
            Err(_) => None,
        }
    }

    /// Returns the frame `nr_frames` further on, of which the caller knows that it ends within the address space.
    #[inline]
    pub(super) const fn further(self, nr_frames: u64) -> Self {
        let phys = self.phys.wrapping_add(nr_frames.wrapping_mul(self.order.bytes()));
        // INVARIANT: a multiple of the size like `self.phys`; the caller answers for its end.
        Self { phys, order: self.order }
    }
}

impl fmt::Display for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x} order {}", self.phys, self.order)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(phys: u64, order: u32) -> Frame {
        Frame::new(phys, Order::new(order).unwrap()).unwrap()
    }

    #[test]
    fn keys_are_those_of_the_description() {
        assert_eq!(frame(0, 0).key(), 0x10_0000_0000_0000);
        assert_eq!(frame(0x12_3456_7000, 0).key(), 0x10_0000_0123_4567);
        assert_eq!(frame(0x8000, 3).key(), 0x2_0000_0000_0001);
        assert_eq!(frame(0x1_4020_0000, 9).key(), 0x800_0000_0a01);
        assert_eq!(frame(0, Order::MAX.get()).key(), 2);
    }

    #[test]
    fn each_key_names_its_frame_again() {
        for order in 0..=Order::MAX.get() {
            let order = Order::new(order).unwrap();
            for phys in [0, order.bytes(), order.bytes().wrapping_mul(5)] {
                if let Ok(frame) = Frame::new(phys, order) {
                    assert_eq!(Frame::from_key(frame.key()), Some(frame));
                }
            }
        }
    }

    #[test]
    fn a_key_without_an_order_names_nothing() {
        for key in [0, 1, 1 << 53, u64::MAX] {
            assert_eq!(Frame::from_key(key), None, "key {key:#x}");
        }
    }

    #[test]
    fn the_frame_around_a_frame_has_its_key_shifted() {
        let (inner, outer) = (frame(0x1_4020_3000, 0), frame(0x1_4020_0000, 9));
        assert_eq!(inner.key() >> 9, outer.key());
    }

    #[test]
    fn frames_are_aligned_and_end_within_the_address_space() {
        let order = Order::new(3).unwrap();
        assert_eq!(Frame::new(0x1000, order), Err(FrameError { phys: 0x1000, order }));
        let last = 0u64.wrapping_sub(order.bytes());
        assert_eq!(Frame::new(last, order), Err(FrameError { phys: last, order }));
        assert_eq!(Order::new(52), None);
    }
}
