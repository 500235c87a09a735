//! Asking the processor to bring a value into its cache.
//!
//! The one place of the engine with `unsafe`. An ordinary read would do the same, but it stays in flight until memory
//! answers and holds up all that comes after it: with reads, an operation took about 40 ns
//! more (decision 0005).

/// Asks for the first cache line of a value. Changes nothing, whatever becomes of the value.
#[inline(always)]
pub(crate) fn prefetch<T>(value: &T) {
    ask_for(std::ptr::from_ref(value).cast());
}

/// Asks for the first cache line of an element, whether or not there is one at the position: asking first would take
/// longer than the answer is worth.
#[inline(always)]
pub(crate) fn prefetch_at<T>(values: &[T], position: usize) {
    ask_for(values.as_ptr().wrapping_add(position).cast());
}

/// Asks for the last cache line of an element, where what is touched of it lies there; see [`prefetch_at`].
#[inline(always)]
pub(crate) fn prefetch_end_at<T>(values: &[T], position: usize) {
    let end = values.as_ptr().wrapping_add(position).wrapping_add(1);
    ask_for(end.cast::<i8>().wrapping_sub(1));
}

#[inline(always)]
fn ask_for(address: *const i8) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        #[expect(
            unsafe_code,
            reason = "the standard library has no safe name for this instruction"
        )]
        // SAFETY: a prefetch has no effect but on speed and never faults, whatever the address.
        unsafe {
            _mm_prefetch::<_MM_HINT_T0>(address);
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = address;
}
