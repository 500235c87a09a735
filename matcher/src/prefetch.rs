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

/// Asks for the last cache line of a value, where what is touched of it lies there.
#[inline(always)]
pub(crate) fn prefetch_end<T>(value: &T) {
    let end = std::ptr::from_ref(value).wrapping_add(1);
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
        // SAFETY: a prefetch has no effect but on speed and never faults, whatever the address; this one is within a
        // live reference.
        unsafe {
            _mm_prefetch::<_MM_HINT_T0>(address);
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = address;
}
