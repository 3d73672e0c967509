//! The words that processes share.
//!
//! They have the size of the real ones and begin as zeros, so that they can stand
//! in memory of zeros. What stands there is only the number of the machine's word
//! that holds the value, from the first access on.
#![allow(unsafe_code)] // Numbers, in memory that is shared between modelled processes.

use std::cell::UnsafeCell;

use loom::sync::atomic::AtomicU64 as Word;
pub(crate) use loom::sync::atomic::Ordering;

use crate::machine;

/// A word of 32 bits.
#[derive(Debug)]
#[repr(transparent)]
pub(crate) struct AtomicU32(UnsafeCell<u32>);

/// A word of 64 bits. Its number stands in its low half.
#[derive(Debug)]
#[repr(transparent)]
pub(crate) struct AtomicU64(UnsafeCell<u64>);

/// The operations of a word, none of which a dead process does.
macro_rules! operations {
    ($Word:ident, $value:ident) => {
        // SAFETY: all processes of a machine run on one thread.
        unsafe impl Sync for $Word {}

        #[allow(dead_code)] // Not all are used on words of both sizes.
        impl $Word {
            /// The number of the machine's word.
            pub(crate) fn number(&self) -> usize {
                let number = self.0.get().cast::<u32>();
                // SAFETY: a cell, which nobody else accesses at this moment: all
                // processes of a machine run on one thread.
                let number = unsafe { &mut *number };
                if *number == 0 {
                    *number = machine::new_word() as u32 + 1;
                }
                *number as usize - 1
            }

            pub(crate) fn load(&self, order: Ordering) -> $value {
                if !machine::step() {
                    return 0;
                }
                machine::load(self.number(), order) as $value
            }

            pub(crate) fn store(&self, value: $value, order: Ordering) {
                if machine::step() {
                    machine::store(self.number(), u64::from(value), order);
                }
            }

            pub(crate) fn swap(&self, value: $value, order: Ordering) -> $value {
                self.change(order, |word| word.swap(value.into(), order))
            }

            pub(crate) fn fetch_add(&self, value: $value, order: Ordering) -> $value {
                self.change(order, |word| word.fetch_add(value.into(), order))
            }

            pub(crate) fn fetch_and(&self, value: $value, order: Ordering) -> $value {
                self.change(order, |word| word.fetch_and(value.into(), order))
            }

            pub(crate) fn fetch_or(&self, value: $value, order: Ordering) -> $value {
                self.change(order, |word| word.fetch_or(value.into(), order))
            }

            pub(crate) fn compare_exchange(
                &self,
                current: $value,
                new: $value,
                success: Ordering,
                failure: Ordering,
            ) -> Result<$value, $value> {
                // Of a dead one it succeeds: no loop of a destructor goes on.
                if !machine::step() {
                    return Ok(current);
                }
                let exchange = |word: &Word| {
                    word.compare_exchange(current.into(), new.into(), success, failure)
                };
                machine::change(self.number(), success, exchange)
                    .map(|old| old as $value)
                    .map_err(|old| old as $value)
            }

            pub(crate) fn compare_exchange_weak(
                &self,
                current: $value,
                new: $value,
                success: Ordering,
                failure: Ordering,
            ) -> Result<$value, $value> {
                self.compare_exchange(current, new, success, failure)
            }

            /// Changes the value; returns the one before.
            fn change(&self, order: Ordering, change: impl FnOnce(&Word) -> u64) -> $value {
                if !machine::step() {
                    return 0;
                }
                machine::change(self.number(), order, change) as $value
            }
        }
    };
}

operations!(AtomicU32, u32);
operations!(AtomicU64, u64);

impl AtomicU64 {
    /// The half with the low 32 bits, which has the same number.
    pub(crate) fn low_half(&self) -> &AtomicU32 {
        // SAFETY: the low half comes first, as checked when the program is built;
        // it is aligned, and a cell of the same memory.
        unsafe { &*std::ptr::from_ref(self).cast::<AtomicU32>() }
    }
}

const _: () = assert!(cfg!(target_endian = "little"), "the low half of a word comes first");

/// A fence.
pub(crate) fn fence(order: Ordering) {
    if machine::step() {
        machine::fence(order);
    }
}

/// Stands where the processor orders by itself.
pub(crate) fn compiler_fence(order: Ordering) {
    if machine::step() {
        machine::compiler_fence(order);
    }
}
