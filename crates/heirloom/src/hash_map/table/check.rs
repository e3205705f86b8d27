//! The invariants of a table, for tests.

use super::super::group::{DELETED, EMPTY, PADDING};
use super::super::shape::{capacity_of, control_bytes};
use super::Table;

impl<T> Table<T> {
    /// Checks *shape*, *counted* and *padded*, and *reached* if the values lie in order.
    pub(crate) fn check(&self, hash: Option<&dyn Fn(&T) -> u64>) {
        if !self.has_block() {
            return assert!(self.control.is_null() && self.is_surely_empty() && self.growth_left() == 0);
        }
        let buckets = self.buckets();
        assert!(buckets.is_power_of_two() && buckets >= 4);
        let bytes: Vec<u8> = (0..control_bytes(buckets)).map(|index| self.control(index)).collect();
        let count = |test: &dyn Fn(u8) -> bool| bytes[..buckets].iter().filter(|&&byte| test(byte)).count();
        let (full, empty) = (count(&|byte| byte < 0x80), count(&|byte| byte == EMPTY));
        assert_eq!(full, self.len());
        assert_eq!(full + empty + count(&|byte| byte == DELETED), buckets);
        assert_eq!(empty, self.growth_left() + buckets - capacity_of(buckets));
        assert!(bytes[buckets..].iter().all(|&byte| byte == PADDING));
        for (index, value) in self.sample(usize::MAX) {
            assert!(hash.is_none_or(|hash| self.leads_to(hash(value), index)));
        }
    }
}
