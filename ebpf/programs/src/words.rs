//! Memory filled and copied word by word.
//!
//! The compiler makes a call of a longer copy, and that is a loop over pointers, which the kernel takes only from a
//! loader with `CAP_PERFMON`. It may not do so with volatile words.

use core::mem::MaybeUninit;

/// Types of whole words without padding, of which all zeros is a value.
///
/// # Safety
/// That is so.
pub unsafe trait Whole: Copy {}

// SAFETY: five `u32`.
unsafe impl Whole for tollgate_ebpf_shared::Endpoint {}
// SAFETY: eight `u32`.
unsafe impl Whole for tollgate_ebpf_shared::Redirected {}
// SAFETY: as long as four `u32`, and every pattern is a value.
unsafe impl Whole for [u8; 16] {}

/// All zeros.
#[inline(always)]
pub fn zeros<T: Whole>() -> T {
    let word = 0_u32;
    // SAFETY: the word is there. Read like this it could be any, and memory full of it is no longer filled by a call.
    let zero = unsafe { (&raw const word).read_volatile() };
    let mut made = MaybeUninit::<T>::uninit();
    let words = made.as_mut_ptr().cast::<u32>();
    let mut at = 0;
    while at < size_of::<T>() / 4 {
        // SAFETY: within the value; one that is not aligned for words is on the stack, which is.
        unsafe { words.add(at).write_unaligned(zero) };
        at += 1;
    }
    // SAFETY: every word was written, and zeros are a value.
    unsafe { made.assume_init() }
}

/// Writes `value` to `to`.
#[inline(always)]
pub fn copy<T: Whole>(to: &mut T, value: &T) {
    let (to, from) = ((&raw mut *to).cast::<u32>(), (&raw const *value).cast::<u32>());
    let mut at = 0;
    while at < size_of::<T>() / 4 {
        // SAFETY: within both values.
        unsafe { to.add(at).write_volatile(from.add(at).read_volatile()) };
        at += 1;
    }
}
